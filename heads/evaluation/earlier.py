"""A run's earlier evaluations: kept when another is written, and what a test keeps of its own past.

A test that is made again takes the place of the one before, and measures maybe less: without
deliveries, without baselines. What it does not measure anew stays true where the scores are the
same, and is kept; where they are others, the test before is kept whole.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from clare.advice import Notice
from clare.errors import InputError
from clare.files import PARTIAL, make_folder, storage_errors, sync_folder
from clare.heads.evaluation.mask_results import MaskResults
from clare.heads.evaluation.record import (
    EARLIER,
    FILES,
    PREDICTIONS,
    EvaluationRecord,
    is_evaluated,
    read_evaluation,
)
from clare.heads.evaluation.variant_results import VariantFigures
from clare.heads.metrics.predictions import Predictions, read_predictions
from clare.wording import listed

CLOSE = 1e-4
"""Up to which difference margins are the same: a GPU rounds as the batch has it."""


def set_aside(run: Path) -> None:
    """Keep a run's last evaluation under its own name, before another is written in its place.

    One that can't be read, of another version maybe, is kept under a number.
    """
    if not is_evaluated(run):
        return
    try:
        folder = run / EARLIER / read_evaluation(run).name
    except InputError:
        folder = _free(run, "unreadable")
    partial = folder.with_name(f"{folder.name}{PARTIAL}")
    with storage_errors(partial):
        shutil.rmtree(partial, ignore_errors=True)
        make_folder(partial)
        for name in FILES:
            if (run / name).is_file():
                shutil.copyfile(run / name, partial / name)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        sync_folder(folder.parent)


def forget_earlier(run: Path, record: EvaluationRecord) -> None:
    """Remove what `set_aside` kept of the same test, once the new one is written.

    One that measured what the new one has no figures of is kept, under a number.
    """
    folder = run / EARLIER / record.name
    if is_evaluated(folder) and (before := _read(folder)) and lacking(record, before):
        kept = _free(run, record.name)
        with storage_errors(kept):
            folder.rename(kept)
            sync_folder(kept.parent)
    shutil.rmtree(folder, ignore_errors=True)
    if (run / EARLIER).is_dir() and not any((run / EARLIER).iterdir()):
        (run / EARLIER).rmdir()


def keep_measured(
    run: Path, record: EvaluationRecord, predictions: Predictions
) -> tuple[EvaluationRecord, list[Notice]]:
    """What the same test measured before and this one did not, where it would be the same now.

    That is so of the same scores of the same videos and people, with the same resamples.

    Args:
        run: its folder, before the test is written.
        record: the test.
        predictions: its scores.

    Returns:
        The record with these figures, and what is to be said of them.
    """
    folders = (run, run / EARLIER / record.name)
    for folder in filter(is_evaluated, folders):
        before = _read(folder)
        if before is None or before.name != record.name:
            continue
        if not (gone := lacking(record, before)):
            return record, []
        if not _same_scores(folder, before, record, predictions):
            what = f"the {listed(gone)} of the test before are of other scores, groups or resamples"
            where = f"are kept with it, in {run / EARLIER}"
            return record, [Notice(f"{what}: they {where}")]
        told = Notice(f"the {listed(gone)} are of the test before, whose scores are the same")
        return replace(_joined(record, before), notes=(*record.notes, str(told))), [told]
    return record, []


def lacking(record: EvaluationRecord, before: EvaluationRecord) -> list[str]:
    """What one test measured and another did not, in words."""
    new, old = (
        {(name, one) for name, found in each.variants.items() for one in found.deliveries}
        for each in (record, before)
    )
    gone = {
        "figures of deliveries": bool(old - new),
        "baselines": bool(before.baselines) and not record.baselines,
        "baselines of masks": bool(before.mask_baselines) and not record.mask_baselines,
        "figures beside published ones": bool(before.against) and not record.against,
    }
    return [name for name, is_gone in gone.items() if is_gone]


def _same_scores(
    folder: Path, before: EvaluationRecord, record: EvaluationRecord, new: Predictions
) -> bool:
    try:
        old = read_predictions(folder / PREDICTIONS)
    except InputError:
        return False
    return (
        (before.threshold, before.resamples, before.seed)
        == (record.threshold, record.resamples, record.seed)
        and len(old) == len(new)
        and all(
            np.array_equal(getattr(old, name), getattr(new, name))
            for name in ("sample_id", "subset", "label", "video", "cluster")
        )
        and np.allclose(old.margin, new.margin, rtol=CLOSE, atol=CLOSE)
    )


def _joined(record: EvaluationRecord, before: EvaluationRecord) -> EvaluationRecord:
    commands = [*before.commands_before, before.command]
    return replace(
        record,
        variants=_joined_variants(record.variants, before.variants),
        baselines=record.baselines or before.baselines,
        against=record.against or before.against,
        masks=_joined_masks(record.masks, before.masks),
        commands_before=tuple(dict.fromkeys(filter(None, commands))),
    )


def _joined_variants(
    new: Mapping[str, VariantFigures], old: Mapping[str, VariantFigures]
) -> dict[str, VariantFigures]:
    found = {**old, **new}
    for name in new.keys() & old.keys():
        gone = old[name].deliveries.keys() - new[name].deliveries.keys()
        found[name] = replace(
            new[name],
            deliveries={**old[name].deliveries, **new[name].deliveries},
            missing={
                **{one: count for one, count in old[name].missing.items() if one in gone},
                **new[name].missing,
            },
        )
    return found


def _joined_masks(new: MaskResults | None, old: MaskResults | None) -> MaskResults | None:
    if new is None or old is None or any(one.baselines for one in new.subsets.values()):
        return new
    subsets = {
        name: replace(one, baselines=old.subsets[name].baselines) if name in old.subsets else one
        for name, one in new.subsets.items()
    }
    return replace(new, cuts=old.cuts, subsets=subsets)


def _read(folder: Path) -> EvaluationRecord | None:
    """An evaluation's record; None of one that can't be read."""
    try:
        return read_evaluation(folder)
    except InputError:
        return None


def _free(run: Path, name: str) -> Path:
    """A folder for an earlier evaluation that is not there yet."""
    places = (run / EARLIER / f"{name}-{number}" for number in itertools.count(1))
    return next(place for place in places if not place.exists())
