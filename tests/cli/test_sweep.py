"""`clare sweep` on features of tiny models."""

import csv
import html
import json
import os
import re
import shlex
from pathlib import Path

import pytest

from clare.cli.views.progress import TrainView
from clare.errors import ClareError
from clare.heads.sweeps.tests import SweepTests
from clare.heads.training.trainer import Plan
from clare.store.feature_store import open_store

LINEAR = ("--fusion", "cls", "--classifier", "linear")


def test_a_sweep_of_several_parts(head, tmp_path):
    axes = ("--fusion", "cls,cross_attn", "--classifier", "linear,coop", "--seeds", "0-1")
    sets = ("--set", "coop.n_ctx=2", "--query", "mean", "--vary", "weight_decay=0,0.1")
    told = head("sweep", *axes, *sets, "--epochs", "1", "--out", "many", "--evaluate", "toy")
    with (tmp_path / "many" / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 16 and all(line["test_auc"] for line in lines)
    assert "16 runs, 0 failed" in told
    with (tmp_path / "many" / "leaderboard.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 8
    config = json.loads(
        (tmp_path / "many/cross_attn_coop_weight_decay-0.1_seed-1/config.json").read_text()
    )["config"]
    assert config["fusion_settings"] == {"query": "mean"}
    assert config["classifier_settings"] == {"n_ctx": 2}
    assert (config["weight_decay"], config["seed"]) == (0.1, 1)


def test_presets_by_fractions_and_what_they_come_to(head, tmp_path):
    own = ("--set", "train.fields={}", "--epochs", "1", "--out", "many")
    axes = ("--preset", "univfd,gend-cached", "--fraction", "0.5,1", "--seeds", "0-1")
    told = head("sweep", *axes, *own, "--evaluate", "toy")
    assert "AUC by rows" in told and "balanced accuracy by rows" in told
    assert "toy train" in told and "validation" in told and "toy test" in told
    with (tmp_path / "many" / "figures.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {(line["preset"], line["fraction"]) for line in lines} == {
        *(("univfd", "0.5"), ("univfd", "1.0"), ("gend-cached", "0.5"), ("gend-cached", "1.0")),
    }
    assert {line["rows"] for line in lines} == {"train", "validation", "test"}
    assert (tmp_path / "many/univfd_fraction-0.5_seed-0").is_dir()
    head("report", "many", "--out", "page.html")
    assert "Training, test and other rows" in (tmp_path / "page.html").read_text("utf-8")


def test_one_preset_is_no_axis(head, tmp_path):
    head("sweep", "--preset", "univfd", "--epochs", "1", "--out", "one", "--seeds", "0")
    config = json.loads((tmp_path / "one/seed-0/config.json").read_text())["config"]
    assert (config["preset"], config["batch"]) == ("univfd", 256)
    with pytest.raises(ClareError, match="a preset and a configuration"):
        head("sweep", "--preset", "univfd,gend-cached", "--config", "one/seed-0/config.json")
    with pytest.raises(ClareError, match="preset 'none' is not one of"):
        head("sweep", "--preset", "univfd,none")


SWEEP = ("sweep", *LINEAR, "--epochs", "1", "--out", "many")


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (("--lr", "1e-4", "--vary", "lr=1e-3"), "lr is given twice"),
        (("--seeds", "1", "--vary", "seed=2"), "seed is given twice"),
        (("--vary", "batch=1", "--vary", "batch=2"), "batch is given twice"),
        (("--vary", "epochs=1,2"), "epochs is given twice"),
        (("--lr", "1e-4,1", "--set", "train.lr=1"), "--set train.lr"),
        (("--tokens", "clip_tokens"), "cls reads no tokens"),
        (("--protocol", "p1-ff", "--domains", "ff"), "protocol"),
        (("--out", "file"), "file is a file"),
        (("--evaluate", "toy,none"), "no subset 'none'"),
    ],
)
def test_what_a_sweep_can_not_be_is_refused(head, tmp_path, options, fact):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ClareError) as refused:
        head(*SWEEP, *options)
    assert fact in str(refused.value)
    assert not (tmp_path / "many").exists()


PROTOCOL = "train: {fakes: {one: [toy], two: [toy]}, reals: [real], frames: 4}"
OTHER_FRAMES = ("--set", "train.frames=2", "--set", "train.sampling=first_n")
PARTS = ("--preset", "clare-published", "--set", "train.scope=full")


