"""The small world that faults are let loose on: pictures, a manifest, a store, a finished run."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from clare.pipeline.synthetic.toys import draw_faces
from tests.faults.forks import call, command

RUN = ("--fusion", "cls", "--classifier", "linear", "--epochs", "3", "--device", "cpu")


@dataclass(frozen=True)
class World:
    """Everything below one folder; each part is made when it is first asked for."""

    folder: Path

    def do(self, *arguments: object) -> None:
        end = call(command(*arguments, folder=self.folder), 300)
        if end.how != "done" or end.value != 0:
            raise RuntimeError(f"clare {' '.join(map(str, arguments))}: {end.said or end.value}")

    @cached_property
    def pictures(self) -> Path:
        """``real`` and ``fake``, 70 each: more than a shard."""
        for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
            os.environ[name] = str(self.folder / "home")
        for kind in ("real", "fake"):
            draw_faces(self.folder / "pictures" / kind, 70, seed=1, kind=kind, size=64)
        return self.folder / "pictures"

    def extraction(self, store: Path) -> tuple[object, ...]:
        pictures = self.pictures
        return (
            *("extract", "--real", pictures / "real", "--fake", f"toy={pictures / 'fake'}"),
            *("--store", store, "--features", "clip", "--backbone", "tiny"),
            *("--device", "cpu", "--micro-batch", "8"),
        )

    @cached_property
    def store(self) -> Path:
        self.do(*self.extraction(self.folder / "store"))
        return self.folder / "store"

    @cached_property
    def run(self) -> Path:
        self.do("train-head", "--store", self.store, "--out", self.folder / "run", *RUN)
        self.do("evaluate", self.folder / "run", "--device", "cpu")
        return self.folder / "run"

    @cached_property
    def manifest(self) -> Path:
        self.do(*self.manifest_build(self.folder / "manifests"))
        return self.folder / "manifests" / "toy.csv"

    def manifest_build(self, folder: Path) -> tuple[object, ...]:
        pictures = self.pictures
        return (
            *("manifest", "build", "--subset", "toy", "--hash", "--manifests", folder),
            *("--real", pictures / "real", "--fake", pictures / "fake"),
        )


def served(store: Path) -> dict[str, str]:
    """All that a store gives out, each row's columns, values and picture, as hashes.

    What it refuses to give, or has not, is left out.
    """
    from clare.errors import ClareError
    from clare.store.feature_store import open_store

    opened, given = open_store(store), {}
    for subset in opened.subsets():
        try:
            rows = opened.rows(subset)
        except ClareError:
            continue
        for row in rows:
            name = f"{subset}/{row.sample_id}/{row.view}"
            given[name] = repr((row.content, sorted(row.columns.items())))
            try:
                picture = opened.thumbnail(subset, row.slot)
            except ClareError:
                continue
            if picture is not None:
                given[f"{name}/picture"] = hashlib.sha256(picture).hexdigest()
        try:
            features = opened.features(subset)
        except ClareError:
            continue
        for feature in features:
            for field in feature.fields:
                try:
                    reader = feature.reader(field)
                except ClareError:
                    continue
                for row in rows:
                    try:
                        value = np.asarray(reader.read([row.slot]))
                    except ClareError:
                        continue
                    name = f"{subset}/{row.sample_id}/{row.view}/{feature.key}/{field}"
                    given[name] = hashlib.sha256(value.tobytes()).hexdigest()
    return given
