"""Which rows a run trains on and is chosen by, and in which order an epoch takes them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from clare.advice import Name, Run, Set
from clare.errors import InputError
from clare.heads.config import TrainConfig
from clare.heads.data.frames import choose_frames
from clare.heads.data.subsets import require_protocol
from clare.heads.data.table import FeatureTable, Split
from clare.store.index import Row
from clare.wording import listed

CLASSES = ("real", "fake")
"""By label."""


@dataclass(frozen=True)
class Samples:
    """Samples of one split, each with one or several views, as places in a `FeatureTable`.

    Args:
        plain: (n,) the rows of view 0.
        views: the rows of all views, sample after sample.
        first: (n + 1,) where each sample's views begin in ``views``.
        labels: (n,) int64.
        unmasked: fakes without a mask that are left out, by subset.
    """

    plain: NDArray[np.int64]
    views: NDArray[np.int64]
    first: NDArray[np.int64]
    labels: NDArray[np.int64]
    unmasked: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.plain)

    def counts(self) -> dict[str, int]:
        """Samples by class."""
        return {name: int((self.labels == label).sum()) for label, name in enumerate(CLASSES)}

    def epoch(self, seed: int, epoch: int, *, views: bool) -> tuple[NDArray, NDArray]:
        """The order of an epoch, a random view of each sample.

        Args:
            seed: the data seed; seed and epoch alone decide the result.
            epoch: counted from 1.
            views: whether views above 0 are drawn.

        Returns:
            (n,) samples, and (n,) the row that stands for each of them.
        """
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self))
        counts = np.diff(self.first)[order]
        drawn = (rng.random(len(self)) * counts).astype(np.int64)
        if not views:
            return order, self.plain[order]
        return order, self.views[self.first[order] + drawn]

    def shuffled(self, seed: Sequence[int]) -> Samples:
        """The same samples with each other's labels: the control that must find nothing."""
        return replace(self, labels=np.random.default_rng(seed).permutation(self.labels))


def choose_samples(
    table: FeatureTable, config: TrainConfig, fields: Iterable[str], split: Split
) -> Samples:
    """The samples of a split that a run uses.

    A sample's plain row has to be complete in all fields and of the run's domains. Where masks are
    learnt, a fake has to name one, and real images join if the configuration takes them. Of a
    video, as many frames are taken as asked for. An image that stands in several subsets counts
    once. The fraction is one of training, of whole videos, within subset and label.

    Raises:
        InputError: a class is missing, or a subset of the run's protocol is, or an image has two
            labels, or fakes have no masks.
    """
    complete = table.complete(fields)
    groups: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for number in np.flatnonzero(complete).tolist():
        row = table.rows[number]
        subset = row.columns["subset"]
        from_pool = subset in config.reals and row.columns["label"] == 0
        wanted = from_pool or not config.train or subset in config.train
        if wanted and (not config.domains or row.columns.get("domain") in config.domains):
            groups[subset, row.sample_id][row.view] = number
    chosen = [views for views in groups.values() if 0 in views]
    if not config.takes_reals:
        chosen = [views for views in chosen if table.rows[views[0]].columns["label"] == 1]
    unmasked: Mapping[str, int] = {}
    if config.needs_masks(split):
        chosen, unmasked = _with_masks(chosen, table, config, split)
    frames = choose_frames(
        [table.rows[views[0]] for views in chosen], config.frames, config.sampling
    )
    chosen = [chosen[place] for place in frames]
    if config.protocol is not None:
        _require_all(chosen, table.rows, config, split)
    chosen = _without_copies(chosen, table.rows)
    if split == "train" and config.fraction < 1:
        chosen = _take_fraction(chosen, table.rows, config.fraction, config.data_seed)
    samples = _pack(chosen, table.rows)
    _require_both(samples, table, config, split)
    return replace(samples, unmasked=unmasked)


def _with_masks(
    chosen: list[dict[int, int]], table: FeatureTable, config: TrainConfig, split: Split
) -> tuple[list[dict[int, int]], dict[str, int]]:
    """Those that masks can teach or choose by, and the fakes left out, by subset.

    Where labels teach, masks only choose: fakes without one stay, for the threshold.

    Raises:
        InputError: no fake of a subset names a mask.
    """
    fakes = [row for views in chosen if (row := table.rows[views[0]]).columns["label"] == 1]
    masked = Counter(str(row.columns["subset"]) for row in fakes if row.columns.get("mask_path"))
    all_of = Counter(str(row.columns["subset"]) for row in fakes)
    named = set(config.train) if config.supervision == "mask" else set()
    bare = sorted(named & set(all_of) - set(masked))
    if bare or (fakes and not masked):
        raise InputError(
            f"fakes of {listed(bare or sorted(all_of))} have no masks in split {split}",
            "name them in the manifest and extract again",
            *(
                [Set("select", "auc", effect="does without")]
                if config.supervision != "mask"
                else []
            ),
        )
    if config.supervision == "image":
        return chosen, {}
    kept = [
        views
        for views in chosen
        if table.rows[views[0]].columns["label"] == 0
        or table.rows[views[0]].columns.get("mask_path")
    ]
    return kept, dict(all_of - masked)


