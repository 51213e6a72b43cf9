"""Which rows a run trains on and is chosen by, and in which order an epoch takes them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clare.advice import LeaveOut, Name, Run, Set
from clare.errors import InputError
from clare.groups import unaltered_video
from clare.heads.config import TrainConfig
from clare.heads.data.frames import choose_frames
from clare.heads.data.pairs import group_pairs, whole_batches
from clare.heads.data.subsets import require_protocol
from clare.heads.data.table import Split, pieces
from clare.store.feature_store import FeatureStore
from clare.store.rows import Rows
from clare.wording import listed

CLASSES = ("real", "fake")
"""By label."""


class Table(Protocol):
    """Rows to choose from, as a `FeatureTable` is."""

    @property
    def store(self) -> FeatureStore:
        """That holds them."""

    @property
    def rows(self) -> Rows:
        """All of them."""

    def complete(self, fields: Iterable[str]) -> NDArray[np.bool_]:
        """(rows,) whether a row has a value in each of these fields."""


@dataclass(frozen=True)
class Samples:
    """Samples of one split, each with one or several views, as places in a `Table`.

    Args:
        plain: (n,) the rows of view 0.
        views: the rows of all views, sample after sample.
        first: (n + 1,) where each sample's views begin in ``views``.
        labels: (n,) int64.
        unmasked: fakes without a mask that are left out, by subset.
        groups: (n,) of each, the number of what stays together in one batch and one view: a real
            with its fakes, or what has no pair by itself. None where nothing is kept together.
    """

    plain: NDArray[np.int64]
    views: NDArray[np.int64]
    first: NDArray[np.int64]
    labels: NDArray[np.int64]
    unmasked: Mapping[str, int] = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.plain)

    def counts(self) -> dict[str, int]:
        """Samples by class."""
        return {name: int((self.labels == label).sum()) for label, name in enumerate(CLASSES)}

    def epoch(
        self, seed: int, epoch: int, batch: int, *, views: bool
    ) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """The batches of an epoch, each sample once, in a random view.

        Args:
            seed: the data seed; it, the epoch and the size of a batch alone decide the result.
            epoch: counted from 1.
            batch: samples of a batch at most. Where pairs are kept together, some may be smaller.
            views: whether views above 0 are drawn.

        Returns:
            By batch, (b,) samples and (b,) the row that stands for each of them.
        """
        rng = np.random.default_rng([seed, epoch])
        if self.groups is None:
            order = rng.permutation(len(self))
            share = rng.random(len(self))
            batches = pieces(order, batch)
        else:
            batches = whole_batches(self.groups, batch, rng)
            order = np.concatenate(batches)
            share = rng.random(len(self))[self.groups[order]]
        if not views:
            return batches, [self.plain[some] for some in batches]
        drawn = (share * np.diff(self.first)[order]).astype(np.int64)
        places = self.views[self.first[order] + drawn]
        return batches, np.split(places, np.cumsum([len(some) for some in batches])[:-1])

    def shuffled(self, seed: Sequence[int]) -> Samples:
        """The same samples with each other's labels: the control that must find nothing."""
        return replace(self, labels=np.random.default_rng(seed).permutation(self.labels))


