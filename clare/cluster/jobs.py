"""Workers that are jobs of SLURM, as `dask_jobqueue` starts them from a YAML file of its keys."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from clare.errors import InputError
from clare.foreign import parse_yaml, read_text, reading
from clare.wording import listed

_NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""Given no address Dask takes port 8787 of every interface, and warns where it can't."""

NUMBER = "jobs"
"""The one key of our own: how many jobs there are at a time."""


@dataclass(frozen=True)
class Jobs:
    """What a file says.

    Args:
        file: it.
        number: jobs at a time; one that ends is replaced.
        settings: of `dask_jobqueue.SLURMCluster`.
    """

    file: Path
    number: int
    settings: Mapping[str, Any]


def read_jobs(file: Path) -> Jobs:
    """Read a file: keys of SLURMCluster, at its top or below ``jobqueue: slurm:`` as Dask has them.

    Raises:
        InputError: it can't be read, or is of another form.
    """
    with reading(file, "YAML"):
        found = parse_yaml(read_text(file))
    for name in ("jobqueue", "slurm"):
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = {**found[name], **({NUMBER: found[NUMBER]} if NUMBER in found else {})}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError(f"{file} is no table of settings of SLURMCluster, as `cores: 8`")
    settings = {name.replace("-", "_"): value for name, value in found.items()}
    number = settings.pop(NUMBER, 1)
    if type(number) is not int or number < 1:
        raise InputError(f"{file}: {NUMBER} is {number!r}, and must be a whole number from 1 on")
    lacking = [name for name in ("cores", "memory") if not settings.get(name)]
    if lacking:
        raise InputError(f"{file} lacks {' and '.join(lacking)}, which every job has to name")
    return Jobs(file, number, settings)


@contextmanager
def _ctrl_c_as_it_was() -> Iterator[None]:
    """The import of `dask_jobqueue` makes Ctrl-C end the process as if all were done."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _require_known(jobs: Jobs) -> None:
    """Refuse a setting that no class behind SLURMCluster takes."""
    with _ctrl_c_as_it_was():
        from dask_jobqueue.core import Job, JobQueueCluster
        from dask_jobqueue.slurm import SLURMJob

    known = {name for one in (JobQueueCluster, Job, SLURMJob) for name in signature(one).parameters}
    if unknown := sorted(set(jobs.settings) - known):
        raise InputError(f"{jobs.file} has {listed(unknown)}, which SLURMCluster does not know")


@dataclass
class Submissions:
    """What became of the jobs that were submitted.

    Attributes:
        accepted: how many SLURM took.
        refused: what it last said of one that it did not take.
    """

    accepted: int = 0
    refused: str = ""

    def refusal(self) -> str:
        """Why SLURM takes no job, if it never took one; later it may be that the queue is full."""
        return "" if self.accepted else self.refused


@contextmanager
def start_jobs(jobs: Jobs, resources: Mapping[str, int]) -> Iterator[tuple[Any, Callable[[], str]]]:
    """A cluster of jobs, which end with it. Each is replaced when it ends: ``scale`` would not.

    Args:
        jobs: what the file says.
        resources: that each worker has, unless the file gives it others.

    Returns:
        The cluster, and what tells why SLURM takes no job.

    Raises:
        InputError: a setting is none of SLURMCluster's, or SLURM's commands are not here.
    """
    with _ctrl_c_as_it_was():
        from dask_jobqueue import SLURMCluster
        from dask_jobqueue.slurm import SLURMJob
    from distributed import Status

    submissions = Submissions()

    class Job(SLURMJob):
        async def _submit_job(self, script_filename: str) -> Any:
            try:
                told = await super()._submit_job(script_filename)
            except RuntimeError as error:  # its last line is what sbatch said
                submissions.refused = str(error).strip().splitlines()[-1]
                self.status = Status.failed  # else the cluster can't be closed
                raise
            submissions.accepted += 1
            return told

    class Cluster(SLURMCluster):
        job_cls = Job

    _require_known(jobs)
    extra = list(jobs.settings.get("worker_extra_args") or ())
    if "--resources" not in " ".join(map(str, extra)):
        extra += ["--resources", ",".join(f"{name}={n}" for name, n in resources.items())]
    options = dict(jobs.settings.get("scheduler_options") or {})
    if "dashboard_address" not in options:
        options = {**_NO_DASHBOARD, **options}
    settings = {**jobs.settings, "worker_extra_args": extra, "scheduler_options": options}
    try:
        cluster = Cluster(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"{jobs.file}: {str(error).splitlines()[0]}") from error
    with cluster:
        cluster.adapt(minimum_jobs=jobs.number, maximum_jobs=jobs.number, interval="2s")
        with _without_tracebacks():
            yield cluster, submissions.refusal


@contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Dask submits jobs in a callback, whose errors Tornado prints: what is wrong is told by us."""
    log = logging.getLogger("tornado.application")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
