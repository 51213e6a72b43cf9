"""A Dask cluster from what a user names: this machine, one that runs, or jobs of SLURM."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clare.advice import Name
from clare.cluster.jobs import read_jobs, start_jobs
from clare.errors import InputError
from clare.wording import counted

LANES = 2
"""Items that a worker has at a time: the second is read while the models have the first."""

RESOURCE = "clare"
"""The resource that workers of our own clusters have `LANES` of."""

FORMS = "local:2, tcp://HOST:8786 or slurm.yaml"
CONNECT_SECONDS, AGAIN_SECONDS = 30.0, 5.0

_LOCAL = re.compile(r"local:(\d+)")
_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://\S+")


@dataclass
class Connected:
    """A cluster that is connected to.

    Args:
        client: of `distributed`.
        name: as the user named it.
        threads: cores that each worker takes, where all are on this machine; else a worker knows.
        starts: what is to be done where no worker comes, in words.
        is_ours: whether the scheduler lives in this process.
        refusal: tells why no worker will ever come; nothing as long as one may.
    """

    client: Any
    name: str
    threads: int | None
    starts: str
    is_ours: bool = True
    refusal: Callable[[], str] = lambda: ""

    def connect_again(self) -> bool:
        """Look whether a scheduler answers again where one was lost."""
        from distributed import Client

        if self.is_ours:
            return False
        with suppress(OSError, ValueError):
            self.client = Client(self.name, timeout=AGAIN_SECONDS)
            return True
        return False


def require_cluster(named: str) -> None:
    """See that a cluster can be used, before anything is loaded.

    Raises:
        InputError: it is none, its file can't be read, or Dask is not installed.
    """
    is_file = named.endswith((".yaml", ".yml"))
    local = _LOCAL.fullmatch(named)
    if not ((local and int(local[1])) or _ADDRESS.fullmatch(named) or is_file):
        raise InputError(f"{named!r} is no cluster", Name("one", "cluster", FORMS))
    wanted = ("distributed", *(("dask_jobqueue",) if is_file else ()))
    if missing := [module for module in wanted if find_spec(module) is None]:
        raise InputError(
            f"a cluster needs {missing[0].replace('_', '-')}, which is not installed",
            "pip install 'clare-features[cluster]'",
        )
    if is_file:
        read_jobs(Path(named))


@contextmanager
def connect(named: str, cores: int) -> Iterator[Connected]:
    """Start a cluster of one's own, or connect to one that runs; what was started ends.

    Args:
        named: ``local:N``, the address of a scheduler, or a YAML file of `dask_jobqueue`.
        cores: that workers on this machine share.

    Raises:
        InputError: as `require_cluster`, or no scheduler answers.
    """
    require_cluster(named)
    if local := _LOCAL.fullmatch(named):
        yield from _local(named, int(local[1]), cores)
    elif _ADDRESS.fullmatch(named):
        yield from _running(named)
    else:
        yield from _jobs(named, Path(named))


def _local(named: str, count: int, cores: int) -> Iterator[Connected]:
    import dask
    from distributed import Client, LocalCluster

    # Dask has its workers give memory back at once. Then each array of values comes page by page
    # anew, which costs a tenth of a loop.
    unset = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
    try:
        with dask.config.set(unset):
            started = LocalCluster(
                n_workers=count,
                threads_per_worker=LANES,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # else 8787, with a warning where it is taken
                scheduler_kwargs={"dashboard": False},
                memory_limit=0,  # by default a worker that holds much is restarted
                resources={RESOURCE: LANES},
                silence_logs=logging.CRITICAL,
            )
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"{counted(count, 'worker')} can't be started here ({error.__cause__ or error})",
            Name("fewer", "cluster", "local:1"),
        ) from error
    with started as cluster, Client(cluster) as client:
        starts = "see what the workers said above"
        yield Connected(client, named, max(1, cores // count), starts)


def _running(address: str) -> Iterator[Connected]:
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:  # a time-out is an OSError too
        raise InputError(
            f"no scheduler answers at {address}",
            "start one with `dask scheduler`",
            Name("another cluster", "cluster", FORMS),
        ) from error
    found = Connected(client, address, None, f"start some with `dask worker {address}`", False)
    try:
        yield found
    finally:
        found.client.close()  # by now perhaps another one


def _jobs(named: str, file: Path) -> Iterator[Connected]:
    from distributed import Client

    jobs = start_jobs(read_jobs(file), {RESOURCE: LANES})
    with jobs as (cluster, refusal), Client(cluster) as client:
        starts = "its jobs wait in the queue, or fail: see `squeue --me` and slurm-JOB.out"
        yield Connected(client, named, None, starts, refusal=refusal)


def workers_of(client: Any) -> Mapping[str, Mapping[str, Any]]:
    """The workers that are there now, by address; none while no scheduler answers."""
    with suppress(OSError, RuntimeError):
        found: Mapping[str, Mapping[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
        return found
    return {}