@pytest.mark.parametrize(
    "options",
    [
        ("--fusion", "cls", "--protocol", "p.yaml", "--seeds", "0-1"),
        ("--fusion", "cls", "--vary", "balance=true,false", "--vary", "protocol=p.yaml/one"),
        ("--fusion", "cls", "--protocol", "p.yaml/two", *OTHER_FRAMES),
        ("--vary", "seed=1", "--vary", "lr=1e-3,2e-5", "--vary", "fusion=lare,cls"),
        ("--fusion", "cls,cross_attn", *PARTS),
        ("--fusion", "lare,esa", "--tokens", "clip_tokens", "--set", "esa.heads=2"),
    ],
)
def test_a_pages_command_finds_its_sweeps_runs(head, tmp_path, options):
    (tmp_path / "p.yaml").write_text(PROTOCOL)
    head("sweep", *options, "--classifier", "linear", "--epochs", "1", "--out", "many")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "many").glob("*/*")}
    head("report", "many", "--out", "page.html")
    lines = re.findall(r"<pre><code>(.*?)</code></pre>", (tmp_path / "page.html").read_text())
    sweep = next(line for line in lines if line.startswith("clare sweep"))
    again = shlex.split(html.unescape(sweep))[1:]
    head(*[word.replace("many-again", "many") for word in again])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "many").glob("*/*")} == files


def test_tokens_go_to_the_fusions_that_read_them(head, tmp_path):
    axes = ("--fusion", "cls,esa", "--classifier", "linear", "--tokens", "clip_tokens")
    told = head("sweep", *axes, "--epochs", "1", "--out", "many")
    fields = [
        json.loads((tmp_path / "many" / f"{name}_seed-0/config.json").read_text())["config"]
        for name in ("cls_linear", "esa_linear_clip_tokens")
    ]
    assert [one["fields"] for one in fields] == [{}, {"tokens": "clip_tokens"}]
    with (tmp_path / "many" / "leaderboard.csv").open() as file:
        tokens = {line["fusion"]: line["tokens"] for line in csv.DictReader(file)}
    assert tokens == {"cls": "", "esa": "clip_tokens"}
    assert "2 runs, 0 failed" in told


def test_a_test_that_is_there_is_not_made_again(head, tmp_path):
    head(*SWEEP, "--seeds", "0-1", "--evaluate", " toy, ")
    tests = [tmp_path / "many" / f"cls_linear_seed-{n}" / "test_metrics.json" for n in (0, 1)]
    times = [path.stat().st_mtime_ns for path in tests]
    table = (tmp_path / "many" / "results.csv").read_bytes()
    report = json.loads(tests[1].read_text())
    tests[1].write_text(json.dumps({**report, "resamples": 10}))
    head(*SWEEP, "--seeds", "0-1", "--evaluate", "toy")
    assert tests[0].stat().st_mtime_ns == times[0] and tests[1].stat().st_mtime_ns > times[1]
    assert (tmp_path / "many" / "results.csv").read_bytes() == table
    assert json.loads(tests[1].read_text()) == report


def test_a_run_that_can_not_be_tested_leaves_the_others_alone(head, tmp_path):
    head(*SWEEP, "--seeds", "0-1")
    seen = tmp_path / "many" / "cls_linear_seed-0" / "seen.json"
    record = json.loads(seen.read_text())
    del record["trained"]
    test = SweepTests(open_store(os.environ["CLARE_STORE"]), ["toy"])
    seen.write_text(json.dumps(record))
    assert [bool(test(Path(f"many/cls_linear_seed-{n}"))) for n in (0, 1)] == [False, True]
    assert "seen.json is damaged" in test.failures[Path("many/cls_linear_seed-0")].what


def test_twenty_shuffles_say_what_their_mean_is(head):
    told = head(*SWEEP, "--shuffle-labels", "--seeds", "0-3")
    assert "leaderboard of controls, labels shuffled" in told
    assert re.search(
        r"control \(fusion cls, classifier linear\): the mean AUC over 4 shuffles is 0\.\d+, "
        r"95 % interval 0\.\d+ to [01]\.\d+, which (holds 0\.5|does not hold 0\.5: )",
        " ".join(told.split()),
    )
    one = head("sweep", *LINEAR, "--epochs", "1", "--out", "one", "--shuffle-labels")
    assert "one shuffle tells nothing; take twenty, --seeds 0-19" in " ".join(one.split())


def test_groups_of_runs_are_counted(capsys):
    together = [4, 1, 4, 2, 1, 1]
    TrainView(epochs=False).planned(Plan(13, {}, (), [3] * 13, together, 0, ()))
    told = capsys.readouterr().err
    assert "13 runs to train, 2 x 4 step together, 1 x 2 step together, 3 alone" in told
