"""What a run's folder and its store tell: read once, with what is missing said in words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clare.advice import Notice, Run
from clare.errors import InputError, StoreError
from clare.foreign import RECORD, read_text
from clare.heads.evaluation.df40 import REPORT, DF40Record
from clare.heads.evaluation.record import (
    PREDICTIONS,
    EvaluationRecord,
    is_evaluated,
    list_evaluations,
    read_evaluation,
    unreadable_evaluations,
)
from clare.heads.metrics.predictions import Predictions, evaluation_sets, read_predictions
from clare.heads.report.stores import Part, Source, opening
from clare.heads.runs.record import (
    LOG,
    Epoch,
    RunRecord,
    Validation,
    read_history,
    read_record,
    read_validation,
)
from clare.heads.tokens import tokens_of
from clare.plugins import part_name
from clare.typed_json import read_json
from clare.wording import listed

_TOKENS = "clip_tokens"
"""What a decoder reads where nothing is named."""


@dataclass(frozen=True)
class Finding:
    """A finished run.

    Args:
        path: its folder.
        record: its ``config.json``.
        validation: its ``val_metrics.json``.
        history: a record an epoch.
        test: its ``test_metrics.json``; None before an evaluation.
        predictions: its ``test_predictions.csv``; None where there is none.
        store: the store that it was trained on, or None where that was not found.
        tested: the store of its test rows, or None; mostly the same.
        missing: what could not be read.
        as_df40: its ``df40_metrics.json``, if any.
        earlier: its other tests.
        called: what the page calls it.
    """

    path: Path
    record: RunRecord
    validation: Validation
    history: Sequence[Epoch]
    test: EvaluationRecord | None
    predictions: Predictions | None
    store: Source | None
    tested: Source | None
    missing: Sequence[Notice]
    as_df40: DF40Record | None = None
    earlier: Sequence[EvaluationRecord] = ()
    called: str = ""

    @property
    def name(self) -> str:
        """What the page calls it: its folder's name, or more of the path where two share that."""
        return self.called or self.path.absolute().name

    @property
    def localises(self) -> bool:
        """Whether it says which pixels are fake."""
        return bool(self.record.config.detector.decoder)

    @property
    def detector(self) -> str:
        """Its parts; of a localiser the decoder and what that reads; what published weights are."""
        detector, imported = self.record.config.detector, self.record.imported
        if imported is not None:
            return imported.about.title
        if not self.localises:
            head = f"{detector.fusion} + {detector.classifier}"
            way = part_name(detector.way).replace("_", "-")
            return f"{head} over a tower tuned by {way}" if detector.is_tuned else head
        decoder = part_name(detector.decoder).replace("_", "-")
        return f"{decoder} on {listed((tokens_of(detector) or _TOKENS).split('+'))}"

    @property
    def threshold(self) -> float | None:
        """The margin from which on it calls an image fake; None where no reals chose it."""
        return self.validation.chosen_threshold

    @property
    def rows_said(self) -> str:
        """What its tests' rows are called: whether published weights saw them, nobody can tell."""
        return "unseen rows" if self.record.published is None else "test rows"

    @property
    def trained_on(self) -> list[str]:
        """The subsets of its fakes, pools of reals left out."""
        return list(self.record.trained_on)

    @property
    def backbones(self) -> set[str]:
        """CLaRE's own small models that its features come from: ``tiny``, ``mini`` or neither."""
        made = self.record.extractors.values()
        found = {one.fingerprint.settings.get("backbone") for one in made}
        return {str(name) for name in found - {None}}

    def sets(self) -> dict[str, Predictions]:
        """The rows that each subset was measured on."""
        if self.predictions is None or self.test is None:
            return {}
        places = evaluation_sets(self.predictions)
        return {name: self.predictions.take(where) for name, where in places.items()}


def read_findings(paths: Sequence[Path], store: Path | None = None) -> list[Finding]:
    """Read runs' folders.

    Args:
        paths: the folders.
        store: where their store is now; where it was if left out.

    Raises:
        InputError: one is no finished run, or a file in it is damaged.
        StoreError: the named store is not there.
    """
    opened = opening(store)
    found = [_read_run(path, opened) for path in paths]
    names = Counter(one.name for one in found)
    return [replace(one, called=str(one.path)) if names[one.name] > 1 else one for one in found]


def _read_run(path: Path, opened: Callable[[str], Source | Notice]) -> Finding:
    record = read_record(path)
    validation = read_validation(path)
    test = read_evaluation(path) if is_evaluated(path) else None
    trained_on = opened(record.store)
    tested_on = opened(test.store) if test else trained_on
    missing = [one for one in (trained_on, tested_on) if isinstance(one, Notice)]
    predictions = None
    if test is not None and (path / PREDICTIONS).is_file():
        predictions = read_predictions(path / PREDICTIONS, masks=test.masks is not None)
    elif test is not None:
        missing.append(
            Notice(
                f"{path / PREDICTIONS} is missing, so there are no curves and no single images",
                Run("evaluate", (path,), effect="writes it again"),
            )
        )
    damaged = unreadable_evaluations(path).values()
    missing += [Notice(error.what, *error.advice) for error in damaged]
    return Finding(
        path=path,
        record=record,
        validation=validation,
        history=read_history(path),
        test=test,
        predictions=predictions,
        store=None if isinstance(trained_on, Notice) else trained_on,
        tested=None if isinstance(tested_on, Notice) else tested_on,
        missing=tuple({str(one): one for one in missing}.values()),
        earlier=[read_evaluation(one) for one in list_evaluations(path) if one != path],
        as_df40=read_json(path / REPORT, DF40Record) if (path / REPORT).is_file() else None,
    )


def used_parts(findings: Sequence[Finding]) -> list[Part]:
    """Each store once, with the subsets that runs were trained or tested on."""
    used: dict[Source, set[str]] = {}
    for one in findings:
        if one.store is not None:
            used.setdefault(one.store, set()).update(one.record.subsets)
        if one.tested is not None and one.predictions is not None:
            used.setdefault(one.tested, set()).update(_tested_subsets(one.tested, one.predictions))
    return [(source, sorted(names & set(source.store.subsets()))) for source, names in used.items()]


def _tested_subsets(source: Source, predictions: Predictions) -> set[str]:
    """The groups of an evaluation, and the subsets that they are parts of."""
    groups, places = np.unique(predictions.subset, return_index=True)
    ids = predictions.sample_id[places].tolist()
    subsets = set(groups.tolist())
    for group, sample_id in zip(groups.tolist(), ids, strict=True):
        # A subset that can't be read is named where its pictures would be.
        with suppress(StoreError):
            found = source.find(group, sample_id)
            subsets |= {found[0]} if found else set()
    return subsets


def log_times(path: Path) -> tuple[float, float] | None:
    """When a run's log begins and ends, in seconds of local time; None without a readable log."""
    found = []
    with suppress(OSError, UnicodeDecodeError, InputError):
        for line in read_text(path / LOG, RECORD).splitlines():
            with suppress(ValueError):
                found.append(time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")))
    return (found[0], found[-1]) if found else None
