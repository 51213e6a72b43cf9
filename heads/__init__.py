"""Stage two: cached features to a detector."""
