"""The registry of data sets, and manifests from their folders."""
