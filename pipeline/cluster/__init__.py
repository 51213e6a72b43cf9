"""Extraction on the workers of a cluster, each writing to the one store."""
