"""`clare train-head` and `clare sweep` on features of tiny models."""

import csv
import html
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clare.cli.app import app
from clare.cli.train_options import names_of
from clare.cli.views.progress import TrainView
from clare.errors import ClareError, InputError
from clare.heads import classifiers, fusion
from clare.heads.config import Machine, create_config, list_presets
from clare.heads.sweeps.tests import SweepTests
from clare.heads.training.trainer import Observer, Plan, train_run
from clare.plugins import list_parts
from clare.store.feature_store import open_store

LINEAR = ("--fusion", "cls", "--classifier", "linear")


@pytest.fixture(scope="module")
def store(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("train") / "features.zarr"
    command = ["extract", "--real", str(pictures / "real"), "--fake", f"toy={pictures / 'fake'}"]
    result = CliRunner().invoke(app, [*command, "--backbone", "tiny", "--store", str(path)])
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def clare(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLARE_STORE", str(store))
    monkeypatch.setenv("COLUMNS", "160")

    def run(*command):
        result = CliRunner().invoke(app, list(command))
        if isinstance(result.exception, ClareError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_a_fusion_is_all_that_has_to_be_said(clare, tmp_path):
    for folder in ("cls-linear", "cls-linear-2"):
        told = clare("train-head", "--fusion", "cls", "--classifier", "linear", "--epochs", "2")
        assert f"clare evaluate runs/{folder}" in told
        found = json.loads((tmp_path / "runs" / folder / "val_metrics.json").read_text())
        assert f"{found['metrics']['auc']['value']:.4f}" in told
        assert f"{found['threshold']:.4f}" in told
        assert "checkpoint and threshold were chosen on these rows" in told
    config = json.loads((tmp_path / "runs/cls-linear/config.json").read_text())["config"]
    assert config["epochs"] == 2 and config["classifier_settings"] == {}


def test_options_win_over_presets_and_sets_over_both(clare, tmp_path):
    options = ("--preset", "clare-published", "--epochs", "1", "--lr", "0.5", "--reals", "real")
    sets = ("--set", "train.lr=0.25", "--set", "cocoop.n_ctx=4", "--set", "cross_attn.heads=2")
    told = clare("train-head", *options, "--train", "toy", *sets, "--out", "mine")
    assert "otherwise than published" in told
    config = json.loads((tmp_path / "mine" / "config.json").read_text())["config"]
    assert config["lr"] == 0.25 and config["epochs"] == 1 and config["scope"] == "as-published"
    assert config["fusion_settings"] == {"query": "mean", "heads": 2}
    assert config["classifier_settings"] == {"n_ctx": 4}
    assert (config["train"], config["reals"]) == (["toy"], ["real"])
    clare("train-head", "--config", "mine/config.json", "--query", "all", "--out", "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())["config"]
    assert again == {**config, "fusion_settings": {"query": "all", "heads": 2}}


def test_train_and_test_in_one_command(clare, tmp_path):
    options = ("--fusion", "cls", "--classifier", "linear", "--epochs", "1", "--out", "run")
    clare("train-head", *options, "--evaluate", "toy")
    assert "toy" in json.loads((tmp_path / "run" / "test_metrics.json").read_text())["subsets"]


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (("--fusion", "none"), "'none'"),
        (("--preset", "none"), "clare-published"),
        (("--preset", "gend", "--config", "x.yaml"), "preset"),
        (("--query", "mean", "--fusion", "esa"), "cross_attn"),
        (("--features", "lare"), "EXTRACTOR=FINGERPRINT"),
        (("--resume", "run", "--lr", "1"), "begun"),
        (("--resume", "run", "--query", "mean"), "begun"),
        (("--resume", "run", "--tokens", "clip_tokens"), "begun"),
        (("--resume", "run", "--features", "clip=aa"), "begun"),
        (("--resume", "run", "--set", "train.lr=1"), "begun"),
        (("--tokens", "clip_tokens", "--fusion", "cls"), "cls reads no tokens"),
        (("--protocol", "clare-41k", "--train", "toy"), "protocol"),
        ((*LINEAR, "--evaluate", ","), "evaluate"),
        ((*LINEAR, "--evaluate", "real"), "real has reals alone in split test"),
        ((*LINEAR, "--out", "file"), "file is a file"),
        ((*LINEAR, "--out", "file/run"), "something that is not a folder stands there"),
        (("--resume", "run"), "is missing"),
        (("--train", "toy", "--classifier", "linear"), "reals"),
        (("--set", "coop.n_ctx=4"), "coop"),
    ],
)
def test_what_can_not_be_is_refused_in_a_sentence(clare, tmp_path, options, fact):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ClareError) as refused:
        clare("train-head", *options)
    assert fact in str(refused.value)
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").glob("*/*"))


@pytest.mark.parametrize(
    "options", [("--memory", "tape"), ("--sampling", "odd"), ("--epochs", "many")]
)
def test_a_value_that_is_no_choice_is_refused_before_anything_else(store, options):
    result = CliRunner().invoke(app, ["train-head", "--store", str(store), *options])
    assert result.exit_code == 2 and options[0] in result.output


def test_a_wrong_test_is_refused_before_training(clare, tmp_path):
    for command in (("train-head", *LINEAR), ("sweep", *LINEAR)):
        with pytest.raises(ClareError, match="no subset 'none'"):
            clare(*command, "--evaluate", "toy,none", "--out", "out")
        assert not (tmp_path / "out").exists()


@pytest.fixture
def begun(clare, monkeypatch):
    """A run that stopped after an epoch, on a store of its own that has moved since."""

    class Stop(Observer):
        def epoch(self, run, record):
            raise KeyboardInterrupt

    def begin(store, moved):
        shutil.copytree(os.environ["CLARE_STORE"], store)
        config = create_config({"fusion": "cls", "classifier": "linear", "epochs": 2})
        with pytest.raises(KeyboardInterrupt):
            train_run(config, store, Path("run"), Machine(checkpoint_seconds=0), Stop())
        store.rename(moved)

    return begin


def test_a_run_goes_on_where_its_store_is_now(clare, begun, tmp_path, monkeypatch):
    begun(tmp_path / "first.zarr", tmp_path / "second.zarr")
    monkeypatch.setenv("CLARE_STORE", str(tmp_path / "none.zarr"))
    with pytest.raises(ClareError, match=r"store of run is not at .*first.zarr any more; name it"):
        clare("train-head", "--resume", "run")
    told = clare("train-head", "--resume", "run", "--store", str(tmp_path / "second.zarr"))
    assert "clare evaluate run" in told
    clare("evaluate", "run", "--store", str(tmp_path / "second.zarr"))
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["store"] == str(tmp_path / "second.zarr")


def test_a_store_that_is_named_is_taken(clare, begun, tmp_path):
    begun(tmp_path / "first.zarr", tmp_path / "second.zarr")
    shutil.copytree(tmp_path / "second.zarr", tmp_path / "first.zarr")
    with pytest.raises(ClareError, match=r"no feature store at .*none.zarr"):
        clare("train-head", "--resume", "run", "--store", str(tmp_path / "none.zarr"))
    clare("train-head", "--resume", "run", "--store", str(tmp_path / "second.zarr"))
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["store"] == str(tmp_path / "second.zarr")


def test_the_help_lists_what_stands_in_the_packages(clare, tmp_path, monkeypatch):
    told = " ".join(clare("train-head", "--help").replace("│", " ").split())
    for names in (list_parts(fusion), list_parts(classifiers), list_presets()):
        assert ", ".join(names) in told
    (tmp_path / "film.py").write_text("")
    monkeypatch.setattr(fusion, "__path__", [*fusion.__path__, str(tmp_path)])
    assert "film" in names_of("fusion") and "clare.heads.fusion.film" not in sys.modules


def test_a_finished_run_is_not_resumed(clare):
    clare("train-head", "--preset", "univfd", "--epochs", "1", "--out", "run")
    for options in (("--resume", "run"), ("--preset", "univfd", "--out", "run")):
        with pytest.raises(InputError, match="finished"):
            clare("train-head", *options)


def test_a_sweep_of_several_parts(clare, tmp_path):
    axes = ("--fusion", "cls,cross_attn", "--classifier", "linear,coop", "--seeds", "0-1")
    sets = ("--set", "coop.n_ctx=2", "--query", "mean", "--vary", "weight_decay=0,0.1")
    told = clare("sweep", *axes, *sets, "--epochs", "1", "--out", "many", "--evaluate", "toy")
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
def test_what_a_sweep_can_not_be_is_refused(clare, tmp_path, options, fact):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ClareError) as refused:
        clare(*SWEEP, *options)
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
def test_a_pages_command_finds_its_sweeps_runs(clare, tmp_path, options):
    (tmp_path / "p.yaml").write_text(PROTOCOL)
    clare("sweep", *options, "--classifier", "linear", "--epochs", "1", "--out", "many")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "many").glob("*/*")}
    clare("report", "many", "--out", "page.html")
    lines = re.findall(r"<pre><code>(.*?)</code></pre>", (tmp_path / "page.html").read_text())
    sweep = next(line for line in lines if line.startswith("clare sweep"))
    again = shlex.split(html.unescape(sweep))[1:]
    clare(*[word.replace("many-again", "many") for word in again])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "many").glob("*/*")} == files


