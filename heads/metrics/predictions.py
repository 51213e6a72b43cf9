"""A detector's scores for the rows that it was shown, and the CSV file that holds them.

Any CSV with a label and a score column is accepted, so that other people's detectors are measured
by the same code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clare.errors import InputError
from clare.files import write_durably
from clare.groups import cluster_of, video_of
from clare.heads.metrics.masks import FIGURES
from clare.heads.metrics.score_csv import Scale, ScoreColumns, read_columns
from clare.labels import Labels
from clare.own_csv import csv_text
from clare.parquet import SUFFIX, write_columns

if TYPE_CHECKING:
    from clare.store.row import Row

COLUMNS = ("sample_id", "subset", "category", "label", "score", "margin", "video", "cluster")
BESIDE = "beside"
"""Columns that are read of the file that `write_predictions` makes; `BESIDE` holds
``Predictions.beside``."""

MASK_COLUMNS = (*FIGURES, "truth_area", "called_area")
"""Columns that a localiser's file has beside them, shares of 1: see `MaskFigures`."""

LEADING = ("path", "label", "predicted", "score")
"""Its first columns, which a person looks for."""

ROUNDING = 1e-5
"""How far outside 0 to 1 a probability may lie: a softmax in float32 rounds."""


@dataclass(frozen=True)
class Predictions:
    """Scores of N rows, as arrays of length N.

    Args:
        sample_id: text; unique in its subset, or empty where unknown.
        subset: text; empty where unknown.
        category: text, the kind of generation; empty where unknown.
        label: int64, 0 real, 1 fake.
        margin: float64, what ranks and what a threshold is compared with: logit of fake minus
            logit of real. In a file of probabilities or plain numbers, those.
        video: text, ``subset/video``; empty where a row is no frame of a video.
        cluster: text, what a bootstrap draws: the video, else the first identity, else the row.
        scale: what ``margin`` holds.
        columns: what label, score, subset, video and sample are called in the file that was read.
        beside: by subset that has fakes alone, the subsets whose reals stand beside it, where that
            is settled.
        masks: of a localiser, arrays of the figures of `MaskFigures` by name, nan where an image
            has none.

    Raises:
        InputError: a label is not 0 or 1, or a margin is not a finite number.
    """

    sample_id: NDArray[np.str_]
    subset: NDArray[np.str_]
    category: NDArray[np.str_]
    label: NDArray[np.int64]
    margin: NDArray[np.float64]
    video: NDArray[np.str_]
    cluster: NDArray[np.str_]
    scale: Scale = "margin"
    columns: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    masks: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = int(np.sum((self.label != 0) & (self.label != 1)))
        if wrong:
            raise InputError(f"{wrong} of {len(self)} rows have a label that is not 0 or 1")
        wrong = int(np.sum(~np.isfinite(self.margin)))
        if wrong:
            raise InputError(
                f"{wrong} of {len(self)} scores are not finite numbers; "
                "leave these rows out, or find out why the detector can't score them"
            )

    def __len__(self) -> int:
        return len(self.label)

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[Row],
        margin: NDArray[np.floating],
        subsets: Sequence[str] | None = None,
        beside: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Predictions:
        """The predictions for rows of a store.

        Args:
            rows: rows whose columns hold ``label`` and ``subset``.
            margin: (N,) their margins.
            subsets: what each row's subset is called here; as in its column if left out.
            beside: see the class.
        """
        columns = [row.columns for row in rows]
        own = [str(c.get("subset", "")) for c in columns]
        paired = {str(c.get("pair_id") or "") for c in columns} - {""}
        return cls(
            sample_id=_texts(row.sample_id for row in rows),
            subset=_texts(own if subsets is None else subsets),
            category=_texts(str(c.get("category", "")) for c in columns),
            label=np.array([c["label"] for c in columns], np.int64),
            margin=np.asarray(margin, np.float64),
            video=_texts(map(video_of, columns)),
            cluster=_texts(cluster_of(row.columns, row.sample_id, paired) for row in rows),
            beside=dict(beside or {}),
        )

    @property
    def score(self) -> NDArray[np.float64]:
        """The probability of fake, in float64: in float32 it is 1.0 from a margin of 17 on.

        Of plain numbers there is none; they stay what they are.
        """
        if self.scale == "number":
            return self.margin
        if self.scale == "probability":
            return np.clip(self.margin, 0.0, 1.0)
        return p_fake(self.margin)

    @property
    def column(self) -> str:
        """What ``margin`` is called where it came from."""
        return self.columns.get("score", "margin")

    @property
    def even(self) -> float | None:
        """The margin at which real and fake are equally likely; unknown of plain numbers."""
        return {"margin": 0.0, "probability": 0.5}.get(self.scale)

    def take(self, which: NDArray) -> Predictions:
        """The rows of a mask or of a list of places."""
        kept = ("scale", "columns", "beside", "masks")
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in kept}
        chosen = {name: values[which] for name, values in arrays.items()}
        masks = {name: values[which] for name, values in self.masks.items()}
        return replace(self, **chosen, masks=masks)


