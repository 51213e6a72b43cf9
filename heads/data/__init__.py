"""Rows of a store as training data: which rows, their features in memory, leaks refused."""
