"""Opening a finished run, and the store whose rows it shall score."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from clare.advice import Name, Notice
from clare.advice import Run as Operation
from clare.errors import InputError, StoreError
from clare.heads.config import TrainConfig
from clare.heads.data.leakage import Seen
from clare.heads.detector import load_detector, needs_text, read_detector_config
from clare.heads.layers.tower import BaseTower
from clare.heads.model import Model
from clare.heads.runs.record import (
    BEST,
    RunRecord,
    Validation,
    is_finished,
    read_record,
    read_seen,
    read_validation,
)
from clare.heads.runs.tower import NOWHERE_ELSE, Places, tower_of
from clare.heads.text.tower import TEXT_TOWER, TOKENIZER, TextTower
from clare.models.hub import file_sha256
from clare.plugins import part_name
from clare.store.feature_store import FeatureStore, may_hold_store, open_store

_log = logging.getLogger("clare")


@dataclass(frozen=True)
class Run:
    """A finished run, ready to score.

    Args:
        path: its folder.
        record: its configuration and what it was trained on.
        detector: in evaluation mode, on the CPU.
        validation: its figures on validation, and the threshold that was chosen there.
        seen: what it, and the runs that it began from, were trained and chosen on.
    """

    path: Path
    record: RunRecord
    detector: Model
    validation: Validation
    seen: Seen

    @property
    def threshold(self) -> float:
        """The margin from which on a row is called fake, chosen on validation.

        Of a localiser whose validation has fakes alone it is 0, a probability of one half.
        """
        return self.validation.threshold

    @property
    def chosen_threshold(self) -> float | None:
        """The same; None where validation had no real images to choose it on."""
        return self.validation.chosen_threshold

    @property
    def caveats(self) -> tuple[str, ...]:
        """What stands beside the figures and verdicts of published weights and their heirs."""
        return self.record.caveats


def open_run(
    path: Path | str,
    store: FeatureStore | Path | None = None,
    text: TextTower | None = None,
    tower: BaseTower | None = None,
    places: Places = NOWHERE_ELSE,
) -> Run:
    """Open a finished run; where the file of a part of it has changed since, a warning says so.

    Args:
        path: the run's folder.
        store: where its text tower is looked for; the store that it was trained on if left out.
        text: its text tower, where that is loaded already.
        tower: that its image tower began as, where it is tuned and that is loaded already.
        places: where the weights of the image tower are now; where they were if left out.

    Raises:
        InputError: the folder is not a finished run, a file in it is damaged, or the weights of the
            image tower are others.
        StoreError: the text tower is needed and its store is not there.
        WeightsError: those of an image tower that was tuned are not on disk.
    """
    folder = Path(path)
    record, validation = read_record(folder), read_validation(folder)
    if validation.sha256 and file_sha256(folder / BEST) != validation.sha256:
        raise InputError(f"{folder / BEST} is damaged: it is not what the training wrote")
    for file, known in record.code.items():
        if Path(file).is_file() and file_sha256(Path(file)) != known:
            _log.warning("%s has changed since %s was trained with it", file, folder)
    if text is None and needs_text(read_detector_config(folder / BEST)):
        source = store or open_own_store(folder, record)
        text = load_text_tower(source, record.fingerprints.get("clip", ""))
    return Run(
        path=folder,
        record=record,
        detector=load_detector(folder / BEST, text, tower or tower_of(folder, record, places)),
        validation=validation,
        seen=read_seen(folder),
    )


def open_own_store(run: Path, record: RunRecord) -> FeatureStore:
    """The store that a run was trained on.

    Raises:
        StoreError: it is not where it was.
    """
    if not may_hold_store(record.store):
        raise StoreError(
            f"the store of {run} is not at {record.store} any more", Name("it", "store")
        )
    return open_store(record.store)


def open_with_store(
    run: Path | str,
    store: FeatureStore | Path | str | None,
    elsewhere: Path | str | None = None,
    places: Places = NOWHERE_ELSE,
) -> tuple[Run, FeatureStore]:
    """A run and the store whose rows it shall score.

    Args:
        run: its folder.
        store: the store that was named; it goes first.
        elsewhere: the store where none was named and the run's own is gone.
        places: where the weights of a tuned tower are now.

    Raises:
        InputError: the run is not finished, or a file in it is damaged.
        StoreError: there is no such store, or the run's own is gone.
    """
    folder = Path(run)
    record = read_record(folder)
    if not store and elsewhere and not may_hold_store(record.store):
        store = elsewhere
    if not store:
        opened = open_own_store(folder, record)
    else:
        opened = store if isinstance(store, FeatureStore) else open_store(store)
    return open_run(folder, opened, places=places), opened


def note_on_store(run: Run, store: FeatureStore, named: object) -> list[Notice]:
    """What there is to say where nobody named the store, and it is not the run's own."""
    if named or may_hold_store(run.record.store):
        return []
    gone = run.record.store
    return [Notice(f"the run's own store is not at {gone} any more; this is {store.path}")]


def load_text_tower(store: FeatureStore | Path, key: str) -> TextTower:
    """The text tower that a clip extractor wrote.

    Args:
        store: a store that has features of this extractor.
        key: ``clip-<digest>``.

    Raises:
        InputError: the tower is of a kind that can't be run.
        StoreError: the store is not there, or has no such tower.
    """
    opened = store if isinstance(store, FeatureStore) else open_store(store)
    if key not in opened.extractor_keys():
        others = [one for one in opened.extractor_keys() if one.startswith("clip-")]
        raise StoreError(
            f"{opened.path} has clip features of other settings ({', '.join(others)}) than {key}, "
            "whose text tower is wanted"
            if others
            else f"the text tower of {key or 'clip'} is not in {opened.path}",
            Name("the store that holds it", "store"),
        )
    tower = opened.asset(key, TEXT_TOWER)
    if tower.with_name(TOKENIZER).exists():
        opened.asset(key, TOKENIZER)  # checks its bytes, which the tower reads
    return TextTower.load(tower)


def choose_folder(out: Path | None, config: TrainConfig) -> Path:
    """The folder of a new run: as asked for, or the first free ``runs/FUSION-CLASSIFIER-n``.

    Of a decoder that is ``runs/DECODER-n``.

    Raises:
        InputError: a finished run is there.
    """
    if out is not None:
        if is_finished(out):
            raise InputError(f"{out} is a finished run", Name("another folder", "out"))
        return out
    plain = Path("runs") / "-".join(map(part_name, config.detector.parts.values()))
    folder, number = plain, 1
    while folder.exists():
        number += 1
        folder = plain.with_name(f"{plain.name}-{number}")
    return folder


def read_unfinished(
    run: Path, store: Path | None, elsewhere: Path | None
) -> tuple[TrainConfig, Path]:
    """The configuration and the store of a run that is gone on with.

    Args:
        run: its folder.
        store: the store that was named; it goes first.
        elsewhere: the store where none was named and the run's own is gone.

    Raises:
        InputError: the folder is no run, or is finished.
        StoreError: its store is gone.
    """
    if is_finished(run):
        raise InputError(f"{run} is finished", Operation("evaluate", (run,), effect="tests it"))
    return read_begun(run, store, elsewhere)


def read_begun(run: Path, store: Path | None, elsewhere: Path | None) -> tuple[TrainConfig, Path]:
    """`read_unfinished` of a run that may be finished too.

    Raises:
        InputError: the folder is no run.
        StoreError: its store is gone.
    """
    record = read_record(run)
    if store is None and elsewhere is not None and may_hold_store(elsewhere):
        store = None if may_hold_store(record.store) else elsewhere
    return record.config, store or open_own_store(run, record).path
