"""CLIP's text side over learned prompts."""
