"""A run's folder on disk: its record, its files, its lock."""
