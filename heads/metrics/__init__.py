"""Scores to figures: predictions, rank metrics, intervals, plots."""

COVERAGE = 0.9
"""Share of reals, and of fakes, whose conformal set is to hold the true label."""