def choose_samples(
    table: Table, config: TrainConfig, fields: Iterable[str], split: Split
) -> Samples:
    """The samples of a split that a run uses.

    A sample's plain row has to be complete in all fields and of the run's domains. Where masks are
    learnt, a fake has to name one, and real images join if the configuration takes them. Of a
    video, as many frames are taken as asked for. An image that stands in several subsets counts
    once. The fraction is one of training, of whole videos and pairs, within subset and label. Where
    pairs are kept together, their members keep the views that all of them have.

    Raises:
        InputError: a class is missing, or a subset of the run's protocol is, or an image has two
            labels, or fakes have no masks, or there is no pair to keep together.
    """
    places = np.flatnonzero(table.complete(fields))
    rows = table.rows.take(places)
    wanted = _among(rows, "subset", config.reals) & (rows.column("label") == 0)
    wanted |= _among(rows, "subset", config.train) if config.train else True
    if config.domains:
        wanted &= _among(rows, "domain", config.domains)
    chosen = _by_sample(places[wanted], rows.take(wanted))
    if not config.takes_reals:
        chosen = chosen.take(chosen.labels == 1)
    unmasked: Mapping[str, int] = {}
    if config.needs_masks(split):
        chosen, unmasked = _with_masks(chosen, config, split)
    if config.frames is not None:
        chosen = chosen.take(
            np.array(choose_frames(chosen.rows, config.frames, config.sampling), int)
        )
    if config.protocol is not None:
        _require_all(chosen.rows, config, split)
    chosen = _without_copies(chosen)
    if split == "train" and config.fraction < 1:
        chosen = _take_fraction(chosen, config.fraction, config.data_seed)
    samples = chosen.samples()
    _require_both(samples, table, config, split)
    if split == "train" and config.takes_pairs:
        samples = _in_pairs(samples, chosen.rows, table, config)
    return replace(samples, unmasked=unmasked)


@dataclass(frozen=True)
class _Chosen:
    """Samples on the way to `Samples`.

    Args:
        rows: (n) of view 0, of each sample.
        views: the places of all views in the table, sample after sample.
        first: (n,) where each sample's views begin in ``views``.
        counts: (n,) how many views it has.
    """

    rows: Rows
    views: NDArray[np.int64]
    first: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.rows.column("label").astype(np.int64)

    def take(self, which: NDArray[Any]) -> _Chosen:
        """Some samples, by their numbers or by truth values."""
        return replace(
            self,
            rows=self.rows.take(which),
            first=self.first[which],
            counts=self.counts[which],
        )

    def samples(self) -> Samples:
        """What is kept of them."""
        ends = np.cumsum(self.counts)
        # Of each view, how far it is from the first one of its sample.
        beyond = np.arange(self.counts.sum()) - np.repeat(ends - self.counts, self.counts)
        return Samples(
            plain=self.views[self.first],
            views=self.views[np.repeat(self.first, self.counts) + beyond],
            first=np.concatenate([[0], ends]).astype(np.int64),
            labels=self.labels,
        )


def _by_sample(places: NDArray[np.int64], rows: Rows) -> _Chosen:
    """The views of each sample together, in the order in which samples appear; none without a
    plain one."""
    numbers: dict[tuple[str, str], int] = {}
    keys = zip(rows.column("subset").tolist(), rows.sample_ids.tolist(), strict=True)
    sample = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    order = np.lexsort((rows.views, sample))
    first = np.flatnonzero(np.diff(sample[order], prepend=-1))
    counts = np.diff(first, append=len(order))
    plain = rows.views[order[first]] == 0
    first, counts = first[plain], counts[plain]
    return _Chosen(rows.take(order[first]), places[order], first, counts)


def _among(rows: Rows, column: str, names: Iterable[str]) -> NDArray[np.bool_]:
    """(n,) whether a row has one of these values."""
    among = set(names).__contains__
    return np.fromiter(map(among, rows.column(column).tolist()), bool, len(rows))


def _with_masks(
    chosen: _Chosen, config: TrainConfig, split: Split
) -> tuple[_Chosen, dict[str, int]]:
    """Those that masks can teach or choose by, and the fakes left out, by subset.

    Where labels teach, masks only choose: fakes without one stay, for the threshold.

    Raises:
        InputError: no fake of a subset names a mask.
    """
    subsets, is_fake = chosen.rows.column("subset").astype(str), chosen.labels == 1
    has_mask = chosen.rows.column("mask_path").astype(bool)
    masked = Counter(subsets[is_fake & has_mask].tolist())
    all_of = Counter(subsets[is_fake].tolist())
    named = set(config.train) if config.supervision == "mask" else set()
    bare = sorted(named & set(all_of) - set(masked))
    if bare or (all_of and not masked):
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
    return chosen.take(has_mask | ~is_fake), dict(all_of - masked)


