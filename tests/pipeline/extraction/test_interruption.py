"""Runs that die anywhere, and runs side by side: the store ends as one undisturbed run leaves it.

A child process imports the libraries once and forks every run from there, so that twenty runs cost
seconds; the forks are killed with SIGKILL, as a scheduler or a power cut would.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.conftest import contents

SERVER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch, diffusers, transformers, open_clip
from clare.pipeline.extraction.job import run_job
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.datasets.select import select_manifests
from clare.models.backbones import backbone_overrides
from clare.store.feature import Feature
import clare.pipeline.extractors.lare, clare.pipeline.extractors.clip

faces, stores, script = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
chance = random.Random(7)

write_shard = Feature.write_shard

def write_and_tell(self, shard, *args, **kwargs):
    write_shard(self, shard, *args, **kwargs)
    line = json.dumps([self.layout.root.name, os.getpid(), f"{self.subset}/{self.key}/{shard}"])
    os.write(1, (line + "\\n").encode())

Feature.write_shard = write_and_tell

def begin(store):
    pid = os.fork()
    if pid:
        return pid
    torch.set_num_threads(1)
    selected = select_manifests(None, [], faces, [], [faces / "real"], [])
    settings = ExtractSettings(store, backbone="tiny", device="cpu", micro_batch=4, views=10)
    run_job(settings, selected)
    os._exit(0)

with backbone_overrides("tiny"):  # the models are written before the first fork, once for all
    pass
undisturbed = 0.0
for name, runs, kills in script:
    began = time.monotonic()
    for _ in range(kills):
        pid = begin(stores / name)
        time.sleep(chance.uniform(0.0, undisturbed))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for pid in [begin(stores / name) for _ in range(runs)]:
        assert os.waitpid(pid, 0)[1] == 0
    undisturbed = undisturbed or time.monotonic() - began
"""


def run_script(faces: Path, stores: Path, script: list) -> list[list]:
    done = subprocess.run(
        [sys.executable, "-c", SERVER, str(faces), str(stores), json.dumps(script)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_killed_and_parallel_runs_end_as_an_undisturbed_one(pictures, tmp_path):
    writes = run_script(
        pictures, tmp_path, [("undisturbed", 1, 0), ("parallel", 3, 0), ("killed", 1, 20)]
    )
    whole = contents(tmp_path / "undisturbed")
    assert contents(tmp_path / "killed") == whole
    assert contents(tmp_path / "parallel") == whole
    shards = {
        name: sorted(shard for store, _, shard in writes if store == name)
        for name in ("undisturbed", "parallel")
    }
    assert shards["parallel"] == shards["undisturbed"], "a shard was lost, or written twice"
    assert len({pid for store, pid, _ in writes if store == "parallel"}) > 1, "nothing was shared"