def test_tokens_go_to_the_fusions_that_read_them(clare, tmp_path):
    axes = ("--fusion", "cls,esa", "--classifier", "linear", "--tokens", "clip_tokens")
    clare("sweep", *axes, "--epochs", "1", "--out", "many")
    fields = [
        json.loads((tmp_path / "many" / f"{name}_linear_seed-0/config.json").read_text())["config"]
        for name in ("cls", "esa")
    ]
    assert [one["fields"] for one in fields] == [{}, {"tokens": "clip_tokens"}]


def test_a_test_that_is_there_is_not_made_again(clare, tmp_path):
    clare(*SWEEP, "--seeds", "0-1", "--evaluate", " toy, ")
    tests = [tmp_path / "many" / f"cls_linear_seed-{n}" / "test_metrics.json" for n in (0, 1)]
    times = [path.stat().st_mtime_ns for path in tests]
    table = (tmp_path / "many" / "results.csv").read_bytes()
    report = json.loads(tests[1].read_text())
    tests[1].write_text(json.dumps({**report, "resamples": 10}))
    clare(*SWEEP, "--seeds", "0-1", "--evaluate", "toy")
    assert tests[0].stat().st_mtime_ns == times[0] and tests[1].stat().st_mtime_ns > times[1]
    assert (tmp_path / "many" / "results.csv").read_bytes() == table
    assert json.loads(tests[1].read_text()) == report


