"""Writers that die by kill -9 or work side by side leave what one undisturbed writer leaves."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clare.store.feature_store import open_store
from clare.store.maintenance.verify import verify_store
from tests.store.conftest import contents

ROWS = 700

WRITER = """
import os, random, signal, sys, time
sys.path.append(os.getcwd())
from clare.store.feature import Feature
from clare.store.feature_store import create_store
from tests.store.conftest import FINGERPRINT, extract, make_rows

write_shard = Feature.write_shard

def write_and_tell(self, shard, *args, **options):
    write_shard(self, shard, *args, **options)
    os.write(1, f"{shard}\\n".encode())

Feature.write_shard = write_and_tell

def run(path):
    store = create_store(path)
    for start in range(0, %d, 100):
        store.assign_rows("faces", make_rows(100, start))
    extract(store, failed=("sample-0003", "sample-0444"))
"""


def shards_of(script: str, *arguments: str) -> list[str]:
    """What writers say that they wrote."""
    command = [sys.executable, "-c", WRITER % ROWS + script, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    return done.stdout.split()


# The libraries are imported once; each round forks, dies at a random moment, and is followed.
KILLED = """
path, rounds = sys.argv[1], int(sys.argv[2])
chance, longest = random.Random(5), float(sys.argv[3])
for _ in range(rounds):
    child = os.fork()
    if child == 0:
        run(path)
        os._exit(0)
    time.sleep(chance.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
run(path)
"""


TOGETHER = """
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        run(sys.argv[1])
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "features.zarr"
    timed = "began = time.perf_counter(); run(sys.argv[1]); print(time.perf_counter() - began)"
    return path, float(shards_of(timed, str(path))[-1])


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_byte_equal(undisturbed, tmp_path):
    path, seconds = undisturbed
    killed = tmp_path / "features.zarr"
    shards = shards_of(KILLED, str(killed), "40", str(seconds / 4))
    assert contents(killed) == contents(path)
    assert verify_store(killed) == []
    assert len(shards) == len(set(shards)), "what is journalled is not done again"


def test_writers_side_by_side_lose_nothing_and_do_nothing_twice(undisturbed, tmp_path):
    together = tmp_path / "features.zarr"
    shards = [int(shard) for shard in shards_of(TOGETHER, str(together))]
    assert sorted(shards) == list(range(2 * ROWS // 100))
    assert contents(together) == contents(undisturbed[0])
    assert open_store(together).feature("faces", "clip").counts()["failed"] == 2
