"""Manifests from the JSON lists of DeepfakeBench and DF40."""
