"""Decision side of a detector, one classifier a file: (B, D) to (B, 2) logits."""

import sys

from clare.plugins import list_parts


def list_classifiers() -> list[str]:
    """Names of all classifiers, sorted; imports none of them."""
    return list_parts(sys.modules[__name__])
