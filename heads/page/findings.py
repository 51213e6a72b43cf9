"""What a run's folder and its store tell: read once, with what is missing said in words."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clare.errors import InputError, StoreError
from clare.heads.predictions import Predictions, evaluation_sets, read_predictions
from clare.heads.report import METRICS, PREDICTIONS
from clare.heads.runs import CONFIG, HISTORY, LOG, VAL_METRICS, RunRecord
from clare.store.feature_store import FeatureStore, open_store


@dataclass(frozen=True)
class Finding:
    """A finished run.

    Args:
        path: its folder.
        record: its ``config.json``.
        validation: its ``val_metrics.json``.
        history: a record an epoch, as text.
        test: its ``test_metrics.json``; None before an evaluation.
        predictions: its ``test_predictions.csv``; None where there is none.
        store: the store that it was trained on, or None where that was not found.
        tested: the store of its test rows, or None; mostly the same.
        missing: sentences about what could not be read.
    """

    path: Path
    record: RunRecord
    validation: Mapping[str, Any]
    history: Sequence[Mapping[str, str]]
    test: Mapping[str, Any] | None
    predictions: Predictions | None
    store: FeatureStore | None
    tested: FeatureStore | None
    missing: Sequence[str]

    @property
    def name(self) -> str:
        """What the page calls it."""
        return self.path.absolute().name

    @property
    def detector(self) -> str:
        """Its parts."""
        return f"{self.record.config.fusion} + {self.record.config.classifier}"

    @property
    def trained_on(self) -> list[str]:
        """The subsets of its fakes, pools of reals left out."""
        return list(self.record.trained_on)

    @property
    def backbones(self) -> set[str]:
        """CLaRE's own small models that its features come from: ``tiny``, ``mini`` or neither."""
        made = self.record.extractors.values()
        found = {one["fingerprint"]["settings"].get("backbone") for one in made}
        return {str(name) for name in found - {None}}

    def sets(self) -> dict[str, Predictions]:
        """The rows that each subset was measured on."""
        if self.predictions is None or self.test is None:
            return {}
        # Files of older evaluations name the pools in the report alone.
        pools = None if self.predictions.beside else list(self.test.get("reals") or ()) or None
        places = evaluation_sets(self.predictions, pools)
        return {name: self.predictions.take(where) for name, where in places.items()}


def read_finding(path: Path, store: Path | None = None) -> Finding:
    """Read a run's folder.

    Args:
        path: the folder.
        store: where its store is now; where it was if left out.

    Raises:
        InputError: it is no finished run, or a file in it is damaged.
        StoreError: the named store is not there.
    """
    if not path.is_dir():
        raise InputError(f"there is no run at {path}; `clare train-head` makes one")
    record = RunRecord.read(path)
    validation = _read(path / VAL_METRICS)
    if validation is None:
        raise InputError(f"{path} is not finished: go on with `clare train-head --resume {path}`")
    _require(path / VAL_METRICS, validation, "epoch", "threshold", "metrics")
    missing: list[str] = []
    test = _read(path / METRICS)
    if test is not None:
        _require(path / METRICS, test, "threshold", "resamples", "subsets", "categories", "macro")
    predictions = None
    if test is not None and (path / PREDICTIONS).is_file():
        predictions = read_predictions(path / PREDICTIONS)
    elif test is not None:
        protocol = f" --protocol {test['protocol']}" if test.get("protocol") else ""
        missing.append(
            f"{path / PREDICTIONS} is missing, so there are no curves and no single images: "
            f"run `clare evaluate {path}{protocol}` again."
        )
    opened = _open(store, record.store, missing)
    tested = opened
    if store is None and test is not None and test.get("store", record.store) != record.store:
        tested = _open(None, test["store"], missing)
    return Finding(
        path, record, validation, _history(path), test, predictions, opened, tested, tuple(missing)
    )


def _open(named: Path | None, recorded: str, missing: list[str]) -> FeatureStore | None:
    """A store; where nobody named it and it is not where it was, a sentence about that."""
    if named is not None:
        return open_store(named)
    try:
        return open_store(recorded)
    except StoreError as error:
        missing.append(
            "The store could not be opened, so its counts, pictures and LaRE maps are missing "
            f"here; name it with --store. ({error})"
        )
    return None


def is_run(path: Path) -> bool:
    """Whether a folder holds a run, finished or not."""
    return (path / CONFIG).is_file()


def log_times(path: Path) -> tuple[float, float] | None:
    """When a run's log begins and ends, in seconds of local time; None without a readable log."""
    found = []
    with suppress(OSError, UnicodeDecodeError):
        for line in (path / LOG).read_text("utf-8").splitlines():
            with suppress(ValueError):
                found.append(time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")))
    return (found[0], found[-1]) if found else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} can't be read: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged: it holds no table")
    return found


def _require(path: Path, found: Mapping[str, Any], *names: str) -> None:
    lacking = [name for name in names if name not in found]
    if lacking:
        raise InputError(f"{path} is damaged: there is no {', '.join(lacking)} in it")


def _history(path: Path) -> list[dict[str, str]]:
    with suppress(OSError, UnicodeDecodeError), (path / HISTORY).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
    return []
