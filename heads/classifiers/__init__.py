"""Decision side of a detector, one classifier a file: (B, D) to (B, 2) logits."""
