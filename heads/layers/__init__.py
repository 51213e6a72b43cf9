"""Layers that several fusions and classifiers share."""
