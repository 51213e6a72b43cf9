"""What tells fakes without optimisation: prompts, neighbours, the real centroid, mean LaRE, files.

The real centroid, neighbours and the share of fakes by file format are made of training rows and
their labels, in one step and with nothing to choose; the others take nothing from training rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clare.advice import Notice
from clare.errors import InputError
from clare.heads.base import INPUTS
from clare.heads.detector import find_classifier
from clare.heads.evaluation.baseline_names import title_of
from clare.heads.evaluation.shortcuts import file_shortcuts
from clare.heads.layers.pooling import rows_of_direction
from clare.heads.linear.moments import Values
from clare.heads.probing.choosing import auc
from clare.heads.probing.inputs import Part, ProbeInput
from clare.heads.probing.rows import ProbeRows
from clare.heads.probing.vectors import Vectors
from clare.heads.runs.run import load_text_tower
from clare.heads.text.tower import TEXT_TOWER
from clare.store.feature_store import FeatureStore
from clare.store.spec import Fingerprint

LABELLED = "; uses training labels"
"""Behind what a score does, where that is so."""

SHORTCUT = "shortcut: "
"""Before what a score does, where it sees the file and no image."""

Scores = Callable[[NDArray[np.int64]], Values]
"""The score of some rows."""


@dataclass(frozen=True)
class Untrained:
    """A score that needs no optimisation.

    Args:
        name: what it is.
        how: what it does, in a few words.
        val_auc: AUC on validation rows.
        scores: (n,) of the test rows, higher for fakes.
    """

    name: str
    how: str
    val_auc: float
    scores: Values


def score_untrained(
    store: FeatureStore, vectors: Vectors, rows: ProbeRows, parts: Sequence[Part]
) -> tuple[list[Untrained], list[Notice]]:
    """Every such score of the rows that probes are tested on; and why one is left out.

    Where nothing fixes whether fakes have more or less of it, validation rows decide.

    Args:
        store: that the rows are of.
        vectors: of all rows.
        rows: which of them train, choose and test.
        parts: that vectors are there of.
    """
    found: list[Untrained] = []
    notices: list[Notice] = []
    for part in parts:
        if part.kind == "lare" and part.pooling == "mean":
            found.append(_mean_lare(part, vectors, rows))
        if part.kind:
            continue
        found.append(_centroid(part, vectors, rows))
        found.append(_neighbour(part, vectors, rows))
        try:
            found += _prompts(store, part, vectors, rows)
        except InputError as error:
            notices.append(Notice(f"{part.name} is not held to prompts: {error.what}"))
    prints = {(part.source.extractor, part.source.digest) for part in parts}
    known = [store.extractor(f"{extractor}-{digest}")[0] for extractor, digest in sorted(prints)]
    return found + _files(rows, known), notices


def _of(part: Part, vectors: Vectors, places: NDArray[np.int64]) -> Iterator[Values]:
    """Vectors of unit length, piece by piece."""
    return vectors.pieces(ProbeInput((part,)), places, unit=True, exchanged=())


def _untrained(name: str, how: str, rows: ProbeRows, scores: Scores, *, fixed: bool) -> Untrained:
    val, test = scores(rows.val), scores(rows.test)
    found = auc(val, rows.y[rows.val])
    if not fixed and found < 0.5:
        return Untrained(name, f"{how}; fakes have less", 1 - found, -test)
    return Untrained(name, how if fixed else f"{how}; fakes have more", found, test)


def _mean_lare(part: Part, vectors: Vectors, rows: ProbeRows) -> Untrained:
    def scores(places: NDArray[np.int64]) -> Values:
        pieces = vectors.pieces(ProbeInput((part,)), places, unit=False, exchanged=())
        return np.concatenate([values.mean(1) for values in pieces])

    return _untrained(f"{part.name}, plain", "mean error", rows, scores, fixed=False)


def _centroid(part: Part, vectors: Vectors, rows: ProbeRows) -> Untrained:
    reals = rows.train[rows.y[rows.train] < 0]
    centre = np.sum([values.sum(0) for values in _of(part, vectors, reals)], axis=0)

    def scores(places: NDArray[np.int64]) -> Values:
        return np.concatenate([-(values @ centre) for values in _of(part, vectors, places)])

    how = f"distance to the centroid of training reals, by cosine{LABELLED}"
    return _untrained(f"{part.name}, real centroid", how, rows, scores, fixed=True)


def _neighbour(part: Part, vectors: Vectors, rows: ProbeRows) -> Untrained:
    labels = (rows.y[rows.train] > 0).astype(np.int64)
    chosen = rows_of_direction(labels)
    banks = [
        np.concatenate([*_of(part, vectors, rows.train[chosen[labels[chosen] == label]])])
        for label in (0, 1)
    ]

    def scores(places: NDArray[np.int64]) -> Values:
        pieces = _of(part, vectors, places)
        nearest = ([(values @ bank.T).max(1) for bank in banks] for values in pieces)
        return np.concatenate([fake - real for real, fake in nearest])

    how = (
        f"cosine to the nearest of {len(banks[1]):,} training fakes less of {len(banks[0]):,} reals"
        f"{LABELLED}"
    )
    return _untrained(f"{part.name}, nearest neighbour", how, rows, scores, fixed=True)


def _prompts(store: FeatureStore, part: Part, vectors: Vectors, rows: ProbeRows) -> list[Untrained]:
    """Cosines to fixed prompts; nothing of vectors that stand beside no text.

    Raises:
        InputError: the text tower is of a kind that can't be run.
    """
    source = part.source
    key = f"{source.extractor}-{source.digest}"
    there = {path.name for path in store.layout.assets(key)}
    if source.field != INPUTS["cls"].field or TEXT_TOWER not in there:
        return []
    settings: Any = find_classifier("text_similarity").Settings()
    with torch.no_grad():
        texts = load_text_tower(store, key).encode_text(settings.prompts).double().numpy()
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    towards = texts[1::2].mean(0) - texts[0::2].mean(0)
    if vectors.widths(ProbeInput((part,))) != [len(towards)]:
        return []

    def scores(places: NDArray[np.int64]) -> Values:
        return np.concatenate([values @ towards for values in _of(part, vectors, places)])

    how = f"mean cosine to {len(texts) // 2} prompts of fakes less to as many of reals"
    return [_untrained(f"{part.name}, zero-shot", how, rows, scores, fixed=True)]


def _files(rows: ProbeRows, prints: Sequence[Fingerprint]) -> list[Untrained]:
    """What the files give away; nothing that is not known of all rows that choose and test."""
    images = [one.settings.get("images", {}) for one in prints]
    shortcuts = file_shortcuts([row for _, row in rows.rows], images)
    judged = np.concatenate([rows.val, rows.test])
    found = []
    for name, values in shortcuts.items():
        if values.dtype.kind == "U":
            if not (values[judged] == "").any():
                shares = _shares_of_fakes(values[rows.train].tolist(), rows.y[rows.train])
                numbers = np.array([shares[one] for one in values.tolist()])
                how = f"{SHORTCUT}share of fakes among training images of the same{LABELLED}"
                found.append(_untrained(title_of(name), how, rows, numbers.take, fixed=True))
        elif not np.isnan(numbers := values.astype(np.float64))[judged].any():
            how = f"{SHORTCUT}as the store's rows have it"
            found.append(_untrained(title_of(name), how, rows, numbers.take, fixed=False))
    return found


def _shares_of_fakes(names: Sequence[str], y: Values) -> defaultdict[str, float]:
    """By name, of training rows; one row of the average share is added to each."""
    average = float((y > 0).mean())
    counts: defaultdict[str, list[float]] = defaultdict(lambda: [average, 1.0])
    for name, sign in zip(names, y, strict=True):
        counts[name][0] += sign > 0
        counts[name][1] += 1
    shares: defaultdict[str, float] = defaultdict(lambda: average)
    shares.update({name: fakes / count for name, (fakes, count) in counts.items()})
    return shares
