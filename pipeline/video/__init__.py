"""Frames of videos, by the optional package PyAV."""

FRAMES = 32
"""Frames of a video that are looked at: as many as DeepfakeBench takes."""