def p_fake(margin: Any) -> Any:
    """The probability of fake of a margin, or of an array of them: the sigmoid, in float64."""
    return np.exp(-np.logaddexp(0.0, -margin))


def video_level(predictions: Predictions) -> Predictions | None:
    """One row a video, its score the mean of its frames' scores.

    The mean is kept as a margin, computed without rounding to 1.0 first, so that a threshold on
    margins serves frames and videos alike.

    Returns:
        None where a row belongs to no video: a video-level figure would then mean little.
    """
    if not len(predictions) or (predictions.video == "").any():
        return None
    # A face swap may keep the name of the video that it was made from.
    names = np.char.add(np.where(predictions.label == 1, "1", "0"), predictions.video)
    _, first, video = np.unique(names, return_index=True, return_inverse=True)
    frames = np.bincount(video)
    one = predictions.take(first)
    if predictions.scale != "margin":
        mean = np.bincount(video, predictions.margin) / frames
    else:
        mean = mean_margins(video, predictions.margin)
    return replace(one, margin=mean, sample_id=one.video, cluster=one.video)


def mean_margins(group: NDArray[np.int64], margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """The margin of the mean p(fake) of each group, without rounding to 1.0 first.

    Args:
        group: (N,) numbers from 0, none of which is left out.
        margins: (N,) of the frames.
    """
    frames = np.bincount(group)
    return _log_mean(group, frames, -np.logaddexp(0.0, -margins)) - _log_mean(
        group, frames, -np.logaddexp(0.0, margins)
    )


def evaluation_sets(
    predictions: Predictions, reals: Sequence[str] | None = None
) -> dict[str, NDArray[np.int64]]:
    """What each subset is measured on: its own rows, with reals beside them if it has none.

    Args:
        predictions: rows of several subsets.
        reals: subsets whose real rows stand beside a subset that has fakes alone; by default those
            of ``predictions.beside``, else all subsets that have reals alone.

    Returns:
        By name, for subsets that have fakes, the places of their rows. A file without subsets is
        one set, ``all``.

    Raises:
        InputError: a named subset has no reals here.
    """
    is_real = predictions.label == 0
    names = [str(name) for name in np.unique(predictions.subset)]
    pure = [name for name in names if is_real[predictions.subset == name].all()]
    settled = itertools.chain(*(predictions.beside.get(name, ()) for name in names))
    for name in dict.fromkeys(settled if reals is None else reals):
        if not (is_real & (predictions.subset == name)).any():
            raise InputError(f"{name} has no real rows here; there are: {', '.join(names)}")
    sets = {}
    for name in names:
        mine = predictions.subset == name
        if not is_real[mine].all():
            pools = predictions.beside.get(name, pure) if reals is None else reals
            borrowed = is_real & np.isin(predictions.subset, list(pools))
            chosen = mine if is_real[mine].any() else mine | borrowed
            sets[name or "all"] = np.flatnonzero(chosen)
    return sets


def write_predictions(
    predictions: Predictions,
    path: Path,
    images: Sequence[str],
    threshold: float,
    more: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    *,
    parquet: bool = False,
) -> None:
    """Write a CSV with `LEADING`, `COLUMNS` and `BESIDE`, whole; numbers keep all their digits.

    Args:
        predictions: N rows.
        path: the file.
        images: N paths of images, as their manifest has them.
        threshold: the margin from which on ``predicted`` is 1, fake.
        more: further columns, each of N values.
        parquet: whether the same table is written as Parquet too, beside it.
    """
    columns: dict[str, Sequence[Any]] = dict.fromkeys(LEADING, ())
    columns |= {name: getattr(predictions, name).tolist() for name in COLUMNS}
    columns["path"] = images
    columns["predicted"] = (predictions.margin >= threshold).astype(int).tolist()
    pools = predictions.beside
    columns[BESIDE] = ["|".join(pools.get(name, ())) for name in columns["subset"]]
    columns |= more
    text = csv_text([columns, *zip(*columns.values(), strict=True)])
    write_durably(path, text.encode())
    if parquet:
        write_columns(path.with_suffix(SUFFIX), columns)


def read_predictions(
    path: Path,
    named: ScoreColumns = ScoreColumns(),  # noqa: B008
    *,
    names: bool = True,
    masks: bool = False,
    read_as: Scale | None = None,
    labels: Labels = Labels(),  # noqa: B008
) -> Predictions:
    """Read a CSV of scores.

    Args:
        path: the file.
        named: its columns; all but those of labels and scores may be absent if they are not named.
        names: whether the images' names are read; without them memory is saved.
        masks: whether a localiser's figures are read too, of a file that has a column ``iou``.
        read_as: what the scores are. If left out, a column ``margin`` holds margins, scores that
            all lie between 0 and 1 are probabilities, and others plain numbers: nothing tells
            percents and cosines from logits.
        labels: how labels are read.

    Raises:
        InputError: the file, a column or a cell is not usable.
    """
    others = ("category", "cluster", BESIDE)
    without = () if names else ("sample",)
    numbers = MASK_COLUMNS if masks else ()
    found = read_columns(
        path, named, others, labels, without, ours=(*COLUMNS, BESIDE), numbers=numbers
    )
    margin = np.array(found.scores, np.float64)
    empty = [""] * len(margin)
    subsets, videos = found.texts.get("subset", empty), found.texts.get("video", empty)
    namespaced = [_within(s, v) for s, v in zip(subsets, videos, strict=True)]
    pools = found.texts.get(BESIDE, empty)
    return Predictions(
        sample_id=_texts(found.texts.get("sample", empty)),
        subset=_texts(subsets),
        category=_texts(found.texts.get("category", empty)),
        label=np.array(found.labels, np.int64),
        margin=margin,
        video=_texts(namespaced),
        cluster=_texts(
            cluster or video or f"row {number}"
            for number, (cluster, video) in enumerate(
                zip(found.texts.get("cluster", empty), namespaced, strict=True)
            )
        ),
        beside={s: tuple(t.split("|")) for s, t in zip(subsets, pools, strict=True) if t},
        scale=_scale(path, found.names["score"], margin, read_as),
        columns=found.names,
        masks={name: _shares(path, name, values) for name, values in found.numbers.items()},
    )


def _shares(path: Path, column: str, values: Sequence[float]) -> NDArray[np.float64]:
    found = np.array(values, np.float64)
    if wrong := int((abs(found) > 1 + ROUNDING).sum()):
        raise InputError(
            f"{path}: {wrong} of {len(found)} numbers in {column} are above 1: figures of masks "
            "are shares of 1, so divide percents by 100"
        )
    return found


def _scale(path: Path, column: str, margin: NDArray[np.float64], read_as: Scale | None) -> Scale:
    outside = int(((margin < -ROUNDING) | (margin > 1 + ROUNDING)).sum())
    if read_as == "probability" and outside:
        raise InputError(
            f"{path}: {outside} of {len(margin)} scores in {column} lie outside 0 to 1, so they "
            "are no probabilities: read them as margin or number"
        )
    if read_as is not None:
        return read_as
    if column == "margin":
        return "margin"
    return "number" if outside else "probability"


def _log_mean(
    group: NDArray[np.int64], counts: NDArray[np.int64], logs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Logarithm of the mean of exp(logs) in each group."""
    highest = np.full(len(counts), -np.inf)
    np.maximum.at(highest, group, logs)
    return highest + np.log(np.bincount(group, np.exp(logs - highest[group])) / counts)


def _within(subset: str, video: str) -> str:
    """A video's name with its subset before it, once."""
    if not (subset and video) or video.startswith(f"{subset}/"):
        return video
    return f"{subset}/{video}"


def _texts(values: Iterable[str]) -> NDArray[np.str_]:
    return np.array(list(values), dtype=np.str_)
