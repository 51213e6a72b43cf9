"""The cached feature store: numpy and Zarr, no torch and no images."""
