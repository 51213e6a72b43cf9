"""Stage one: images to features."""
