"""Who works on what in a store, and freeing what somebody left."""

from __future__ import annotations

import dataclasses
import json
import os
import time

import pytest
from typer.testing import CliRunner

from clare.cli.app import app
from clare.errors import InputError
from clare.store.claims.claims import Claims, claims_of
from clare.store.claims.folder_register import FolderRegister
from clare.store.claims.listing import free_claims, list_claims
from clare.store.claims.owner import Beat
from clare.store.feature_store import create_store
from tests.store.conftest import make_rows


@pytest.fixture
def store(tmp_path):
    store = create_store(tmp_path / "features.zarr")
    store.assign_rows("faces", make_rows(3))
    yield store
    store.layout.claims.leave()


def elsewhere(store, token: str, **owner):
    """A process of another host that holds a shard, and shows no further beat."""
    claims = store.layout.claims
    me = dataclasses.replace(claims.owner, token=token, machine="another", host="far", **owner)
    register = FolderRegister(claims.folder)
    register.create(f"_alive/{token}", Beat(me, 5, leases=True).to_bytes())
    for number in (3, 4, 9):
        assert register.create(f"_leases/faces/clip-ab/{number:06d}", token.encode())


def test_a_store_that_nobody_works_on(tmp_path):
    assert list_claims(Claims(tmp_path / "none")) == []
    create_store(tmp_path / "features.zarr").layout.claims.leave()
    assert list_claims(Claims(tmp_path / "features.zarr" / "locks")) == []


@pytest.mark.parametrize("leases", [False, True])
def test_this_process_and_what_it_claims(store, leases):
    claims = store.layout.claims
    claims.configure(leases=leases, expire=60.0)
    for number in (0, 1, 5):
        assert claims.take("faces/clip-ab", number)
    (mine,) = list_claims(claims)
    assert (mine.state, mine.owner.pid) == ("works", os.getpid())
    assert mine.claims == {"faces/clip-ab": [0, 1, 5]}
    with pytest.raises(InputError, match="works; what it claims can't be freed"):
        free_claims(claims, [mine], mine.owner.token)


def test_another_host_is_watched_and_freed_when_it_is_silent(store):
    claims = store.layout.claims
    claims.configure(leases=True, expire=60.0)
    elsewhere(store, "ab" * 8)
    began = time.monotonic()
    found = {one.owner.host: one for one in list_claims(claims, 0.25)}
    assert time.monotonic() - began >= 0.25
    far = found["far"]
    assert far.state == "silent" and far.watched > 0.1
    assert far.claims == {"faces/clip-ab": [3, 4, 9]}
    with pytest.raises(InputError, match="no process 'xy' can be found"):
        free_claims(claims, list(found.values()), "xy")
    with pytest.raises(InputError, match="nobody works on the store"):
        free_claims(claims, [], "xy")
    assert not claims.take("faces/clip-ab", 3)
    free_claims(claims, list(found.values()), "abab")
    assert claims.take("faces/clip-ab", 3)
    assert {one.owner.host for one in list_claims(claims, 0)} == {claims.owner.host}


def test_a_heartbeat_that_goes_on_is_seen(store, monkeypatch):
    claims = store.layout.claims
    claims.configure(leases=True, expire=60.0)
    elsewhere(store, "cd" * 8)
    register, sleep = FolderRegister(claims.folder), time.sleep

    def beat(seconds):
        found = register.read("_alive/" + "cd" * 8)
        assert found is not None
        said = json.loads(found[0])
        said["count"] += 1
        register.replace("_alive/" + "cd" * 8, json.dumps(said).encode(), found[1])
        sleep(0)

    monkeypatch.setattr(time, "sleep", beat)
    far = next(one for one in list_claims(claims, 5.0) if one.owner.host == "far")
    assert far.state == "works"


def test_the_command_shows_and_frees(store):
    claims_of(store.layout.claims.folder).configure(leases=True, expire=60.0)
    elsewhere(store, "ef" * 8, job="one/12")
    words = ["store", "claims", str(store.path), "--watch", "0"]
    shown = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for word in ("efefefef", "far", "one/12", "silent", "faces/clip-ab: 3-4 9"):
        assert word in shown.output
    assert CliRunner().invoke(app, [*words, "--free", "efefef"], input="n\n").exit_code == 1
    freed = CliRunner().invoke(app, [*words, "--free", "efefef", "--yes"])
    assert freed.exit_code == 0 and "freed: 3 claims" in freed.output
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert [one["owner"]["host"] for one in told] == [store.layout.claims.owner.host]
