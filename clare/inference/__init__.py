"""Both stages together, without a store: images in, verdicts out."""
