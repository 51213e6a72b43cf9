"""CLaRE: cached latent-reconstruction-error and CLIP features for detecting generated faces."""

from importlib.metadata import version

__version__ = version("clare-features")
