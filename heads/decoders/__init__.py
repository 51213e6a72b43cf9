"""Which pixels are fake, one decoder a file: cached features to a map of logits (B, 256, 256).

Facts of DeCLIP (Smeu, Oneata and Oneata, WACV 2025) are those of bit-ml/DeCLIP at 09d4293.
"""

import sys

from clare.plugins import list_parts


def list_decoders() -> list[str]:
    """Names of all decoders, sorted; imports none of them."""
    return list_parts(sys.modules[__name__])
