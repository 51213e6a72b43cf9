"""Clusters that run work of CLaRE's: connecting to them, and keeping their workers busy."""
