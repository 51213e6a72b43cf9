"""What towers that a run tuned have seen, where their features are of an earlier version."""

import json

from clare.heads.data.leakage import Seen
from clare.heads.runs.record import write_seen
from clare.heads.runs.tuned_before import tuned_before
from clare.store.feature_store import create_store
from clare.store.spec import FeatureSpec, Fingerprint
from tests.heads.conftest import make_row

TUNED, PLAIN = Fingerprint("clip", 1, "aa"), Fingerprint("clip", 1, "bb")


def store_of(path, origin):
    store = create_store(path)
    for fingerprint, found in ((TUNED, origin), (PLAIN, {"model": "ViT-L-14"})):
        store.declare(fingerprint, [FeatureSpec("clip_cls", (2,), "float32")])
        store.write_assets(fingerprint.key, {"origin.json": json.dumps(found).encode()})
    return store


def test_the_run_is_asked_and_where_it_is_gone_it_is_said_that_nobody_knows(tmp_path):
    store = store_of(tmp_path / "f.zarr", {"model": "ViT-L-14", "tuned": str(tmp_path / "run")})
    keys = (TUNED.key, PLAIN.key, "clip-notthere")
    (gone,) = tuned_before(store, keys)
    assert gone.key == TUNED.key and gone.seen.unknown
    assert "no list is at hand" in str(gone.notices[0]) and str(tmp_path / "run") in gone.named
    (tmp_path / "run").mkdir()
    row = make_row("gan", "1", 1, "train")
    write_seen(tmp_path / "run", Seen.of([row]))
    (there,) = tuned_before(store, keys)
    assert there.seen.shared_with(row) and not there.notices
