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
