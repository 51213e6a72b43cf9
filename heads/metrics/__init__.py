"""Scores to figures: predictions, rank metrics, intervals, plots."""
