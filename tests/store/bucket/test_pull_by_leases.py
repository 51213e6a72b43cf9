"""A store that is pulled into a folder whose claims are leases, which may be lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from clare.store.claims.terms import EXPIRE
from clare.store.feature_store import create_store, open_store
from clare.store.maintenance.verify import verify_store
from clare.store.transfer import pull_store, push_store
from tests.store.conftest import FIELDS, FINGERPRINT, MADE_WITH, make_rows, shard_values

LEASE = f"_leases/faces/{FINGERPRINT.key}/000001"


@pytest.fixture
def shared(tmp_path):
    """A folder with leases and the rows of the store, nothing of which is extracted."""
    store = create_store(tmp_path / "shared.zarr")
    store.layout.claims.configure(leases=True, expire=EXPIRE)
    store.assign_rows("faces", make_rows(200))
    return store


@pytest.fixture
def theirs(shared, tmp_path):
    """A copy of the folder in which another host has done shard 1, with other values."""
    store = open_store(shutil.copytree(shared.path, tmp_path / "theirs.zarr"))
    shutil.rmtree(store.path / "locks")
    store.declare(FINGERPRINT, FIELDS)
    feature = store.feature("faces", "clip")
    assert feature.claim(1)
    values = shard_values(feature.shard_rows(1))
    feature.write_shard(1, {k: np.full_like(v, 9) for k, v in values.items()}, {}, MADE_WITH)
    feature.release(1)
    return store


@pytest.fixture
def taken_over(shared, theirs):
    """Another takes shard 1 over, and writes it."""
    register = shared.layout.claims.register

    def happens():
        _, tag = register.read(LEASE)
        assert register.replace(LEASE, b"another", tag)
        for folder in ("arrays", "journal"):
            shutil.copytree(theirs.path / folder, shared.path / folder, dirs_exist_ok=True)

    return happens


@pytest.fixture
def held_up(monkeypatch):
    """Something happens to a file of a name, once, when it is about to get it from the puller."""

    def between(part, happens):
        link, met = os.link, list[Path]()

        def late(existing, path, **how):
            if part in str(path) and not met:
                met.append(path)
                happens()
                path.unlink(missing_ok=True)  # of all orders, the one in which his link succeeds
            return link(existing, path, **how)

        monkeypatch.setattr(os, "link", late)
        return met

    return between


@pytest.mark.parametrize("file", ["clip_cls/c/1/", "000001.json"])
def test_what_a_sleeper_pulled_over_a_shard_of_another_is_done_again(
    local, url, shared, taken_over, held_up, file
):
    push_store(local.path, url)
    met = held_up(file, taken_over)
    came = pull_store(url, shared.path)
    assert met and (came.shards, came.left) == (3, 1)
    assert verify_store(shared.path) == []
    assert open_store(shared.path).feature("faces", "clip").pending() == [1]


def test_a_shard_that_another_did_meanwhile_stays(local, url, shared, taken_over, held_up):
    push_store(local.path, url)

    def his_partial_file_is_cleared_too():
        taken_over()
        raise FileNotFoundError

    held_up("clip_cls/c/1/", his_partial_file_is_cleared_too)
    assert pull_store(url, shared.path).left == 1
    assert verify_store(shared.path) == []
    assert open_store(shared.path).feature("faces", "clip").pending() == []


def test_what_another_sleeper_writes_into_a_shard_that_is_pulled_is_found(
    local, url, shared, theirs, held_up
):
    push_store(local.path, url)
    written = next((theirs.path / "arrays").rglob("clip_cls/c/1/0")).relative_to(theirs.path)

    def former_owner_wakes():
        shutil.copy(theirs.path / written, shared.path / written)

    met = held_up("000001.json", former_owner_wakes)
    assert pull_store(url, shared.path).left == 1
    assert met and verify_store(shared.path) == []
    assert pull_store(url, shared.path).shards == 1
    assert open_store(shared.path).feature("faces", "clip").pending() == []
