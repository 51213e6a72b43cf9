"""Pairs of real and fake images that are made from reals: from a manifest to files and another."""
