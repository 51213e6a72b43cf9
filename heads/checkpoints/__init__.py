"""Formats of published checkpoints, one a file: a file of somebody's weights to a head of ours."""

import sys

from clare.plugins import list_parts


def list_checkpoints() -> list[str]:
    """Names of all formats, sorted; imports none of them."""
    return list_parts(sys.modules[__name__])
