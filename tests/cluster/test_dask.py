"""Extractions on Dask clusters of several processes, disturbed: workers and schedulers that die."""

import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.processes import children, end, end_all

TORN = 3
"""Shards after which a run is disturbed."""

KILLS = 20
"""Workers that are killed at random moments."""


def workers_of(pid):
    """Worker processes below one: they were spawned, and are no helper of multiprocessing."""
    found = []
    for child in children(pid):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in words:
            found.append(child)
    return found


def test_workers_that_are_killed_at_random(place):
    dice, kills, runs = random.Random(5), 0, 0
    while kills < KILLS:
        runs += 1
        store = f"killed-{runs}"
        running = place.start(store, "--cluster", "local:2")
        place.until(lambda store=store: place.done(store) > 0)
        while running.poll() is None:
            if workers := workers_of(running.pid):
                kills += end(dice.choice(workers))
            time.sleep(dice.uniform(0.5, 5.0))
        assert running.returncode == 0, place.said()
        place.require_whole(store)


def test_a_run_that_is_told_to_end_leaves_no_process(place):
    running = place.start("told", "--cluster", "local:2")
    place.until(lambda: place.done("told") >= TORN)
    below = children(running.pid)
    for worker in workers_of(running.pid):
        known = Path(f"/proc/{worker}/environ").read_bytes()
        assert b"MALLOC_TRIM" not in known, "memory is kept for the next shard"
    began = time.monotonic()
    end(running.pid, signal.SIGTERM)
    assert running.wait(30) == 75, place.said()
    assert time.monotonic() - began < 10.5
    place.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below), 20, below)
    assert place.start("told", "--cluster", "local:2").wait(120) == 0
    place.require_whole("told")


def test_work_that_every_worker_dies_over_ends_in_a_sentence(place, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")  # to be quick
    text = (place.folder / "slow.py").read_text()
    deadly = text.replace("time.sleep(0.125)", "__import__('os')._exit(1)")
    (place.folder / "slow.py").write_text(deadly)
    try:
        running = place.start("deadly", "--cluster", "local:1")
        assert running.wait(240) == 1, place.said()
    finally:
        (place.folder / "slow.py").write_text(text)
    assert "workers died over the same work, however often it was given" in place.said()
    own = "".join(file.read_text() for file in place.log.glob("deadly-*.txt"))
    assert "Traceback" not in own and not place.done("deadly")


class Running:
    """A scheduler and workers of Dask's own commands."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes = []

    def start(self, kind, *words):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *map(str, words)]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.processes.append(process)
        return process

    def scheduler(self):
        own = ("--host", "127.0.0.1", "--port", self.port, "--dashboard-address", "127.0.0.1:0")
        return self.start("scheduler", *own)

    def worker(self):
        return self.start("worker", self.address, "--nthreads", 1, "--no-dashboard")

    def stop(self):
        end_all(self.processes)


@pytest.fixture
def running():
    found = Running()
    yield found
    found.stop()


def test_a_scheduler_that_dies_and_comes_again(place, running):
    scheduler = running.scheduler()
    for _ in range(2):
        running.worker()
    extraction = place.start("scheduler", "--cluster", running.address)
    place.until(lambda: place.done("scheduler") >= TORN)
    end(scheduler.pid)
    scheduler.wait()
    time.sleep(3)
    assert extraction.poll() is None, place.said()
    running.scheduler()
    running.worker()
    assert extraction.wait(240) == 0, place.said()
    place.require_whole("scheduler")


def test_two_extractions_share_a_cluster_and_a_store(place, running):
    running.scheduler()
    for _ in range(2):
        running.worker()
    several = [place.start("shared", "--cluster", running.address) for _ in range(2)]
    assert [one.wait(240) for one in several] == [0, 0], place.said()
    place.require_whole("shared")
