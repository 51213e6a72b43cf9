"""Runs that are trained side by side: how a sweep is dealt out to several machines."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clare.heads.config import TrainConfig

_STACKED = ("seed", "lr")
"""Settings in which runs differ that take their steps together."""


@dataclass(frozen=True)
class Runs:
    """Runs that one process trains side by side.

    Args:
        configs: one a run.
        folders: likewise.
    """

    configs: tuple[TrainConfig, ...]
    folders: tuple[Path, ...]

    def part(self, start: int, end: int | None) -> Runs:
        """Some of them."""
        return Runs(self.configs[start:end], self.folders[start:end])


class Supply:
    """Stacks of runs that are still to be trained; split where workers would have nothing to do.

    Args:
        configs: one a run.
        folders: likewise.
    """

    def __init__(self, configs: Sequence[TrainConfig], folders: Sequence[Path]) -> None:
        self._total = len(configs)
        groups: dict[str, list[tuple[TrainConfig, Path]]] = defaultdict(list)
        for config, folder in zip(configs, folders, strict=True):
            own = {name: one for name, one in config.to_json().items() if name not in _STACKED}
            groups[json.dumps(own, sort_keys=True, default=str)].append((config, folder))
        self._left = deque(
            Runs(tuple(config for config, _ in group), tuple(folder for _, folder in group))
            for group in sorted(groups.values(), key=len, reverse=True)
        )

    def __call__(self, lanes: int) -> Runs | None:
        """The next stack, given how many are trained at a time; None where none is left."""
        if not self._left:
            return None
        runs, size = self._left.popleft(), -(-self._total // lanes)
        if len(runs.folders) > size:
            self._left.appendleft(runs.part(size, None))
            runs = runs.part(0, size)
        return runs

    def put_back(self, runs: Runs) -> None:
        """Have runs trained by another worker."""
        self._left.append(runs)
