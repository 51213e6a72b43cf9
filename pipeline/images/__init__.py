"""One decode of an image to the inputs of every extractor."""
