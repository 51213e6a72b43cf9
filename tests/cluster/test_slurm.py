"""`clare slurm` and a cluster of SLURM's jobs on a real SLURM: limits, preemption, cancelling."""

import subprocess
import sys
import time
from typing import Any

import pytest
import torch

from clare.heads.sweeps.call import sweep
from clare.pipeline.extract import extract
from clare.pipeline.synthetic.toys import draw_faces

TORN = 3
"""Shards after which a run is disturbed."""


class Jobs:
    """Jobs of the SLURM that runs."""

    def __init__(self, place, environment):
        self.place, self.environment = place, environment

    def do(self, *command, told=None):
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.place.folder,
            input=told,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def submit(self, store, *options):
        """Submit an extraction: the job's number."""
        return self.submit_command(*self.place.words(store), *options)

    def submit_command(self, *words):
        """Submit what `clare slurm` prints."""
        script = self.do(sys.executable, "-m", "clare", "slurm", *words)
        return self.do("sbatch", "--parsable", told=script).strip()

    def states(self, job):
        """State by task."""
        told = self.do("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%i %T").split("\n")
        return dict(line.split() for line in told if line)

    def wait(self, job, state="COMPLETED", seconds=240.0):
        """Until a job is in a state; a task that was queued again need not wait two minutes.

        Not at once: a node refuses in that second what it has just ended, and the task failed.
        """
        told = time.monotonic()

        def is_there():
            nonlocal told
            states = self.states(job)
            waiting = [task for task, one in states.items() if one == "PENDING"]
            if waiting and time.monotonic() - told > 3:
                told = time.monotonic()
                for task in waiting:
                    self.do("scontrol", "update", f"JobId={task}", "StartTime=now")
            return set(states.values()) == {state}

        self.place.until(is_there, seconds, (job, state))

    def queued_again(self, job):
        self.place.until(lambda: "PENDING" in self.states(job).values(), 60, "not queued again")


@pytest.fixture
def jobs(place, slurm):
    return Jobs(place, slurm)


def test_tasks_of_an_array_share_the_work(jobs, place):
    job = jobs.submit("array", "--array", "2", "--gpus", "1", "--cpus", "1", "--time", "10:00")
    jobs.wait(job)
    place.require_whole("array")
    said = [file.read_text() for file in place.folder.glob(f"clare-extract_{job}_*.out")]
    assert len(said) == 2 and all(" rows/s" in one for one in said)


def test_a_task_near_its_limit_is_queued_again_alone(jobs, place):
    job = jobs.submit("limit", "--array", "1", "--cpus", "2", "--time", "10:00")
    place.until(lambda: place.done("limit") >= TORN)
    jobs.do("scancel", "--batch", "--signal=USR1", f"{job}_0")  # as SLURM does near the limit
    jobs.queued_again(job)
    jobs.wait(job)
    place.require_whole("limit")
    said = (place.folder / f"clare-extract_{job}_0.out").read_text()
    assert "stopped by SIGUSR1" in said and "rows in" in said, "the file is appended to"


def test_a_job_that_is_cancelled_stays_so_and_ends_in_time(jobs, place):
    job = jobs.submit("cancelled", "--cpus", "2")
    place.until(lambda: place.done("cancelled") >= TORN)
    began = time.monotonic()
    jobs.do("scancel", job)
    jobs.wait(job, "CANCELLED", 30)
    assert time.monotonic() - began < 14, "not before SLURM would have killed it"
    said = (place.folder / f"clare-extract_{job}.out").read_text()
    assert "stopped by SIGTERM: the same command goes on" in said
    assert place.done("cancelled") < place.shards
    jobs.wait(jobs.submit("cancelled", "--cpus", "2"))
    place.require_whole("cancelled")


def test_a_job_that_is_preempted_goes_on(jobs, place):
    job = jobs.submit("preempted", "--array", "2", "--cpus", "2", "--partition", "low")
    place.until(lambda: place.done("preempted") >= TORN)
    urgent = jobs.do(
        *("sbatch", "--parsable", "-p", "high", "-c", "2", "-o", "/dev/null"),
        told="#!/bin/bash\nsleep 3\n",
    ).strip()
    jobs.queued_again(job)
    jobs.wait(urgent)
    jobs.wait(job)
    place.require_whole("preempted")


def test_jobs_are_workers_and_one_that_is_cancelled_is_replaced(jobs, place):
    (place.folder / "slurm.yaml").write_text(
        "jobs: 2\ncores: 1\nmemory: 1GB\nqueue: low\ninterface: lo\nwalltime: '00:10:00'\n"
        "scheduler_options: {interface: lo}\n"
    )
    running = place.start("workers", "--cluster", "slurm.yaml", environment=jobs.environment)
    place.until(lambda: place.done("workers") >= TORN)
    names = jobs.do("squeue", "-h", "-t", "R", "-n", "dask-worker", "-o", "%i").split()
    jobs.do("scancel", names[0])
    assert running.wait(240) == 0, place.said()
    place.require_whole("workers")
    place.until(lambda: not jobs.do("squeue", "-h", "-n", "dask-worker").split(), 30, "jobs stay")


def test_tasks_of_an_array_share_a_sweep_whose_tables_are_those_of_one_machine(jobs, place):
    folder = place.folder
    draw_faces(folder / "toy", 60, seed=2, kind="fake", size=64)
    store = folder / "sweep.zarr"
    images: Any = {"real": folder / "real", "fake": {"toy": folder / "toy"}}
    extract(store, **images, features=(str(folder / "slow.py"),), device="cpu")
    words = ["--store", store.name, "--train", "toy", "--reals", "real", "--epochs", "3"]
    words += ["--fusion", "cls", "--classifier", "linear", "--seeds", "0-3", "--device", "cpu"]
    words += ["--set", 'train.fields={"cls": "slow"}', "--evaluate", "toy", "--out", "swept"]
    job = jobs.submit_command("sweep", *words, "--array", "2", "--cpus", "1")
    torch.set_num_threads(1)
    vary = {"fusion": ["cls"], "classifier": ["linear"], "seed": range(4)}
    how: Any = {"train": ["toy"], "reals": ["real"], "epochs": 3, "fields": {"cls": "slow"}}
    sweep(store, folder / "alone", vary=vary, evaluate=["toy"], device="cpu", **how)
    jobs.wait(job)
    said = [file.read_text() for file in folder.glob(f"clare-sweep_{job}_*.out")]
    assert [one.count(": epoch ") for one in said] == [2, 2], said
    for name in ("results.csv", "leaderboard.csv", "figures.csv"):
        assert (folder / "swept" / name).read_bytes() == (folder / "alone" / name).read_bytes()
