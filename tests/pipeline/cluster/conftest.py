"""A Dask cluster of threads in this process: the real scheduler and workers, and quickly there."""

from contextlib import contextmanager

import pytest

from clare.cluster.connect import LANES, RESOURCE, Connected
from clare.pipeline.cluster import job as cluster_job


@pytest.fixture(scope="module")
def dask():
    """A client of two workers."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=LANES,
            processes=False,
            dashboard_address=None,
            memory_limit=0,
            resources={RESOURCE: LANES},
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def on_dask(dask, monkeypatch):
    """Let extractions find it, whatever cluster they name."""

    @contextmanager
    def connect(named, cores):
        yield Connected(dask, named, 1, "wait")

    monkeypatch.setattr(cluster_job, "connect", connect)
