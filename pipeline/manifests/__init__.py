"""Lists of images: read, written, validated, made from folders, split."""
