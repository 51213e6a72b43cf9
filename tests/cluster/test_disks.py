"""Extractions of several hosts on a disk whose locks stay at home; see `tests/cluster/disks.py`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from clare.store.maintenance.verify import verify_store
from tests.cluster.disks import CACHED, SHARDS, Run, draw_faces, mounted, wait_until, why_not
from tests.store.conftest import contents

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "bindfs is there"),
]

BRISK = ("--lease-seconds", "12")
"""Hearts that beat twice a second: a run need not wait long to see that another lives."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return draw_faces(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def undisturbed(faces, tmp_path_factory):
    """What one run leaves on a disk of its own."""
    disk = tmp_path_factory.mktemp("alone")
    code, wrote, said = Run(faces, disk, slow=0).end()
    assert (code, sorted(wrote)) == (0, list(range(SHARDS))), said
    return finished(disk)


def finished(disk: Path, *, sleeps: bool = False) -> dict[str, bytes]:
    """The files of a store that is as it should be, without what it notes of commands.

    Of partial files only marks are left beside records, and what one has in hand that sleeps.
    """
    store = disk / "features.zarr"
    assert verify_store(store) == []
    found = contents(store)
    left = {name: data for name, data in found.items() if name.endswith(".partial")}
    marks = {n for n, data in left.items() if n.endswith(".json.owner.partial") and not data}
    assert sleeps or left.keys() == marks
    return {k: v for k, v in found.items() if k != "commands.jsonl" and k not in left}


def recorded(disk: Path) -> int:
    """How many shards are in the journal."""
    return len(list(disk.glob("features.zarr/journal/*/*/*.json")))


def good(*runs: Run) -> list[list[int]]:
    """The shards that each run wrote; all ended well."""
    ends = [run.end() for run in runs]
    for code, _, said in ends:
        assert code == 0 and "Traceback" not in said, said
    return [wrote for _, wrote, _ in ends]


@pytest.mark.parametrize("cached", ["", CACHED], ids=["fresh", "cached attributes"])
def test_two_runs_share_the_shards(faces, undisturbed, tmp_path, cached):
    with mounted(tmp_path, one="", other=cached) as hosts:
        one = Run(faces, hosts["one"], *BRISK, hosts=2)
        wait_until(lambda: list((tmp_path / "disk").glob("at-work.*")))
        mine, theirs = good(one, Run(faces, hosts["other"], *BRISK))
        assert mine and theirs, "both had a part"
        assert sorted([*mine, *theirs]) == list(range(SHARDS)), "nothing was done twice"
        assert finished(hosts["one"]) == undisturbed
    assert mode_of(tmp_path / "disk") == {"expire": 12.0, "leases": True}


def test_two_runs_that_begin_together_share_them_too(faces, undisturbed, tmp_path):
    with mounted(tmp_path, one="", other="") as hosts:
        runs = [Run(faces, place, *BRISK, hosts=2) for place in hosts.values()]
        mine, theirs = good(*runs)
        assert sorted([*mine, *theirs]) == list(range(SHARDS))
        assert finished(hosts["one"]) == undisturbed


def test_a_run_frozen_past_its_lease_is_taken_over_and_ends_well(faces, undisturbed, tmp_path):
    with mounted(tmp_path, one="", other="") as hosts:
        lease = ("--claims", "leases", "--lease-seconds", "3")
        sleeper = Run(faces, hosts["one"], *lease)
        sleeper.wrote()
        sleeper.freeze()
        done = recorded(tmp_path / "disk")  # on a busy machine it wrote more than the first
        try:
            (theirs,) = good(Run(faces, hosts["other"], *lease, slow=0))
            assert finished(hosts["other"], sleeps=True) == undisturbed, "done while it slept"
            assert len(theirs) == SHARDS - done
        finally:
            sleeper.wake()
        good(sleeper)
        assert finished(hosts["one"]) == undisturbed


def test_a_killed_run_of_another_start_of_the_host_is_taken_over(faces, undisturbed, tmp_path):
    with mounted(tmp_path, one="", other="") as hosts:
        lease = ("--claims", "leases", "--lease-seconds", "3")
        killed = Run(faces, hosts["one"], *lease, slow=0.5)
        killed.wrote()
        killed.process.kill()
        killed.process.communicate()
        for beat in (tmp_path / "disk/features.zarr/locks/_alive").iterdir():
            said = json.loads(beat.read_bytes())
            said["owner"]["machine"] = "another"
            beat.write_bytes(json.dumps(said).encode())
        good(Run(faces, hosts["other"], *lease, slow=0))
        assert finished(hosts["one"]) == undisturbed


def test_clocks_ten_minutes_apart_mean_nothing(faces, undisturbed, tmp_path):
    with mounted(tmp_path, one="", other="", third="") as hosts:
        later = Run(faces, hosts["other"], *BRISK, hosts=2, wrong=600)
        earlier = Run(faces, hosts["third"], *BRISK, hosts=2, wrong=-600)
        right = Run(faces, hosts["one"], *BRISK, hosts=2)
        parts = good(later, earlier, right)
        assert sum(map(len, parts)) == SHARDS, "nothing was done twice"
        assert finished(hosts["one"]) == undisturbed


def test_a_disk_that_fills_up_ends_runs_with_a_sentence(faces, undisturbed, tmp_path):
    small = tmp_path / "disk"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], check=True)
    try:
        one = tmp_path / "one"
        one.mkdir()
        subprocess.run(["bindfs", str(small), str(one)], check=True)
        try:
            runs = [Run(faces, disk, *BRISK, slow=1, hosts=2) for disk in (small, one)]
            wait_until(lambda: recorded(small))
            ballast = small / "ballast"
            with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):
                while True:
                    file.write(bytes(4096))
            for run in runs:
                code, _, said = run.end()
                assert code != 0 and "is full" in said and "Traceback" not in said, said
            ballast.unlink()
            good(Run(faces, one, slow=0))
            assert finished(small) == undisturbed
        finally:
            subprocess.run(["umount", "-l", str(one)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def mode_of(disk: Path) -> dict[str, object]:
    (mode,) = (disk / "features.zarr" / "locks").glob("_mode.*")
    return dict(json.loads(mode.read_bytes()))
