"""One picture in two places: equal bytes, or a copy that was scaled or compressed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clare.foreign import open_bytes
from clare.pipeline.manifests.sample import Sample
from clare.wording import NAMED_ROWS

BANDS = 16
"""Frequencies each way, the lowest above none, whose signs make a hash of 256 bits."""

NEAR = 24
"""Bits by which hashes of one picture may differ. Among 120 aligned faces, real and generated, the
closest two differ in 76; a face and itself at 70 pixels and JPEG 50, or brightened by 15 %, in at
most 17."""

_SIDE = 64
_TAIL = 4096
_BLOCK = 128


@dataclass
class Doubles:
    """Images that have a double under the other label, or in another split of theirs.

    Args:
        labels: places of rows with a double of the other label.
        splits: places of rows with a double of the same label in another split.
        within: places of rows with a double of the same label and split, where those were sought.
        examples: the first few pairs across labels and splits, as sample ids.
    """

    labels: set[int] = field(default_factory=set)
    splits: set[int] = field(default_factory=set)
    within: set[int] = field(default_factory=set)
    examples: list[str] = field(default_factory=list)

    def add(self, samples: Sequence[Sample], pairs: NDArray[np.int64]) -> None:
        """Count pairs of places, (P, 2)."""
        for first, second in pairs.tolist():
            a, b = samples[first], samples[second]
            across = a.label != b.label or (a.split and b.split and a.split != b.split)
            if across and len(self.examples) < NAMED_ROWS:
                self.examples.append(f"{_named(a)} and {_named(b)}")
            rows = self.labels if a.label != b.label else self.splits if across else self.within
            rows.update((first, second))

    def to_json(self) -> dict[str, Any]:
        """Numbers of images by kind, and examples."""
        return {
            "across_labels": len(self.labels),
            "across_splits": len(self.splits),
            "examples": self.examples,
        }


def byte_doubles(samples: Sequence[Sample], paths: Sequence[Path]) -> Doubles:
    """Files with equal bytes; only those of equal size and equal end are read whole.

    Args:
        samples: whose ``bytes`` are the files' sizes now.
        paths: of their files.
    """
    sizes = _parts([range(len(samples))], [s.bytes for s in samples].__getitem__, map)
    with ThreadPoolExecutor() as pool:
        ends = _parts(sizes, lambda place: _tail(paths[place]), pool.map)
        equal = _parts(ends, lambda place: _hash(paths[place]), pool.map)
    found = Doubles()
    for group in equal:
        found.add(samples, np.array(list(_pairs(samples, group))))
    return found


def picture_hash(image: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Signs of the 16 x 16 lowest frequencies of the luma, by a cosine transform.

    Close for copies of a picture that were scaled, compressed, brightened or sharpened; not for
    crops and mirror images. (The idea of pHash, C. Zauner 2010, with more frequencies.)

    Args:
        image: (H, W, 3) RGB.

    Returns:
        (4,) the 256 bits.
    """
    from PIL import Image

    grey = Image.fromarray(image).convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    waves = np.cos(np.pi * np.outer(np.arange(1, BANDS + 1), np.arange(_SIDE) + 0.5) / _SIDE)
    bits = np.packbits(waves @ np.asarray(grey, np.float64) @ waves.T > 0)
    words: NDArray[np.uint64] = bits.view(np.uint64)
    return words


def near_doubles(samples: Sequence[Sample], hashes: NDArray[np.uint64]) -> Doubles:
    """Pictures of other labels or splits whose hashes differ in at most `NEAR` bits.

    Args:
        samples: N rows.
        hashes: (N, 4) from `picture_hash`.
    """
    label = np.array([s.label for s in samples])
    names = sorted({s.split for s in samples})
    split = np.array([names.index(s.split) for s in samples])
    known = np.array([s.split != "" for s in samples])
    found = Doubles()
    for start in range(0, len(samples), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(samples)))
        bits = np.zeros((rows.stop - start, len(samples) - start), np.uint16)
        for word in range(hashes.shape[1]):
            bits += np.bitwise_count(hashes[rows, word, None] ^ hashes[None, start:, word])
        apart = label[rows, None] != label[None, start:]
        apart |= (split[rows, None] != split[None, start:]) & known[rows, None] & known[start:]
        pairs = np.argwhere((bits <= NEAR) & apart) + start
        found.add(samples, pairs[pairs[:, 0] < pairs[:, 1]])
    return found


def _parts(
    groups: Sequence[Sequence[int]],
    key: Callable[[int], Hashable],
    run: Callable[..., Iterable[Hashable]],
) -> list[list[int]]:
    """The parts of each group with equal keys, where more than one place has it."""
    places = [(number, place) for number, group in enumerate(groups) for place in group]
    parts: dict[tuple[int, Hashable], list[int]] = {}
    found = run(key, [place for _, place in places])
    for (number, place), one in zip(places, found, strict=True):
        parts.setdefault((number, one), []).append(place)
    return [part for part in parts.values() if len(part) > 1]


def _pairs(samples: Sequence[Sample], group: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each row of a group beside the first of each label and split before it."""
    first: dict[tuple[int, str], int] = {}
    for place in group:
        yield from ((other, place) for other in first.values())
        first.setdefault((samples[place].label, samples[place].split), place)


def _named(sample: Sample) -> str:
    facts = " ".join(filter(None, ("fake" if sample.label else "real", sample.split)))
    return f"{sample.sample_id} ({facts})"


def _tail(path: Path) -> bytes:
    with open_bytes(path) as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL))
        return hashlib.blake2b(file.read(), digest_size=16).digest()


def _hash(path: Path) -> bytes:
    with open_bytes(path) as file:
        return hashlib.file_digest(file, "sha256").digest()
