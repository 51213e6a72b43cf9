"""A thousand probes on one read, against scikit-learn one by one, the read and the sums alone.

    python -m benchmarks.probes

Vectors of ViT-L/14's width (1,024, float16) lie in a store on disk, in the page cache, in two
fields. Ours: `Vectors` reads each field once, and every strength of every normalisation is fitted
and scored on validation rows. Theirs: scikit-learn's `Ridge`, an object a probe, on rows that are
read and normalised already; two strengths of each normalisation are timed, and their time is
scaled to all. The read: the same rows by the store's reader, and nothing else; once more with the
files' pages given back before, so that the disk is read. The sums: what no program is spared, on
rows that lie in memory as they are needed; of each field two Gram matrices in double precision, of
the vectors and of those of unit length, the factorisations of four matrices (three to three
diagonals for all strengths, one of Cholesky's to whiten), and the products of the validation rows
with all weights. Apart: the largest difference of a validation AUC between ours and theirs, and how
fast a disk would have to be for a read to take a third of the sums.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, lapack
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main
from clare.bootstrap import Resampling
from clare.heads.config import TrainConfig
from clare.heads.evaluation.field_rows import FieldRows
from clare.heads.evaluation.wanted import Asked
from clare.heads.linear.norms import NORMS
from clare.heads.probing.prober import Grid, Prober
from clare.heads.probing.rows import ProbeRows, choose_rows, offer_of
from clare.heads.probing.vectors import Vectors
from clare.store.feature_store import FeatureStore, create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

FIELDS = ("clip_cls_12", "clip_cls_24")
TIMED = 2
"""Strengths of each normalisation that scikit-learn is timed with."""


@dataclass(frozen=True)
class Sizes:
    rows: int = 20_000
    width: int = 1024
    strengths: int = 128


def parts(sizes: Sizes, folder: Path) -> Parts:
    store = make_store(folder / "features.zarr", sizes)
    offer = offer_of(store, ["drawn"])
    rows = choose_rows(store, TrainConfig(), Asked(["drawn"]), offer.sources, [(1.0, 0)])
    strengths = tuple(np.logspace(-5, 2, sizes.strengths).tolist())
    grid = Grid(offer.inputs, NORMS, ["ridge"], strengths)
    wanted = [part for one in offer.inputs for part in one.parts]
    paths: dict[tuple[str, str], list[float]] = {}
    theirs: dict[tuple[str, str, int], float] = {}

    def ours() -> None:
        scratch = folder / "vectors"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        vectors = Vectors(store, rows.rows, wanted, None, rows.train, scratch)
        prober = Prober(vectors, rows, grid, Resampling(0, 0))
        for found in prober.probe(offer.inputs):
            probe = found.probe
            paths[probe.input, probe.norm] = [*probe.path.values()]

    def one_by_one() -> Mapping[str, float]:
        seconds = 0.0
        for source in offer.sources:
            reader = FieldRows(store, rows.rows, source.extractor, source.field, source.digest)
            values = reader.read(np.arange(len(rows.rows))).astype(np.float64)
            for norm in NORMS:
                x = normalised(values, rows, norm)
                for place in np.linspace(0, sizes.strengths - 1, TIMED).astype(int).tolist():
                    train, val = x[rows.train], x[rows.val]
                    alpha = strengths[place] * len(train) * train.var(0).mean()
                    began = time.perf_counter()
                    fitted = Ridge(alpha=alpha).fit(train, rows.y[rows.train])
                    auc = roc_auc_score(rows.y[rows.val], fitted.predict(val))
                    seconds += time.perf_counter() - began
                    theirs[source.field, norm, place] = auc
        return {"scikit-learn": seconds * sizes.strengths / TIMED}

    def read_disk() -> None:
        for path in store.path.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        read()

    def read() -> None:
        for source in offer.sources:
            reader = FieldRows(store, rows.rows, source.extractor, source.field, source.digest)
            for _ in reader.pieces(np.arange(len(rows.rows)), 256):
                pass

    held = rng_rows(len(rows.train), sizes.width)
    val, weights = rng_rows(len(rows.val), sizes.width), rng_rows(sizes.width, sizes.strengths)
    took: list[float] = []

    def sums() -> None:
        began = time.perf_counter()
        for _ in FIELDS:
            for of_the_gram in (("none", "standard", "whiten"), ("l2",)):
                gram = held.T @ held  # numpy computes half of it, which is symmetric
                for norm in of_the_gram:
                    factorise(gram, norm)
                    val @ weights
        took.append(time.perf_counter() - began)

    def facts() -> Mapping[str, float]:
        apart = [abs(paths[field, norm][k] - auc) for (field, norm, k), auc in theirs.items()]
        size = len(FIELDS) * len(rows.rows) * sizes.width * np.dtype(np.float16).itemsize
        return {
            "largest difference of an AUC": max(apart),
            "MB/s of a disk whose read takes a third of the sums": 3e-6 * size / min(took),
        }

    count = len(FIELDS) * len(NORMS) * sizes.strengths
    yield Race(
        f"{count:,} probes, {sizes.rows:,} rows of {sizes.width:,}",
        {
            "ours": ours,
            "scikit-learn": one_by_one,
            "the read alone": read,
            "the read from disk": read_disk,
            "the sums alone": sums,
        },
        [
            Ratio("ours", "scikit-learn", 50.0),
            Ratio("ours", "the read alone", 1 / 3),
            Ratio("ours", "the read from disk", 1 / 3),
            Ratio("ours", "the sums alone", 0.5),
            Ratio("the sums alone", "the read alone"),
        ],
        facts=facts,
    )


def rng_rows(rows: int, width: int) -> NDArray[np.float64]:
    """Rows of any values: sums take as long whatever they are of."""
    return np.random.default_rng(1).normal(size=(rows, width))


def factorise(gram: NDArray[np.float64], norm: str) -> None:
    """What solves all strengths of a normalisation."""
    size = int(lapack.dsytrd_lwork(len(gram), lower=1)[0])
    if norm == "whiten":
        cholesky(gram, lower=True)
    else:
        lapack.dsytrd(gram, lower=1, lwork=size)


def normalised(values: NDArray[np.float64], rows: ProbeRows, norm: str) -> NDArray[np.float64]:
    """All rows as a person would normalise them, by the training rows."""
    if norm == "l2":
        values = values / np.linalg.norm(values, axis=1, keepdims=True)
    train = values[rows.train]
    centred = values - train.mean(0)
    if norm == "standard":
        centred /= train.std(0)
    if norm == "whiten":
        spectrum, axes = np.linalg.eigh(np.cov(train.T, bias=True))
        centred = centred @ axes / np.sqrt(spectrum)
    return centred


def make_store(path: Path, sizes: Sizes) -> FeatureStore:
    """Rows of drawn vectors, seven tenths for training, the rest for validation and tests."""
    store = create_store(path)
    splits = ("train",) * 7 + ("val", "val", "test")
    rows = [
        Row(
            sample_id=f"{n}",
            view=0,
            content=f"{n:064x}",
            columns={"label": n % 2, "split": splits[n // 2 % 10], "subset": "drawn"},
        )
        for n in range(sizes.rows)
    ]
    assigned = store.assign_rows("drawn", rows)
    labels = np.array([row.columns["label"] for row in assigned])
    fingerprint = Fingerprint("clip", 1, "00")
    store.declare(fingerprint, [FeatureSpec(name, (sizes.width,), "float16") for name in FIELDS])
    feature = store.feature("drawn", "clip", fingerprint.digest)
    rng = np.random.default_rng(0)
    drift = rng.normal(size=sizes.width) / 16
    for shard in feature.pending():
        assert feature.claim(shard)
        start = shard * SHARD_ROWS
        signs = np.zeros((SHARD_ROWS, 1))
        mine = labels[start : start + SHARD_ROWS]
        signs[: len(mine), 0] = 2 * mine - 1
        values = {
            name: (rng.normal(size=(SHARD_ROWS, sizes.width)) + signs * drift).astype(np.float16)
            for name in FIELDS
        }
        feature.write_shard(shard, values, {}, {})
        feature.release(shard)
    return store


SCRIPT = Script(
    "probes",
    __doc__,
    parts,
    Sizes(),
    toy=Sizes(400, 8, 6),
    full=Sizes(164_000, 1024, 128),
    rounds=5,
    seconds=120,
)

if __name__ == "__main__":
    main(SCRIPT)
