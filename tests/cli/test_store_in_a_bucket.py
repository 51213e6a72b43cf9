"""`clare store` on a store in a bucket."""

import os

import pytest

pytest.importorskip("obstore", reason="buckets are read through obstore, the extra `buckets`")

from clare.store.feature_store import create_store, open_store
from tests.store.conftest import extract, make_rows

URL = "memory://commands/faces.zarr"


def test_it_is_pushed_read_within_bounds_and_dropped_from(clare, tmp_path, monkeypatch):
    monkeypatch.setenv("CLARE_CACHE", str(tmp_path / "copies"))
    store = create_store(tmp_path / "local.zarr")
    store.assign_rows("faces", make_rows(200))
    extract(store)
    code, said, _ = clare("store", "push", store.path, URL)
    assert (code, "4 shards carried" in said) == (0, True)
    code, *_ = clare("store", "stats", URL, "--cache", "few", "--cache-gib", "8e-6")
    assert code == 0
    kept = [
        path.stat().st_size
        for path in tmp_path.glob("few/*/store/arrays/**/c/**/*")
        if path.is_file()
    ]
    assert 0 < sum(kept) <= 8e-6 * (1 << 30)
    assert "CLARE_CACHE_GIB" not in os.environ

    code, said, _ = clare("store", "drop", URL, "--subset", "faces", "--yes")
    assert (code, "are free" in said) == (0, True)
    assert open_store(URL).subsets() == []


@pytest.mark.parametrize("given", ["0", "-1", "inf", "nan", "1e-12"])
def test_no_room_for_copies_is_refused_by_the_name_of_its_option(clare, given):
    code, _, said = clare("store", "stats", URL, "--cache-gib", given)
    assert code == 1
    assert f"--cache-gib {given} is no number of GiB: name one above 0" in said
