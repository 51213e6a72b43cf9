"""The figures of past runs, a line each, and what changed since the last run on this machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.rounds import Facts, Figure, Outcome

FILE = Path(__file__).parent / "results.jsonl"
"""Ignored by git: figures of one machine say nothing about another."""


@dataclass(frozen=True)
class Line:
    """One figure of one run.

    Args:
        script: that made it.
        race: title of its race.
        figure: with its spread.
        compared: whether a change of it is worth a word: not that of a time whose race has ratios,
            as the whole machine may be slower today.
        sizes: all that decides how large the work was.
        machine: processor, cores and GPU.
        commit: of the code, with a ``+`` where files had changed.
        date: and time, UTC.
    """

    script: str
    race: str
    figure: Figure
    compared: bool
    sizes: Mapping[str, Any]
    machine: str
    commit: str
    date: str

    @property
    def key(self) -> str:
        """The same for figures that may be compared."""
        what = [self.script, self.race, self.figure.name, self.figure.unit, self.machine]
        return json.dumps([*what, dict(self.sizes)], sort_keys=True)


def make_lines(
    script: str, part: Outcome | Facts, sizes: Mapping[str, Any], place: Mapping[str, str]
) -> list[Line]:
    """The lines of a race, or of facts, which are kept and not compared."""
    if isinstance(part, Facts):
        figures = [
            (_fact(f"{row}: {column}", value), False)
            for row, columns in part.rows.items()
            for column, value in columns.items()
        ]
    else:
        figures = [
            *((one, True) for one in part.ratios),
            *((one, not part.ratios) for one in part.times),
            *((_fact(name, value), False) for name, value in part.facts.items()),
        ]
    return [Line(script, part.title, one, told, sizes, **place) for one, told in figures]


def _fact(name: str, value: float) -> Figure:
    return Figure(name, "", value, value, value, 1)


def write_lines(lines: Iterable[Line], file: Path) -> None:
    """Append."""
    text = "".join(f"{json.dumps(asdict(line))}\n" for line in lines)
    with file.open("a", encoding="utf-8") as out:
        out.write(text)


def read_lines(file: Path) -> list[Line]:
    """All lines, the oldest first; without those that a kill cut off, or of an older form."""
    if not file.is_file():
        return []
    found = []
    for text in file.read_text("utf-8").splitlines():
        try:
            values = json.loads(text)
            found.append(Line(**{**values, "figure": Figure(**values["figure"])}))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def changes(before: Sequence[Line], now: Sequence[Line]) -> list[str]:
    """A sentence for each figure whose rounds lie all on one side of its last run's."""
    last = {line.key: line for line in before}
    found = []
    for line in now:
        old = last.get(line.key)
        if old is None or not line.compared or not line.figure.differs(old.figure):
            continue
        figure, past = line.figure, old.figure
        found.append(
            f"{line.script}, {line.race}, {figure.name}: "
            f"{past.median:.3g} ({past.low:.3g} to {past.high:.3g}) {past.unit} at {old.commit} "
            f"of {old.date[:10]}, now {figure.median:.3g} ({figure.low:.3g} to {figure.high:.3g})"
        )
    return found


def here() -> dict[str, str]:
    """This machine, commit and time, as a line has them."""
    return {
        "machine": _machine(),
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _machine() -> str:
    import torch

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [one for one in info.read_text().splitlines() if one.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    graphics = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([name, f"{os.cpu_count()} cores", *graphics])


def _commit() -> str:
    def git(*words: str) -> str:
        folder = Path(__file__).parent
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
        return done.stdout.strip()

    try:
        name = git("rev-parse", "--short", "HEAD")
        return f"{name or 'unknown'}{'+' if git('status', '--porcelain') else ''}"
    except OSError:
        return "unknown"
