"""One folder that several pretended hosts mount, each with locks of its own, and runs on them.

Two bindfs mounts of one folder grant a lock to both, as NFS with ``nolock`` and Lustre with
``localflock`` do; a third remembers names and sizes for ten seconds, as a client of NFS does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

CACHED = "attr_timeout=10,entry_timeout=10,negative_timeout=10"
SHARDS = 8
ROWS = 64 * SHARDS - 10

RUN = """
import json, os, sys, time
from clare.store.feature import Feature
from clare.cli.app import main

write_shard, slow = Feature.write_shard, float(os.environ["SLOW"])
hosts, until = int(os.environ["HOSTS"]), time.monotonic() + 60
now, wrong = time.time, float(os.environ["WRONG"])
time.time = lambda: now() + wrong

def write_slowly(self, shard, *args, **options):
    disk = self.layout.root.parent
    (disk / f"at-work.{os.getpid()}").touch()
    while len(list(disk.glob("at-work.*"))) < hosts and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(slow)
    write_shard(self, shard, *args, **options)
    print("wrote", shard, flush=True)

Feature.write_shard = write_slowly
main()
"""
"""The command, which waits before its shards until as many hosts as asked for have one in hand, and
whose disk is slow: so that runs which begin a little apart meet all the same. Its clock may be
wrong; faketime would stop its heart, since Python waits by a clock that faketime does not move."""


def why_not() -> str:
    """Why bindfs can't be used here; empty where it can."""
    if os.geteuid():
        return "only root mounts a folder twice"
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    return "" if shutil.which("bindfs") else "bindfs is not installed"


@contextmanager
def mounted(folder: Path, **hosts: str) -> Iterator[dict[str, Path]]:
    """Mounts of one folder by name, each with its options."""
    disk = folder / "disk"
    disk.mkdir()
    made: dict[str, Path] = {}
    try:
        for name, options in hosts.items():
            place = folder / name
            place.mkdir()
            words = ["bindfs", *(["-o", options] if options else []), str(disk), str(place)]
            subprocess.run(words, check=True)
            made[name] = place
        yield made
    finally:
        for place in made.values():
            subprocess.run(["umount", "-l", str(place)], check=True)


def draw_faces(folder: Path) -> Path:
    """Small pictures of noise, half of them called real."""
    chance = np.random.default_rng(3)
    for number in range(ROWS):
        kind = "real" if number % 2 else "fake"
        (folder / kind).mkdir(parents=True, exist_ok=True)
        pixels = chance.integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / kind / f"{number:04d}.png")
    return folder


class Run:
    """`clare extract` of the drawn faces, in a process of its own.

    Args:
        faces: from `draw_faces`.
        disk: the folder that its store is in.
        more: further options.
        slow: seconds that each shard takes.
        hosts: that shall have a shard in hand before it writes one, itself among them.
        wrong: seconds that its clock is fast.
    """

    def __init__(
        self,
        faces: Path,
        disk: Path,
        *more: str,
        slow: float = 0.5,
        hosts: int = 1,
        wrong: float = 0.0,
    ) -> None:
        words = ["extract", "--real", str(faces / "real"), "--fake", str(faces / "fake")]
        words += ["--subset", "noise", "--store", str(disk / "features.zarr"), *more]
        words += ["--features", "pixels", "--set", "pixels.size=8", "--device", "cpu"]
        environment = {**os.environ, "SLOW": str(slow), "OMP_NUM_THREADS": "1"}
        environment["HOSTS"] = str(hosts)
        environment["WRONG"] = str(wrong)
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            process_group=0,
        )

    def wrote(self) -> int:
        """Waits for the next shard that it writes."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("wrote"):
                return int(line.split()[1])
        raise AssertionError("it wrote nothing more")

    def freeze(self) -> None:
        """Stop it where it stands."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def end(self) -> tuple[int, list[int], str]:
        """Its exit code, the shards that it wrote since, and all else that it said."""
        try:
            said, _ = self.process.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            said, _ = self.process.communicate()
            raise AssertionError(f"it never ended: {said}") from None
        lines = said.splitlines()
        wrote = [int(line.split()[1]) for line in lines if line.startswith("wrote")]
        return self.process.returncode, wrote, said


def wait_until(what, seconds: float = 150) -> None:
    """Look again and again, until it is so."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.05)
