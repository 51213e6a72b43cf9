"""Faces in images: where they are, their five points, and the columns of a manifest for them."""