def _without_copies(chosen: _Chosen) -> _Chosen:
    """One sample an image: some releases list their reals once for each method."""
    rows = chosen.rows
    names = (rows.column("boxes"), rows.column("delivery"))
    images = zip(rows.contents.tolist(), *(one.tolist() for one in names), strict=True)
    kept: dict[object, int] = {}
    first = np.array(
        [kept.setdefault(image if image[0] else n, n) for n, image in enumerate(images)], np.int64
    )
    labels = chosen.labels
    for number in np.flatnonzero(labels[first] != labels).tolist():
        one, other = rows[int(first[number])], rows[number]
        raise InputError(
            f"one image has two labels: {one.sample_id!r} in "
            f"{one.columns['subset']} and {other.sample_id!r} in "
            f"{other.columns['subset']}; keep it in one of these subsets"
        )
    return chosen.take(first == np.arange(len(first)))


def _in_pairs(samples: Samples, rows: Rows, table: Table, config: TrainConfig) -> Samples:
    """Samples whose pairs stay together, in views that all members have.

    Raises:
        InputError: there is no pair.
    """
    groups = group_pairs(rows)
    sizes = np.bincount(groups)
    if sizes.max() == 1:
        raise InputError(
            "the training rows hold no pair: none of the fakes names a real among them",
            LeaveOut(*(name for name in ("pair_batches", "pair_loss") if getattr(config, name))),
            Run("pairs", effect="makes some"),
        )
    sample = np.repeat(np.arange(len(samples)), np.diff(samples.first))
    views, group = table.rows.views[samples.views], groups[sample]
    _, which, having = np.unique(
        group * (views.max() + 1) + views, return_inverse=True, return_counts=True
    )
    kept = having[which] == sizes[group]
    counts = np.bincount(sample[kept], minlength=len(samples))
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return replace(samples, views=samples.views[kept], first=first, groups=groups)


def _take_fraction(chosen: _Chosen, fraction: float, seed: int) -> _Chosen:
    """A share of the videos, or of the samples that belong to none, by subset and label.

    They stand in the order of a seeded hash, so a smaller share is a part of a larger one. Fakes
    that lie on their reals stand where those do, and so most pairs are taken whole.
    """
    strata: dict[tuple[str, int], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    rows = chosen.rows
    columns = ("subset", "label", "video_id", "pair_id", "pair_kind")
    names = (*(rows.column(name) for name in columns), rows.sample_ids)
    each = zip(*(column.tolist() for column in names), strict=True)
    for number, (subset, label, video, pair, kind, sample_id) in enumerate(each):
        if video:
            name = f"video {unaltered_video(video, kind) if kind else video}"
        else:
            name = f"pair {pair}" if pair and kind else sample_id
        strata[subset, label][name].append(number)
    taken: list[int] = []
    for groups in strata.values():
        wanted = fraction * sum(map(len, groups.values()))
        got = 0
        for name in sorted(groups, key=lambda n: hashlib.sha256(f"{seed}\n{n}".encode()).digest()):
            if got and got + len(groups[name]) / 2 > wanted:
                break
            taken += groups[name]
            got += len(groups[name])
    return chosen.take(np.array(sorted(taken), np.int64))


def _require_all(rows: Rows, config: TrainConfig, split: Split) -> None:
    """Refuse a protocol without some of its subsets: it would be another one."""
    there = set(zip(rows.column("subset").tolist(), rows.column("label").tolist(), strict=True))
    fakes = [name for name in config.train if (name, 1) not in there]
    reals = [name for name in config.pools if (name, 0) not in there]
    if fakes or reals:
        domains = f" of domain {', '.join(config.domains)}" if config.domains else ""
        where = f"of which the store has no complete rows{domains} in split {split}"
        require_protocol(config, [*fakes, *reals], where)


def _require_both(samples: Samples, table: Table, config: TrainConfig, split: Split) -> None:
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
