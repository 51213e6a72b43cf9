"""Finished runs as files that run without CLaRE: detectors as torch modules, and their formats."""
