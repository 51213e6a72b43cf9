"""Data that travels with the code: the registry of subsets, and protocols."""
