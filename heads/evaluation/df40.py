"""DF40's own way of measuring, to compare with its published table: never for our own figures.

Source: the code of https://github.com/YZY-stack/DF40 (its frames, its lists, its ``metrics``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from clare.heads.evaluation.evaluate import score_rows
from clare.heads.evaluation.published import published_by
from clare.heads.evaluation.record import CONTROL
from clare.heads.evaluation.test_rows import choose_rows
from clare.heads.evaluation.wanted import Asked
from clare.heads.metrics.predictions import Predictions, evaluation_sets
from clare.heads.runs.run import open_with_store
from clare.heads.runs.tower import NOWHERE_ELSE, Places
from clare.progress import StepProgress
from clare.protocol import Protocol, read_protocol, split_name
from clare.store.row import Row
from clare.typed_json import write_json

REPORT = "df40_metrics.json"
PROTOCOL = "joint"
"""The protocol of the published table."""

FRAMES = 8
"""Of each video, as their configuration of CLIP tests."""

POOLED = ("FS", "FR", "EFS")
"""Categories whose methods are one list for each domain."""

WRONG = (
    "frames are the first 8 of each video, not spread over it: their step is 8 // 8 = 1",
    "all methods of a category are pooled into one list, so a method that is easy hides one that "
    "is hard, and fakes outnumber reals many times",
    "video AUC groups frames by the name of their folder alone, across methods and labels: videos "
    "of one name become one, and a method without video folders becomes two groups",
    "a group of fakes and reals counts as real, since its label is int(mean)",
    "where no fake group is left, their video AUC is the frame AUC",
)
"""What is wrong with it, and repeated here."""

UNLIKE = (
    "their frames are in the order of their lists, which no file tells; here in the order of their "
    "numbers",
    "an image that they can't read becomes the first of the list, label included; here it is left "
    "out",
    "they chose checkpoints on test lists; a run of CLaRE was chosen on validation",
)
"""What is not repeated."""

PUBLISHED = "df40-table-6"
"""Frame AUC of detectors trained on all of DF40 in FF++; ``unknown``: the mean of the nine."""

METHODS = "p1-ff"
"""The protocol whose trainings are the methods of each pooled category."""


@dataclass(frozen=True)
class GroupFigures:
    """Figures of rows that are grouped by the name of their folder.

    Args:
        frame_auc: of single images.
        video_auc: of groups.
        groups: how many.
        mixed: groups of both labels.
    """

    frame_auc: float
    video_auc: float
    groups: int
    mixed: int


@dataclass(frozen=True, kw_only=True)
class ListFigures(GroupFigures):
    """Figures of one list.

    Args:
        real: images of this label.
        fake: images of this label.
        pool: whether it holds all methods of a category.
        sets: the protocol's that are in it.
    """

    real: int
    fake: int
    pool: bool
    sets: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """A line of the table that stands beside the published one.

    Args:
        name: of the list, or of the mean over the lists that are no pool.
        frame_auc: ours.
        published: frame AUC by system, None where there is none to compare.
        figures: of the list; a mean has none.
    """

    name: str
    frame_auc: float
    published: Mapping[str, float | None]
    figures: ListFigures | None = None


@dataclass(frozen=True)
class DF40Record:
    """What ``df40_metrics.json`` holds.

    Args:
        run: name of the run's folder.
        control: what makes the run a control, or None.
        store: that the rows are of.
        protocol: whose tests were measured.
        absent: by set of the protocol that was not tested, why.
        lists: figures by list.
        unknown: the mean frame AUC of lists that are no pool; None where all are.
        wrong: what is wrong with this way of measuring.
        unlike: what is not as its authors have it.
        published: by system the published figures that can be compared; see `choose_published`.
        unpublished: why others can't; empty if all can.
        command: that made it, word by word; empty where it was no command, or is not known.
    """

    run: str
    control: str | None
    store: str
    protocol: str
    absent: Mapping[str, str]
    lists: Mapping[str, ListFigures]
    unknown: float | None
    wrong: tuple[str, ...]
    unlike: tuple[str, ...]
    published: Mapping[str, Mapping[str, float]]
    unpublished: str
    command: tuple[str, ...] = ()

    @property
    def lines(self) -> list[Line]:
        """The table's lines."""

        def beside(name: str) -> dict[str, float | None]:
            return {system: found.get(name) for system, found in self.published.items()}

        lines = [Line(n, one.frame_auc, beside(n), one) for n, one in self.lists.items()]
        if self.unknown is not None:
            count = sum(not one.pool for one in self.lists.values())
            lines.append(Line(f"mean of {count} unknown", self.unknown, beside("unknown")))
        return lines


