"""Image side of a detector, one fusion a file: cached features to (B, D)."""
