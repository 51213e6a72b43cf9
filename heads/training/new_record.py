"""What is recorded of a run before its first step: what it reads, and of which rows."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from clare.heads.config import TrainConfig
from clare.heads.data.fingerprints import Chosen
from clare.heads.data.subsets import subsets_of
from clare.heads.detector import needs_text
from clare.heads.model import Model
from clare.heads.runs.record import RunRecord, extractor_record
from clare.heads.training.base_towers import tower_key
from clare.heads.training.fields import recorded_fields
from clare.models.hub import file_sha256
from clare.plugins import is_path
from clare.store.feature_store import FeatureStore
from clare.store.row import Row
from clare.store.rows import Rows
from clare.version import __version__


def make_record(
    store: FeatureStore,
    config: TrainConfig,
    chosen: Chosen,
    detector: Model,
    rows: Mapping[str, Rows],
    counts: Mapping[str, Mapping[str, int]],
) -> RunRecord:
    """What is recorded of a run before its first step.

    Args:
        store: that it reads.
        config: its configuration.
        chosen: the fingerprints that it and its neighbours read.
        detector: its head.
        rows: its training and validation rows, by split.
        counts: of them, by split and then by class.
    """
    read, sources = chosen.read_by(recorded_fields(config), text=needs_text(config.detector))
    tower = tower_key(chosen, config) if config.detector.is_tuned else ""
    return RunRecord(
        config=config,
        store=str(store.path),
        subsets=subsets_of(store, config),
        fingerprints=read,
        extractors={name: extractor_record(store, key) for name, key in read.items()},
        sources=sources,
        face_crops=_told(rows["train"], "face_crop"),
        face_detectors=_told(rows["train"], "face_detector"),
        rows=counts,
        fakes=tuple(sorted(name for name, label in _parts(rows["train"]) if label)),
        lacking=_lacking(config, list(rows.values())),
        versions={
            "clare": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
        },
        code={
            name: file_sha256(Path(name))
            for name in config.detector.parts.values()
            if is_path(name)
        },
        masks=_masks(
            row for split, some in rows.items() if config.needs_masks(split) for row in some
        ),
        tower=next((name for name, key in read.items() if key == tower), ""),
    )


def _lacking(config: TrainConfig, splits: Sequence[Rows]) -> tuple[str, ...]:
    """Subsets of a protocol that a run goes without, in one of the splits at least."""
    if config.protocol is None:
        return ()
    named = [*((name, 1) for name in config.train), *((name, 0) for name in config.pools)]
    there = list(map(_parts, splits))
    return tuple(name for name, label in named if not all((name, label) in one for one in there))


def _parts(rows: Rows) -> set[tuple[str, int]]:
    """The subsets and labels that there are."""
    return set(zip(rows.column("subset").tolist(), rows.column("label").tolist(), strict=True))


def _told(rows: Rows, column: str) -> tuple[str, ...]:
    """What rows say in a column, each once."""
    return tuple(sorted(set(rows.column(column).tolist()) - {None, ""}))


def _masks(rows: Iterable[Row]) -> str:
    """One sha256 over the masks of rows, whatever their order."""
    lines = sorted(f"{row.sample_id}\t{row.mask}" for row in rows)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()
