"""Buckets in memory, a new one a test, stores to put there, and what is asked of a bucket."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter

import pytest

pytest.importorskip("obstore", reason="buckets are read through obstore, the extra `buckets`")

import obstore

from clare.store.bucket.objects import Objects
from clare.store.claims.pulse import PULSE
from clare.store.feature_store import create_store, open_store
from tests.store.conftest import extract, make_rows

_numbers = itertools.count()


@pytest.fixture
def url():
    return f"memory://bucket{next(_numbers)}/faces.zarr"


@pytest.fixture
def objects(url):
    return Objects(url, patience=2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where copies of stores in buckets lie."""
    monkeypatch.setenv("CLARE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_heartbeat_is_left():
    """Else one would beat in a later test, and its requests be counted there, or refused."""
    yield
    PULSE.end()


@pytest.fixture(scope="session")
def extracted(tmp_path_factory):
    store = create_store(tmp_path_factory.mktemp("extracted") / "local.zarr")
    store.assign_rows("faces", make_rows(200))
    extract(store)
    return store.path


@pytest.fixture
def local(extracted, tmp_path):
    """A store of 200 rows in a folder, all extracted."""
    return open_store(shutil.copytree(extracted, tmp_path / "local.zarr"))


class Requests:
    """What is asked of buckets from now on.

    Attributes:
        keys: the objects that were asked for, by the kind of request, in their order.
        bytes: that were fetched.
    """

    def __init__(self, monkeypatch):
        self.keys: dict[str, list[str]] = {}
        self.bytes = 0
        for kind in ("get", "head", "put", "delete", "list", "list_with_delimiter"):
            self.keys[kind] = []
            monkeypatch.setattr(obstore, kind, self._noting(kind, getattr(obstore, kind)))

    def _noting(self, kind, ask):
        def noted(store, path, *rest, **how):
            self.keys[kind].append(path or "")
            found = ask(store, path, *rest, **how)
            if kind == "get":
                self.bytes += found.range[1] - found.range[0]
            return found

        return noted

    def counts(self):
        return Counter({kind: len(keys) for kind, keys in self.keys.items()})


@pytest.fixture
def requests(monkeypatch):
    """Counts from when it is called."""
    return lambda: Requests(monkeypatch)
