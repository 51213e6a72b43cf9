"""Heads that read the parts of faces: knowing where a face is must not tell the label."""

import re
from dataclasses import replace

import numpy as np
import pytest

from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig
from clare.heads.training.trainer import train_run
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

ROI = TrainConfig(DetectorConfig("roi", "linear"), epochs=1, batch=32, reals=("pool",))
PARTS = Fingerprint("face_parts", 1, "cc")


@pytest.fixture(scope="module")
def marked(tmp_path_factory, build_store, rows_of):
    """Reals whose face is known, fakes with and without, and reals of which few are known."""

    def rows(subset, label, share):
        found = rows_of["plain"](subset, label, 40)
        known = {"boxes": "1 1 5 5", "face_points": ""}
        return [
            replace(row, columns=row.columns | (known if n < share * len(found) else {}))
            for n, row in enumerate(found)
        ]

    subsets = {
        "pool": rows("pool", 0, 1),
        "painted": rows("painted", 1, 1),
        "model": rows("model", 1, 0),
        "found": rows("found", 1, 0.5),
    }
    store = build_store(tmp_path_factory.mktemp("marked") / "features.zarr", subsets)
    store.declare(PARTS, [FeatureSpec("face_parts", (5, 4), "float32")])
    for subset in subsets:
        feature = store.feature(subset, "face_parts", PARTS.digest)
        for shard in feature.pending():
            assert feature.claim(shard)
            boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (SHARD_ROWS, 5, 1))
            feature.write_shard(shard, {"face_parts": boxes}, {}, {})
            feature.release(shard)
    return store


def test_a_head_that_would_learn_where_faces_are_known_is_refused(marked, tmp_path):
    told = re.escape("100% of the reals and 0% of the fakes in training")
    with pytest.raises(InputError, match=rf"{told}.*AUC 1\.00.*clare\.faces"):
        train_run(replace(ROI, train=("model",)), marked.path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("fakes", "told"), [("painted", ""), ("found", "56% of the fakes")])
def test_it_is_said_where_they_are_known_of_fewer(marked, tmp_path, fakes, told):
    train_run(replace(ROI, train=(fakes,)), marked.path, tmp_path / "run")
    log = (tmp_path / "run" / "run.log").read_text()
    assert (told in log) if told else "where the face is" not in log
