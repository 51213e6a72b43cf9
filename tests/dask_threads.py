"""A Dask cluster of threads in this process: the real scheduler and workers, and quickly there."""

from contextlib import contextmanager

from distributed import Client, LocalCluster

from clare.cluster.connect import LANES, RESOURCE, Connected


@contextmanager
def thread_cluster(workers):
    """A client of some workers."""
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=LANES,
            processes=False,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,
            resources={RESOURCE: LANES},
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def connecting_to(client, threads=1):
    """What stands for `clare.cluster.connect.connect`: that cluster, whatever is named."""

    @contextmanager
    def connect(named, cores):
        yield Connected(client, named, threads, "wait")

    return connect
