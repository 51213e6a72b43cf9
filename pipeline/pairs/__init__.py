"""The kinds of pairs, one a file; a new file here is a new name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from clare.plugins import find_part, list_parts

if TYPE_CHECKING:
    from clare.pipeline.pair import PairKind


def list_kinds() -> list[str]:
    """Names of all kinds, sorted; imports none of them."""
    return list_parts(sys.modules[__name__])


def find_kind(name: str) -> type[PairKind]:
    """The class of a kind, by its name or the path of a file.

    Raises:
        InputError: there is no such kind.
    """
    from clare.pipeline.pair import PairKind  # which brings numpy

    return find_part(sys.modules[__name__], name, PairKind)  # type: ignore[type-abstract]
