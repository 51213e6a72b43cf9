"""What images have in common: a video, a person, the photograph that they show, or the file.

One rule for all of CLaRE: validation and splits, leakage, audit, and the bootstrap of figures.

A video is named within its subset, because every method numbers its own videos. An identity is
named within its domain, the data that the image was made from: identity "3" of ff and "3" of cdf
are two people, while fakes of two methods that were made from one person of ff show that person
both. Where no domain is known, the name alone counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["video", "identity", "pair", "image"]

Group = tuple[Kind, str]
"""Kind and name of what an image shares with others."""

FURTHER_FACE = "#face"
"""In a ``sample_id``, what comes behind that of the image, with a number from 2 on, where several
faces of one image have a row each."""
_FURTHER = re.compile(rf"(?<=.){FURTHER_FACE}([2-9]|[1-9][0-9]+)\Z", re.ASCII | re.DOTALL)


def groups_of(columns: Mapping[str, Any], content: str = "") -> list[Group]:
    """Everything that an image may share with images of its own split alone.

    Args:
        columns: of a manifest; ``subset``, ``video_id``, ``domain``, ``source_ids`` and ``pair_id``
            are read.
        content: hash of the file's bytes; empty where it is not known.

    Returns:
        The video, the identities in their order, the pair, and the image itself, as far as they are
        known.
    """
    found: list[Group] = []
    if video := video_of(columns):
        found.append(("video", video))
    domain = columns.get("domain")
    for identity in map(str.strip, str(columns.get("source_ids") or "").split("|")):
        if identity:
            found.append(("identity", f"{domain}/{identity}" if domain else identity))
    if pair := columns.get("pair_id"):
        found.append(("pair", str(pair)))
    if content:
        found.append(("image", content))
    return found


def ties_of(columns: Mapping[str, Any], sample_id: str, content: str = "") -> list[Group]:
    """`groups_of`, and of a real its own name: a fake's ``pair_id`` may say that."""
    found = groups_of(columns, content)
    if columns.get("label") == 0 and not columns.get("pair_id"):
        found.append(("pair", sample_id))
    return found


def aligned_pair(columns: Mapping[str, Any]) -> str:
    """The pair whose members lie on each other pixel by pixel; empty where there is no such.

    A ``pair_id`` alone may name a clip: ``pair_kind`` says that the members are aligned.
    """
    return str(columns.get("pair_id") or "") if columns.get("pair_kind") else ""


def video_of(columns: Mapping[str, Any]) -> str:
    """The video that an image is a frame of, as ``subset/video``; empty where it is none."""
    video = columns.get("video_id")
    return f"{columns.get('subset', '')}/{video}" if video else ""


def cluster_of(columns: Mapping[str, Any], sample_id: str) -> str:
    """What a bootstrap draws as a whole: the video, else the first identity, pair or image."""
    for kind, name in groups_of(columns):
        return name if kind == "video" else f"{kind} {name}"
    return f"{columns.get('subset', '')}/{image_of(sample_id)}"


def image_of(sample_id: str) -> str:
    """The ``sample_id`` of the row that one of a further face belongs to; else its own."""
    return _FURTHER.sub("", sample_id)
