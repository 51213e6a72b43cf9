"""Backbones that both stages need: where their weights lie, CLIP, device and precision."""
