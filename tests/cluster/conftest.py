"""Extractions slow enough to be disturbed, and what an undisturbed one leaves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clare.pipeline.synthetic.toys import draw_faces
from clare.store.maintenance.verify import verify_store
from tests.cluster.processes import end_all
from tests.cluster.slurm import running_slurm, why_not
from tests.store.conftest import contents

SLOW = '''
"""Small pictures, a shard in half a second."""
import time

from clare.pipeline.extractor import Extractor
from clare.store.spec import FeatureSpec


class Slow(Extractor):
    """Field ``slow``: float32 (192,)."""

    Settings = __import__("dataclasses").make_dataclass("Settings", [], frozen=True)
    VERSION = 1

    def __init__(self, settings, images, runtime):
        self.runtime = runtime
        self.fields = (FeatureSpec("slow", (192,), "float32"),)
        self.fingerprint = self.sign("", {}, images)

    def prepare(self, image):
        return {"pixels": image.pixels(8)}

    def forward(self, inputs):
        time.sleep(0.125)
        return {"slow": self.runtime.tensor(inputs["pixels"]).flatten(1).float() / 255}
'''
COUNT, VIEWS = 100, 12


class Place:
    """A folder with pictures and the slow extractor, in which `clare` runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        self.log = folder / "logs"
        self.log.mkdir()

    def words(self, store, *more, images=("--real", "real")):
        own = ("--features", "./slow.py", "--views", str(VIEWS), "--micro-batch", "16")
        return ["extract", *images, *own, "--store", store, *map(str, more)]

    def start(self, store, *more, environment=None, images=("--real", "real")):
        """A command that runs beside the test; its output is a file."""
        with (self.log / f"{store}-{time.monotonic_ns()}.txt").open("w") as log:
            words = self.words(store, *more, images=images)
            command = [sys.executable, "-m", "clare", *words]
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        self.processes.append(process)
        return process

    def said(self):
        files = [*self.log.glob("*.txt"), *self.folder.glob("*.out")]
        return "\n".join(f"--- {file.name}\n{file.read_text()}" for file in files)

    def done(self, store):
        """Shards that are in a store's journal."""
        return len(list((self.folder / store).glob("journal/**/*.json")))

    def until(self, condition, seconds=120.0, what=""):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}\n{self.said()}"
            time.sleep(0.1)

    def require_whole(self, store):
        """A store is that of an undisturbed run, and every byte is as it was written."""
        mine, whole = (files_of(self.folder / name) for name in (store, "whole"))
        assert mine.keys() == whole.keys(), self.said()
        assert [name for name in whole if mine[name] != whole[name]] == []
        assert not verify_store(self.folder / store)


def files_of(store):
    return {name: data for name, data in contents(store).items() if name != "commands.jsonl"}


@pytest.fixture(scope="session", autouse=True)
def in_order():
    """Told to end, as by the limit of `make test-cluster`, the tests stop what they started."""

    def tell(number, frame):
        signal.signal(number, lambda *_: None)  # it comes twice: to the group as well
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, tell)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    draw_faces(folder / "real", COUNT, seed=1, kind="real", size=64)
    (folder / "slow.py").write_text(SLOW)
    found = Place(folder)
    try:
        extract_whole(found)
        yield found
    finally:
        end_all(found.processes)


def extract_whole(found):
    """An extraction that nobody disturbs."""
    # As on every worker below, for the journal says with how many threads rows were made.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert found.start("whole", environment=environment).wait(120) == 0, found.said()
    found.shards = found.done("whole")
    assert found.shards > 10


@pytest.fixture(scope="session")
def slurm():
    """The environment of a SLURM that runs; tests are skipped where none can."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with running_slurm() as environment:
        yield {**environment, "OMP_NUM_THREADS": "1"}
