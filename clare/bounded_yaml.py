"""YAML of strangers as plain values; a file of its own, for PyYAML takes longer to import than the
command line. `clare.foreign` opens the files."""

from __future__ import annotations

from functools import partial
from typing import Any

import yaml


def load(text: str, *, depth: int, nodes: int) -> Any:
    """A YAML text's plain value.

    Args:
        text: of one document.
        depth: how deep it may be nested.
        nodes: how many values it may stand for, what aliases repeat counted each time.

    Raises:
        ValueError: it is not YAML, or goes beyond a limit.
        RecursionError: it is nested deeper than Python can follow.
    """
    loader: Any = partial(_Loader, depth=depth, nodes=nodes)
    try:
        return yaml.load(text, loader)
    # A tag on a value that it does not fit trips PyYAML's constructors in any of these ways.
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(str(error).replace(' in "<unicode string>",', ",")) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with an end to depth and to what aliases of aliases repeat."""

    def __init__(self, text: str, depth: int, nodes: int) -> None:
        super().__init__(text)
        self._deepest, self._most = depth, nodes
        self._depth = self._nodes = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        alias = self.check_event(yaml.AliasEvent)
        before = self._nodes
        self._depth += 1
        if self._depth > self._deepest:
            raise ValueError(f"it is nested more than {self._deepest} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias and id(node) not in self._sizes:
            raise ValueError("a part of it holds itself")
        self._nodes += self._sizes[id(node)] if alias else 1
        self._sizes[id(node)] = self._nodes - before
        if self._nodes > self._most:
            raise ValueError(f"it stands for more than {self._most} values")
        return node
