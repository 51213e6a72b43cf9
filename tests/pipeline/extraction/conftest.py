"""Extractions of a few pictures with tiny models."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.extraction.job import run_job
from clare.pipeline.extraction.loop import ExtractReport
from clare.pipeline.extraction.plan import Observer, Selection
from clare.pipeline.extraction.settings import ExtractSettings
from clare.store.feature_store import open_store
from clare.store.journal import COMPLETE


@pytest.fixture
def faces(pictures, tmp_path) -> Path:
    """A copy of the pictures that a test may damage: 12 of each kind."""
    for kind in ("real", "fake"):
        (tmp_path / "faces" / kind).mkdir(parents=True)
        for file in sorted((pictures / kind).iterdir())[:12]:
            shutil.copy2(file, tmp_path / "faces" / kind)
    return tmp_path / "faces"


@dataclass(frozen=True)
class Job:
    """Settings, and what they are asked of."""

    settings: ExtractSettings
    manifests: Selection

    @property
    def store(self) -> Path:
        return self.settings.store

    def but(self, manifests: Selection | None = None, **changes: Any) -> "Job":
        return Job(_quick(replace(self.settings, **changes)), manifests or self.manifests)

    def run(self, observer: Observer | None = None) -> ExtractReport:
        return run_job(self.settings, self.manifests, observer)


def _quick(settings: ExtractSettings) -> ExtractSettings:
    """The same with one draw of LaRE's noise in the place of four: a fourth of the work."""
    others = {name: own for name, own in settings.settings.items() if name != "lare"}
    draws = {"lare": {"draws": 1}} if "lare" in settings.features else {}
    return replace(settings, settings={**others, **draws})


def job_for(faces: Path, store: Path, **changes: Any) -> Job:
    selected = select_manifests(
        "faces", [], Path("data_manifests"), [], [faces / "real"], [str(faces / "fake")]
    )
    settings = ExtractSettings(store, backbone="tiny", device="cpu", micro_batch=4)
    return Job(settings, selected).but(**changes)


def read_all(store: Path, subset: str = "faces") -> dict[tuple[str, int, str], np.ndarray]:
    """(sample id, view, field) to value, of all complete rows."""
    opened = open_store(store)
    values: dict[tuple[str, int, str], np.ndarray] = {}
    for feature in opened.features(subset):
        states = feature.states()
        rows = [row for row in opened.rows(subset) if states[row.slot] == COMPLETE]
        for field in feature.fields:
            read = feature.reader(field).read([row.slot for row in rows])
            values |= {(r.sample_id, r.view, field): v for r, v in zip(rows, read, strict=True)}
    return values
