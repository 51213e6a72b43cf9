"""Folders of runs: one process at a time, one store's rows, and words for what is in the way."""

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clare.advice import LeaveOut
from clare.errors import InputError, StoreError
from clare.heads.config import DetectorConfig, Machine, TrainConfig
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.runs.lock import hold_runs
from clare.heads.runs.run import open_run
from clare.heads.training.train_head import train_head
from clare.heads.training.trainer import Observer, train_run

LINEAR = TrainConfig(DetectorConfig("cls", "linear"), lr=0.02, epochs=3, batch=32)

HOLD = """
import sys
from pathlib import Path
from clare.heads.runs.lock import hold_runs

with hold_runs([Path(sys.argv[1])]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def boards(tmp_path, monkeypatch):
    """Weights & Biases without network, and what it wrote."""
    wandb = pytest.importorskip("wandb")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DATA_DIR", "data")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    shown = []
    begin = wandb.init

    def init(**settings):
        run = begin(**settings)
        log = run.log

        def note(values, step):
            shown.append((step, values))
            log(values, step=step)

        monkeypatch.setattr(run, "log", note)
        return run

    monkeypatch.setattr(wandb, "init", init)
    return shown


class Stop(Observer):
    """Interrupts after the second epoch."""

    def epoch(self, run, record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt


def begin(store, folder) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_run(LINEAR, store.path, folder, Machine(checkpoint_seconds=0), Stop())


@pytest.fixture(scope="module")
def begun(store, tmp_path_factory):
    """A run that was interrupted."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    begin(store, folder)
    return folder


@pytest.fixture
def other_rows(tmp_path, build_store, rows_of, store):
    """As many rows of each subset, split and label as the store has, of other images."""
    plain = rows_of["row"]
    rows = {
        subset: [
            plain(
                subset,
                row.sample_id,
                row.columns["label"],
                row.columns["split"],
                row.view,
                content=f"other {row.sample_id}",
                **{
                    name: value
                    for name, value in row.columns.items()
                    if name not in ("label", "split", "subset")
                },
            )
            for row in store.rows(subset)
        ]
        for subset in store.subsets()
    }
    return build_store(tmp_path / "other.zarr", rows)


def test_a_second_process_is_told_to_wait(store, tmp_path):
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="run is being trained by another process: wait"):
            train_run(LINEAR, store.path, folder)
        assert not folder.exists()
        train_run(LINEAR, store.path, tmp_path / "beside")
        child.kill()
    train_run(LINEAR, store.path, folder)


def test_a_lock_ends_with_what_held_it(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    with pytest.raises(KeyboardInterrupt), hold_runs(folders):
        with pytest.raises(InputError, match="being trained"), hold_runs(folders[1:]):
            pass
        raise KeyboardInterrupt
    with hold_runs(folders):
        pass


def test_a_run_does_not_go_on_with_other_rows(store, other_rows, tmp_path):
    begin(store, tmp_path / "run")
    with pytest.raises(InputError, match="run was trained on other rows"):
        train_run(LINEAR, other_rows.path, tmp_path / "run")
    train_run(LINEAR, store.path, tmp_path / "run")
    assert (tmp_path / "run" / "val_metrics.json").exists()


def test_what_was_interrupted_goes_on_from_python_as_it_was_begun(store, tmp_path):
    begin(store, tmp_path / "run")
    with pytest.raises(InputError) as refused:
        train_head(resume=tmp_path / "run", epochs=9)
    assert refused.value.advice == (LeaveOut("epochs"),)
    run = train_head(resume=tmp_path / "run", device="cpu")
    assert run.record.config == LINEAR
    train_run(LINEAR, store.path, tmp_path / "undisturbed")
    assert run.validation == open_run(tmp_path / "undisturbed").validation
    with pytest.raises(InputError, match="is finished"):
        train_head(resume=tmp_path / "run")


@pytest.mark.parametrize("name", ["best", "judged", "state.values", "state.mean"])
@pytest.mark.parametrize("spoil", ["drop", "one number", "shorter", "whole numbers", "text"])
def test_a_saved_state_that_does_not_fit_is_refused(store, begun, tmp_path, name, spoil):
    folder = shutil.copytree(begun, tmp_path / "run")
    file = folder / "last.safetensors"
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    tensors = load_file(file)
    value = tensors.pop(name)
    changes = {"one number": value[:1], "shorter": value[:-1], "whole numbers": value.int()}
    if spoil in changes:
        tensors[name] = changes[spoil].clone()
    save_file(tensors, file, header)
    if spoil == "text":
        file.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(InputError) as raised:
        train_run(LINEAR, store.path, folder, Machine())
    assert "last.safetensors" in str(raised.value) and "\n" not in str(raised.value)


def test_a_run_that_went_on_elsewhere_knows_where_its_store_is(store, tmp_path):
    shutil.copytree(store.path, tmp_path / "first.zarr")
    with pytest.raises(KeyboardInterrupt):
        train_run(
            replace(LINEAR, train=("gan",), reals=("pool",)),
            tmp_path / "first.zarr",
            tmp_path / "run",
            Machine(checkpoint_seconds=0),
            Stop(),
        )
    (tmp_path / "first.zarr").rename(tmp_path / "second.zarr")
    train_run(
        replace(LINEAR, train=("gan",), reals=("pool",)),
        tmp_path / "second.zarr",
        tmp_path / "run",
    )
    assert evaluate(tmp_path / "run", subsets=["gan"]).record.subsets
    (tmp_path / "second.zarr").rename(tmp_path / "third.zarr")
    with pytest.raises(StoreError, match=r"store of .*run is not at .*second.zarr"):
        evaluate(tmp_path / "run", subsets=["gan"])


def test_a_file_is_no_folder_for_a_run(store, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file is a file"):
        train_run(LINEAR, store.path, tmp_path / "file")


def test_weights_and_biases_has_all_epochs_of_a_run_that_was_gone_on_with(store, tmp_path, boards):
    folder, machine = tmp_path / "run", Machine(checkpoint_seconds=0, wandb=True)
    with pytest.raises(KeyboardInterrupt):
        train_run(LINEAR, store.path, folder, machine, Stop())
    assert [step for step, _ in boards] == [1, 2]
    boards.clear()
    train_run(LINEAR, store.path, folder, machine)
    assert [step for step, _ in boards] == [1, 2, 3]
    assert {"val_auc", "val_loss", "train_loss"} <= boards[-1][1].keys()
    written = list((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert len(written) == 2 and all(file.stat().st_size for file in written)


def test_a_board_that_can_not_begin_is_said(store, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")

    def fails(**_):
        raise wandb.errors.UsageError("No API key configured. Log in.")

    monkeypatch.setattr(wandb, "init", fails)
    with pytest.raises(
        InputError, match=r"can't begin \(No API key configured\): .*WANDB_MODE=offline"
    ):
        train_run(LINEAR, store.path, tmp_path / "run", Machine(wandb=True))
