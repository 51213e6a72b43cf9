"""Benchmarks from start to end at toy size: that they run, not how fast.

`store` writes gigabytes, and `prompts`, `decoders`, `training` and `full` have no small models:
these are left out.
"""

import importlib

import pytest
import torch

from benchmarks.results import read_lines
from benchmarks.script import SECONDS, main

pytestmark = pytest.mark.slow

FIGURES = {
    "buckets": {
        "copy against disk",
        "store against ranges",
        "push against puts",
        "pull against gets",
        "ahead against gets",
    },
    "deliveries": {
        "deliveries against one by one",
        "deliveries against by hand",
        "deliveries against damaged files",
    },
    "discovery": {"ours, manifests written against plain walk"},
    "faces": {"upright against turned"},
    "fusion": {"ours against published", "ours against limit"},
    "inference": {"end to end against limit of the stages", "predict against imports and weights"},
    "probes": {"ours against scikit-learn", "ours against the read alone"},
    "pairs": {"clare pairs against plain script", "clare pairs against vae alone"},
    "tuning": {"ln against plain", "blocks:1 against plain"},
    "extraction": {"end to end against limit of the stages", "end to end against published way"},
    "gpu": {
        "float16 against published loop",
        "float16 against plain bfloat16 script",
        "float16 against limit of the matrix units",
        "extract, its loop against extract, its slowest stage",
        "from disk against from device",
        "cross_attn + cocoop",
        "micro-batch 2",
    },
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_script_runs_at_toy_size(name, tmp_path, capsys):
    if name == "faces":
        pytest.importorskip("onnxruntime")
    if name == "buckets":
        pytest.importorskip("obstore")
    file = tmp_path / "results.jsonl"
    script = importlib.import_module(f"benchmarks.{name}").SCRIPT
    main(script, ["--toy", "--rounds", "1", "--results", str(file), "--folder", str(tmp_path)])
    found = read_lines(file)
    assert {line.figure.name for line in found} >= FIGURES[name]
    assert all(line.figure.median > 0 for line in found if line.figure.unit)
    assert {line.script for line in found} == {name}
    assert not list(tmp_path.glob("clare-bench-*"))


@pytest.mark.parametrize("end", ["", "-plain", "-images"])
def test_nothing_is_left_in_a_bucket_and_what_was_there_stays(tmp_path, end):
    pytest.importorskip("obstore")
    from benchmarks.buckets import SCRIPT
    from clare.store.bucket.objects import Objects

    theirs = Objects(f"memory://others/bench{end}")
    theirs.put("photo.jpg", b"theirs")
    words = ["--toy", "--rounds", "1", "--results", str(tmp_path / "r"), "--folder", str(tmp_path)]
    words += ["--url", "memory://others/bench"]
    with pytest.raises(SystemExit, match=f"bench{end} is not empty"):
        main(SCRIPT, words)
    assert theirs.get("photo.jpg") == b"theirs"
    theirs.delete("photo.jpg")
    main(SCRIPT, words)
    assert not list(Objects("memory://others").list())


@pytest.mark.parametrize("name", SECONDS)
def test_what_make_bench_runs_is_named_as_its_file(name):
    assert importlib.import_module(f"benchmarks.{name}").SCRIPT.name == name


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured(tmp_path):
    file = tmp_path / "results.jsonl"
    script = importlib.import_module("benchmarks.gpu").SCRIPT
    with pytest.raises(SystemExit, match="not measured: there is no GPU"):
        main(script, ["--results", str(file)])
    assert not file.exists()
