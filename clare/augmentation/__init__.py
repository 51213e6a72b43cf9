"""Seeded augmentations: the same view of the same image everywhere, geometry apart from colours."""

USUAL = "clare"
"""The recipe of views where none is named."""
