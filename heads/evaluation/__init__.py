"""Tests of finished runs on rows that they have never seen."""
