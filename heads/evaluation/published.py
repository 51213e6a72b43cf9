"""Published figures to stand beside ours, as their authors give them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from clare.advice import Set
from clare.errors import InputError
from clare.foreign import read_table
from clare.heads.evaluation.record import Against, BesidePublished
from clare.heads.metrics.by_subset import FiguresBySubset

TABLES = ("clare-paper",)
"""Tables of average precision and accuracy by subset. ``clare-paper``: detectors trained on PixArt,
SiT, VQGAN and StyleGAN-XL with the named number of images; their accuracy is at a threshold
searched on the test set."""

_ALIASES = {
    "midjourney6": "midjourney",
    "stablediffusion21": "sd21",
    "whichisreal": "whichfaceisreal",
}


def read_published(table: str) -> list[dict[str, str]]:
    """The lines of a table in ``data_manifests/published``, by its name."""
    return read_table(Path(str(files("clare.data_manifests") / "published" / f"{table}.csv")))


def published(table: str, subset: str) -> dict[str, dict[str, float]]:
    """A table's figures for a subset.

    Args:
        table: a name in `TABLES`.
        subset: a subset's name in any spelling: ``sd2.1``, ``SD21`` and ``sd21_cdf`` are one.

    Returns:
        By system ``ap`` and ``accuracy``; empty where the table has none.

    Raises:
        InputError: there is no such table.
    """
    require_table(table)
    plain = re.sub(r"[^a-z0-9]", "", subset.lower().removesuffix("_cdf"))
    plain = _ALIASES.get(plain, plain)
    return {
        line["system"]: {name: float(line[name]) for name in ("ap", "accuracy")}
        for line in read_published(table)
        if line["subset"] == plain
    }


def require_table(name: str) -> None:
    """Refuse the name of a table that is not there.

    Raises:
        InputError: it is not one of `TABLES`.
    """
    if name not in TABLES:
        known = (Set("against", table) for table in TABLES)
        raise InputError(f"there are no published figures called {name}", *known)


def beside_published(measured: FiguresBySubset, table: str) -> Against:
    """Our figures and a table's, for the subsets that both have.

    Args:
        measured: with the oracle's figures.
        table: a name in `TABLES`.

    Raises:
        InputError: there is no such table.
    """
    found = {}
    for name, one in measured.subsets.items():
        if theirs := published(table, name):
            ours = {figure: one.frame[figure] for figure in ("ap", "accuracy", "accuracy_oracle")}
            found[name] = BesidePublished(ours, theirs)
    return Against(table, found)


def published_by(table: str, key: str, figure: str) -> Mapping[str, Mapping[str, float]]:
    """One figure of a table, by system and by another column."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for line in read_published(table):
        found[line["system"]][line[key]] = float(line[figure])
    return found