def _pack(chosen: Sequence[dict[int, int]], rows: Sequence[Row]) -> Samples:
    views = [[places[view] for view in sorted(places)] for places in chosen]
    return Samples(
        plain=np.array([places[0] for places in chosen], np.int64),
        views=np.array([place for places in views for place in places], np.int64),
        first=np.cumsum([0, *map(len, views)], dtype=np.int64),
        labels=np.array([rows[places[0]].columns["label"] for places in chosen], np.int64),
    )


def _without_copies(chosen: list[dict[int, int]], rows: Sequence[Row]) -> list[dict[int, int]]:
    """One sample an image: some releases list their reals once for each method."""
    kept: dict[object, dict[int, int]] = {}
    for number, places in enumerate(chosen):
        row = rows[places[0]]
        key = (row.content, row.columns.get("boxes")) if row.content else number
        first = kept.setdefault(key, places)
        if rows[first[0]].columns["label"] != row.columns["label"]:
            raise InputError(
                f"one image has two labels: {rows[first[0]].sample_id!r} in "
                f"{rows[first[0]].columns['subset']} and {row.sample_id!r} in "
                f"{row.columns['subset']}; keep it in one of these subsets"
            )
    return list(kept.values())


def _take_fraction(
    chosen: list[dict[int, int]], rows: Sequence[Row], fraction: float, seed: int
) -> list[dict[int, int]]:
    """A share of the videos, or of the samples that belong to none, by subset and label.

    They stand in the order of a seeded hash, so a smaller share is a part of a larger one.
    """
    strata: dict[tuple[str, int], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, places in enumerate(chosen):
        row = rows[places[0]]
        name = f"video {row.columns['video_id']}" if row.columns.get("video_id") else row.sample_id
        strata[row.columns["subset"], row.columns["label"]][name].append(number)
    taken = []
    for groups in strata.values():
        wanted = fraction * sum(map(len, groups.values()))
        got = 0
        for name in sorted(groups, key=lambda n: hashlib.sha256(f"{seed}\n{n}".encode()).digest()):
            if got and got + len(groups[name]) / 2 > wanted:
                break
            taken += groups[name]
            got += len(groups[name])
    return [chosen[number] for number in sorted(taken)]


def _require_all(
    chosen: Sequence[dict[int, int]], rows: Sequence[Row], config: TrainConfig, split: Split
) -> None:
    """Refuse a protocol without some of its subsets: it would be another one."""
    columns = [rows[places[0]].columns for places in chosen]
    there = {(one["subset"], one["label"]) for one in columns}
    fakes = [name for name in config.train if (name, 1) not in there]
    reals = [name for name in config.pools if (name, 0) not in there]
    if fakes or reals:
        domains = f" of domain {', '.join(config.domains)}" if config.domains else ""
        where = f"of which the store has no complete rows{domains} in split {split}"
        require_protocol(config, [*fakes, *reals], where)


def _require_both(samples: Samples, table: FeatureTable, config: TrainConfig, split: Split) -> None:
    wanted = CLASSES if config.takes_reals else CLASSES[1:]
    missing = [name for name in wanted if not samples.counts()[name]]
    if not missing:
        return
    where = ", ".join(config.train) or "the store"
    if config.domains:
        where += f" (domain {', '.join(config.domains)})"
    name = "training" if split == "train" else "validation"
    if len(missing) == len(CLASSES):
        raise InputError(
            f"{where} has no complete {name} rows for these features, whose splits are "
            "those of the manifests",
            Run("store.info", (table.store.path,), effect="tells what it has"),
        )
    if not config.takes_reals:
        raise InputError(
            f"{where} has no fakes with these features in {name}",
            Name("a subset that has them", "train"),
        )
    if missing == ["real"] and config.needs_masks(split) and config.reals:
        raise InputError(
            f"reals of {listed(config.reals)} have no complete {name} rows for these features, the "
            "field mask among them",
            "extract it for them too, with the feature mask",
        )
    setting = "reals" if missing == ["real"] else "train"
    raise InputError(
        f"{where} has no {missing[0]} images in {name}", Name("a subset that has them", setting)
    )
