"""One (sample, view) of a subset, and what of it decides its stored values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clare.groups import aligned_pair
from clare.store.records import checksum

Identity = tuple[str, int, str, str, str]

DECIDING = (
    *("boxes", "face_points", "face_detector", "mask_content", "mask_fake"),
    *("pair_id", "pair_kind", "delivery", "delivery_steps"),
)
"""Columns that are part of a row's identity, because stored values follow from them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One (sample, view) of a subset.

    Args:
        sample_id: the sample's id, unique in its subset.
        view: 0 for the plain image, above for its augmentations.
        content: sha256 of the file's bytes, hexadecimal; empty if the file could not be read.
        columns: every column of the manifest, as plain JSON.
        slot: the row's place along the first axis of every array; -1 before it has one.
    """

    sample_id: str
    view: int
    content: str
    columns: Mapping[str, Any]
    slot: int = -1

    @property
    def identity(self) -> Identity:
        """What decides the row's stored values: another identity is another slot."""
        return self.sample_id, self.view, self.content, self.face + self.drawn, self.mask

    @property
    def face(self) -> str:
        """What decides which part of the image is looked at: the face's box, and its points."""
        boxes, points, detector = (
            str(self.columns.get(name) or "") for name in ("boxes", "face_points", "face_detector")
        )
        return f"{boxes} {points} {detector}" if points else boxes

    @property
    def drawn(self) -> str:
        """What decides, beside the content, what is drawn: a delivery, and the pair that shares it.

        An augmented view is drawn too, and the pair is then all that is added.
        """
        name = self.columns.get("delivery")
        delivery = f" delivery {name}: {self.columns.get('delivery_steps')}" if name else ""
        pair = aligned_pair(self.columns) if self.view or name else ""
        return f"{delivery} pair {pair}" if pair else delivery

    @property
    def mask(self) -> str:
        """What decides its mask: the hash of the file, and whether black is fake in it."""
        content = str(self.columns.get("mask_content") or "")
        is_black = content and self.columns.get("mask_fake") == "black"
        return f"{content} black" if is_black else content

    @property
    def identity_checksum(self) -> int:
        """CRC-32C of the identity, which binds a journal record to the rows it speaks of."""
        return checksum_of(*self.identity)


def checksum_of(sample_id: str, view: int, content: str, face: str = "", mask: str = "") -> int:
    """CRC-32C of an identity."""
    text = f"{sample_id}\0{view}\0{content}\0{face}\0{mask}"
    return checksum(text.encode(errors="surrogatepass"))
