"""Probes on images that are newer than what their towers can have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import Resampling
from clare.heads.evaluation.newer import Newer, newer_figures, sight_of
from clare.heads.probing.inputs import ProbeInput, Source
from clare.heads.probing.prober import Fitted
from clare.heads.probing.rows import ProbeRows
from clare.heads.runs.record import extractor_record
from clare.store.feature_store import FeatureStore


def newer_of(
    store: FeatureStore,
    inputs: Sequence[ProbeInput],
    lare: Source | None,
    best: Mapping[str, Fitted],
    rows: ProbeRows,
    sets: Mapping[str, NDArray[np.int64]],
    how: Resampling,
    otherwise: date | None,
) -> dict[str, Newer]:
    """The figures of the best probe of each input on newer images, by the input's name.

    Args:
        store: the store.
        inputs: that were probed.
        lare: the field that weighs tokens.
        best: of each input, by its name.
        rows: of all probes.
        sets: places of each test set among the test rows.
        how: the bootstrap.
        otherwise: see `sight_of`.
    """
    sources = {
        one.name: {
            source
            for part in one.parts
            for source in (part.source, lare if part.is_weighed else None)
            if source is not None
        }
        for one in inputs
    }
    keys = {f"{one.extractor}-{one.digest}" for several in sources.values() for one in several}
    records = {key: extractor_record(store, key) for key in sorted(keys)}
    scores = {
        name: (
            sight_of(
                [records[f"{one.extractor}-{one.digest}"] for one in sorted(sources[name])],
                otherwise,
            ),
            fitted.scores,
        )
        for name, fitted in best.items()
    }
    tested = [rows.rows[int(place)][1] for place in rows.test]
    return newer_figures(tested, rows.tested, sets, scores, how)
