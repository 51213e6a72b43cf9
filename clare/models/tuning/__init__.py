"""Ways of tuning an image tower, one a file: which of its parameters move."""

import sys

from clare.plugins import list_parts


def list_tunings() -> list[str]:
    """Names of all ways, sorted; imports none of them."""
    return list_parts(sys.modules[__name__])
