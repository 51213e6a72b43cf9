"""Image side of a detector, one fusion a file: cached features to (B, D)."""

import sys

from clare.plugins import list_parts


def list_fusions() -> list[str]:
    """Names of all fusions, sorted; imports none of them."""
    return list_parts(sys.modules[__name__])
