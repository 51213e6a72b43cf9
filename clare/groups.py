"""What images have in common: a video, a person, the photograph that they show, or the file.

One rule for all of CLaRE: validation and splits, leakage, audit, and the bootstrap of figures.

A video is named within its subset, because every method numbers its own videos. An identity is
named within its domain, the data that the image was made from: identity "3" of ff and "3" of cdf
are two people, while fakes of two methods that were made from one person of ff show that person
both. Where no domain is known, the name alone counts. An image that was delivered, through a
platform say, stays the image that it was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Kind = Literal["video", "identity", "pair", "real", "image"]

Group = tuple[Kind, str]
"""Kind and name of what an image shares with others."""

_MEETS: Mapping[Kind, tuple[Kind, ...]] = {"pair": ("pair", "real"), "real": ("pair",)}
"""A fake's ``pair_id`` may be its real's own name. Two reals of one name share nothing by it, since
a ``sample_id`` is unique in its subset alone."""

FURTHER_FACE = "#face"
"""In a ``sample_id``, what comes behind that of the image, with a number from 2 on, where several
faces of one image have a row each."""
_ALTERED = "~"

_FURTHER = re.compile(rf"(?<=.){FURTHER_FACE}([2-9]|[1-9][0-9]+)\Z", re.ASCII | re.DOTALL)


def groups_of(columns: Mapping[str, Any], content: str = "") -> list[Group]:
    """Everything that an image may share with images of its own split alone.

    Args:
        columns: of a manifest; ``subset``, ``parent_subset``, ``video_id``, ``domain``,
            ``source_ids`` and ``pair_id`` are read.
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


def full_name(subset: str, sample_id: str) -> str:
    """A ``sample_id`` with its subset before it, by which no image of another subset is meant."""
    start = f"{subset}/"
    return sample_id if start == "/" or sample_id.startswith(start) else start + sample_id


def names_of_real(columns: Mapping[str, Any], sample_id: str) -> tuple[str, ...]:
    """What a fake's ``pair_id`` may call its real: the ``sample_id``, or the `full_name`."""
    own = named_as(columns, sample_id)
    return tuple(dict.fromkeys((own, full_name(subset_as(columns), own))))


def ties_of(columns: Mapping[str, Any], sample_id: str, content: str = "") -> list[Group]:
    """`groups_of`, and of a real its own names: a fake's ``pair_id`` may say one of them.

    Two images are tied where one has what the other's `met_by` gives.
    """
    found = groups_of(columns, content)
    if columns.get("label") == 0:
        found += [("real", name) for name in names_of_real(columns, sample_id)]
    return found


def named_as(columns: Mapping[str, Any], sample_id: str) -> str:
    """The name of the image in a row: where it was delivered, that of the image that was."""
    return str(columns.get("parent_id") or sample_id)


def subset_as(columns: Mapping[str, Any]) -> str:
    """The subset of the image in a row; where it was delivered, that of the image that was."""
    return str(columns.get("parent_subset") or columns.get("subset") or "")


def met_by(group: Group) -> list[Group]:
    """What ties another image to one that has this."""
    kind, name = group
    return [(other, name) for other in _MEETS.get(kind, (kind,))]


def first_tied(known: dict[Group, T], group: Group, image: T) -> list[T]:
    """The first of the images so far that this group ties to one, which may be itself.

    Args:
        known: the first image that has a group; gets this one where it is the first.
        group: of the image.
        image: what stands for it.
    """
    known.setdefault(group, image)
    return [known[other] for other in met_by(group) if other in known]


def aligned_pair(columns: Mapping[str, Any]) -> str:
    """The pair whose members lie on each other pixel by pixel; empty where there is no such.

    A ``pair_id`` alone may name a clip: ``pair_kind`` says that the members are aligned.
    """
    return str(columns.get("pair_id") or "") if columns.get("pair_kind") else ""


def video_of(columns: Mapping[str, Any]) -> str:
    """The video that an image is a frame of, as ``subset/video``; empty where it is none."""
    video = columns.get("video_id")
    return f"{subset_as(columns)}/{video}" if video else ""


def altered_video(video_id: str, pair_kind: str) -> str:
    """The ``video_id`` of the fakes that are made of a video's frames: a video has one label."""
    return f"{video_id}{_ALTERED}{pair_kind}" if video_id else ""


def unaltered_video(video_id: str, pair_kind: str) -> str:
    """The ``video_id`` that an `altered_video` was made of; any other stays as it is."""
    return video_id.removesuffix(f"{_ALTERED}{pair_kind}")


def cluster_of(columns: Mapping[str, Any], sample_id: str, paired: Collection[str] = ()) -> str:
    """What a bootstrap draws as a whole: the video, else the first identity, pair or image.

    A fake frame that lies on its real is drawn with the video of the real.

    Args:
        columns: as in `groups_of`.
        sample_id: of the image.
        paired: every ``pair_id`` among the rows: a real may be named there.
    """
    for kind, name in groups_of(columns):
        if kind != "video":
            return f"{kind} {name}"
        return unaltered_video(name, str(columns["pair_kind"])) if aligned_pair(columns) else name
    if columns.get("label") == 0:
        for name in names_of_real(columns, sample_id):
            if name in paired:
                return f"pair {name}"
    return f"{subset_as(columns)}/{image_of(named_as(columns, sample_id))}"


def image_of(sample_id: str) -> str:
    """The ``sample_id`` of the row that one of a further face belongs to; else its own."""
    return _FURTHER.sub("", sample_id)
