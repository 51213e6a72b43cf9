"""Buckets in memory, a new one a test, and requests that go wrong as those of servers do."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("obstore", reason="buckets are read through obstore, the extra `buckets`")

from clare.store.bucket.objects import Objects

_numbers = itertools.count()


@pytest.fixture
def url():
    return f"memory://bucket{next(_numbers)}/faces.zarr"


@pytest.fixture
def objects(url):
    return Objects(url, patience=2)