def measure_as_df40(
    run: Path | str,
    store: Path | str | None = None,
    protocol: str = PROTOCOL,
    *,
    elsewhere: Path | str | None = None,
    device: str = "cpu",
    progress: StepProgress | None = None,
    command: Sequence[str] = (),
    settings: Places = NOWHERE_ELSE,
) -> DF40Record:
    """Score a protocol's tests with DF40's frames, lists and grouping.

    Written is ``df40_metrics.json``; the run's own figures stay as they are.

    Args:
        run: its folder.
        store: the store; the run's own if left out.
        protocol: whose tests.
        elsewhere: the store where the run's own is gone and none is named.
        device: a torch device.
        progress: called while rows are scored.
        command: that asked for it, word by word; it is recorded.
        settings: where the weights of a tuned tower are, if not where they were.

    Raises:
        InputError: see `choose_rows`.
        StoreError: see `choose_rows`.
    """
    opened, source = open_with_store(run, store, elsewhere, settings)
    tests = read_protocol(split_name(protocol)[0])
    asked = Asked(protocol=tests, frames=FRAMES, sampling="first_n")
    unseen = choose_rows(opened, source, asked)
    margins = score_rows(opened.detector, unseen, device=device, progress=progress)
    rows = [row for _, row in unseen.rows()]
    predictions = Predictions.of_rows(rows, margins, unseen.groups(), unseen.beside)
    lists = measure_lists(predictions, rows, tests)
    unknown = [one.frame_auc for one in lists.values() if not one.pool]
    figures, why = choose_published(opened.record.config.protocol, tests, lists)
    record = DF40Record(
        run=opened.path.name,
        control=CONTROL if opened.record.config.shuffle_labels else None,
        store=str(source.path),
        protocol=protocol,
        absent=unseen.absent,
        lists=lists,
        unknown=float(np.mean(unknown)) if unknown else None,
        wrong=WRONG,
        unlike=UNLIKE,
        published=figures,
        unpublished=why,
        command=tuple(command),
    )
    write_json(opened.path / REPORT, record)
    return record


def choose_published(
    trained_by: str | None, tests: Protocol, lists: Mapping[str, ListFigures]
) -> tuple[dict[str, dict[str, float]], str]:
    """The published figures that stand beside the same training and the same lists.

    Args:
        trained_by: the run's protocol, if any.
        tests: the protocol of the tests.
        lists: of `measure_lists`.

    Returns:
        By system and list those of `PUBLISHED` that can be compared, and why others can't; empty
        if all can.
    """
    known = published_by(PUBLISHED, "list", "frame_auc")
    none: dict[str, dict[str, float]] = {system: {} for system in known}
    if trained_by != PROTOCOL:
        by = f"protocol {trained_by}" if trained_by else "no protocol"
        return none, (
            f"no published figures: the run was trained by {by}, theirs on all of DF40 in FF++ "
            f"(protocol {PROTOCOL})"
        )
    mine = {target.name: target for target in tests.targets}
    theirs = {target.name: target for target in read_protocol(PROTOCOL).targets}
    wanted = {
        f"{key.upper()}All_cdf": {f"{fake}_cdf" for fake in training.fakes}
        for key, training in read_protocol(METHODS).trainings.items()
    }
    wanted["unknown"] = set(theirs).difference(*wanted.values())
    found = {name: set(one.sets) for name, one in lists.items() if one.pool}
    found["unknown"] = {n for one in lists.values() if not one.pool for n in one.sets}
    same = {
        name
        for name, sets in wanted.items()
        if found.get(name) == sets and all(mine[one] == theirs[one] for one in sets)
    }
    shown = {
        system: {name: value for name, value in values.items() if name in same}
        for system, values in known.items()
    }
    unlike = ", ".join(name for name in wanted if name not in same)
    why = f"no published figures of {unlike}: not the sets of protocol {PROTOCOL}" if unlike else ""
    return shown, why


def measure_lists(
    predictions: Predictions, rows: Sequence[Row], protocol: Protocol
) -> dict[str, ListFigures]:
    """The lists' figures by name.

    Args:
        predictions: of the protocol's sets.
        rows: (N,) theirs, which name the folders.
        protocol: says which domain a set is of.
    """
    domains = {target.name: target.domain for target in protocol.targets if target.reals}
    pooled: dict[str, list[str]] = {}
    sets = evaluation_sets(predictions)
    for name, places in sets.items():
        kind = str(predictions.category[places][predictions.label[places] == 1][0])
        is_pool = kind in POOLED and domains.get(name)
        pooled.setdefault(f"{kind}All_{domains[name]}" if is_pool else name, []).append(name)
    folders = np.array([_folder(row) for row in rows], str)
    lists = {}
    for name, members in pooled.items():
        # Their lists hold the reals once for each method.
        every = np.concatenate([sets[member] for member in members])
        places, times = np.unique(every, return_counts=True)
        label, score = predictions.label[places], predictions.score[places]
        lists[name] = ListFigures(
            **vars(group_by_folder(folders[places], label, score, times)),
            real=int((label == 0).sum()),
            fake=int((label == 1).sum()),
            pool=name not in sets,
            sets=tuple(members),
        )
    return lists


def group_by_folder(
    folders: NDArray[np.str_],
    label: NDArray[np.int64],
    score: NDArray[np.float64],
    times: NDArray[np.int64] | None = None,
) -> GroupFigures:
    """Frame AUC, and the video AUC of groups that share a folder's name, as DF40's code has them.

    Args:
        folders: (N,) name of the folder that an image lies in.
        label: (N,) 0 real, 1 fake; both occur.
        score: (N,) p(fake).
        times: (N,) how often a list has the image; once if left out.
    """
    from sklearn.metrics import roc_auc_score

    times = np.ones(len(label), np.int64) if times is None else times
    _, place = np.unique(folders, return_inverse=True)
    count = np.bincount(place, times)
    fakes = np.bincount(place, times * label)
    group_label = (fakes / count).astype(int)
    frame_auc = float(roc_auc_score(label, score, sample_weight=times))
    both = len(np.unique(group_label)) == 2
    video = (
        roc_auc_score(group_label, np.bincount(place, times * score) / count) if both else frame_auc
    )
    mixed = int(((fakes > 0) & (fakes < count)).sum())
    return GroupFigures(frame_auc, float(video), len(count), mixed)


def _folder(row: Row) -> str:
    return PurePosixPath(str(row.columns.get("path") or row.sample_id)).parent.name
