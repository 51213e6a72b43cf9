"""A Dask cluster of two workers for extractions."""

import pytest

from clare.pipeline.cluster import job
from tests.dask_threads import connecting_to, thread_cluster


@pytest.fixture(scope="module")
def dask():
    with thread_cluster(2) as client:
        yield client


@pytest.fixture
def on_dask(dask, monkeypatch):
    """Let extractions find it, whatever cluster they name."""
    monkeypatch.setattr(job, "connect", connecting_to(dask))


@pytest.fixture
def on_dask_of_others(dask, monkeypatch):
    """The same as a cluster that somebody else started: its workers know their cores themselves."""
    monkeypatch.setattr(job, "connect", connecting_to(dask, threads=None))