def test_a_run_that_can_not_be_tested_leaves_the_others_alone(clare, tmp_path):
    clare(*SWEEP, "--seeds", "0-1")
    seen = tmp_path / "many" / "cls_linear_seed-0" / "seen.json"
    record = json.loads(seen.read_text())
    del record["trained"]
    test = SweepTests(open_store(os.environ["CLARE_STORE"]), ["toy"])
    seen.write_text(json.dumps(record))
    assert [bool(test(Path(f"many/cls_linear_seed-{n}"))) for n in (0, 1)] == [False, True]
    assert "seen.json is damaged" in test.failures[Path("many/cls_linear_seed-0")]


def test_twenty_shuffles_say_what_their_mean_is(clare):
    told = clare(*SWEEP, "--shuffle-labels", "--seeds", "0-3")
    assert "leaderboard of controls, labels shuffled" in told
    assert re.search(
        r"control \(fusion cls, classifier linear\): the mean AUC over 4 shuffles is 0\.\d+, "
        r"95 % interval 0\.\d+ to [01]\.\d+, which (holds 0\.5|does not hold 0\.5: )",
        " ".join(told.split()),
    )
    one = clare("sweep", *LINEAR, "--epochs", "1", "--out", "one", "--shuffle-labels")
    assert "one shuffle tells nothing; take twenty, --seeds 0-19" in " ".join(one.split())


def test_groups_of_runs_are_counted(capsys):
    together = [4, 1, 4, 2, 1, 1]
    TrainView(epochs=False).planned(Plan(13, {}, (), [3] * 13, together, 0, ()))
    told = capsys.readouterr().err
    assert "13 runs to train, 2 x 4 step together, 1 x 2 step together, 3 alone" in told
