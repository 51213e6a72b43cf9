"""Published figures to stand beside ours, as their authors give them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from clare.errors import InputError

_SUBSETS = (
    "collabdiff", "stargan", "starganv2", "styleclip", "midjourney", "sd21", "rddm",
    "whichfaceisreal", "heygen",
)  # fmt: skip

_CLARE: Mapping[str, str] = {
    "CLIP prompts 41k": (
        ".653 .606 .985 .955 .864 .772 .959 .815 .532 .618 .995 .967 .990 .952 .605 .602 .953 .894"
    ),
    "CLIP prompts 82k": (
        ".674 .614 .975 .929 .807 .718 .954 .812 .456 .588 - - - - .633 .615 .934 .830"
    ),
    "CLIP prompts 164k": (
        ".701 .644 .968 .914 .854 .763 .954 .814 .424 .549 - - - - .698 .663 .954 .889"
    ),
    "CLaRE ESA 41k": (
        ".677 .626 .977 .926 .781 .694 .935 .781 .582 .613 - - - - .469 .531 .949 .884"
    ),
    "CLaRE ESA 164k": (
        ".659 .609 .976 .925 .792 .698 .935 .774 .636 .625 - - - - .500 .537 .958 .884"
    ),
    "CLaRE cross-attention 41k": (
        ".616 .578 .953 .875 .782 .691 .901 .747 .640 .637 .990 .950 .990 .953 .509 .532 .959 .874"
    ),
    "CLaRE cross-attention 164k": (
        ".734 .674 .961 .891 .791 .696 .943 .804 .671 .646 .995 .968 .987 .946 .580 .583 .919 .853"
    ),
}
"""Average precision and accuracy by subset, of detectors trained on PixArt, SiT, VQGAN and
StyleGAN-XL with the named number of images. That accuracy is at a threshold searched on the test
set."""

TABLES: Mapping[str, Mapping[str, str]] = {"clare-paper": _CLARE}
"""By name for ``--against``."""

_ALIASES = {"midjourney6": "midjourney", "stablediffusion21": "sd21", "whichisreal": _SUBSETS[7]}


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
    if table not in TABLES:
        raise InputError(f"no published figures {table!r}: there are {', '.join(TABLES)}")
    plain = re.sub(r"[^a-z0-9]", "", subset.lower().removesuffix("_cdf"))
    plain = _ALIASES.get(plain, plain)
    if plain not in _SUBSETS:
        return {}
    place = 2 * _SUBSETS.index(plain)
    found = {}
    for system, text in TABLES[table].items():
        ap, accuracy = text.split()[place : place + 2]
        if ap != "-":
            found[system] = {"ap": float(ap), "accuracy": float(accuracy)}
    return found


def beside_published(report: Mapping[str, Any], table: str) -> dict[str, Any]:
    """Our figures and a table's, for the subsets that both have.

    Args:
        report: of `clare.heads.metrics.by_subset.measure_subsets`, with the oracle's figures.
        table: a name in `TABLES`.

    Returns:
        ``{"table": NAME, "subsets": {SUBSET: {"ours": {"ap", "accuracy", "accuracy_oracle"},
        "published": {SYSTEM: {"ap", "accuracy"}}}}}``; ours with n and interval. No subset where
        it has figures for none.

    Raises:
        InputError: there is no such table.
    """
    subsets = {}
    for name, found in report["subsets"].items():
        theirs = published(table, name)
        if theirs:
            names = ("ap", "accuracy", "accuracy_oracle")
            ours = {figure: found["frame"][figure] for figure in names}
            subsets[name] = {"ours": ours, "published": theirs}
    return {"table": table, "subsets": subsets}
