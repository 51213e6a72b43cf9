"""`clare export`: what it prints, and what it refuses before any model is loaded."""

import pytest

from tests.cli.pages import run


@pytest.fixture(scope="module")
def trained(features, tmp_path_factory):
    place = tmp_path_factory.mktemp("export")
    parts = ("--classifier", "linear", "--epochs", 1, "--train", "toy", "--reals", "real")
    for fusion in ("cls", "lare"):
        run("train-head", "--store", features, *parts, "--fusion", fusion, "--out", place / fusion)
    return place


def test_it_says_what_the_file_takes_and_gives_and_how_far_it_is_off(clare, trained, tmp_path):
    code, out, err = clare("export", trained / "cls", "--out", "new/cls.pt")
    assert code == 0, err
    assert (tmp_path / "new" / "cls.pt").is_file()
    for told in ("takes pixels (batch, 3, 64, 64)", "gives margin (batch)", "1. decode",
                 "chosen on validation", "largest difference to the run's own"):  # fmt: skip
        assert told in out
    assert "features mean nothing" in err
    code, _, err = clare("export", trained / "cls", "--out", "new/cls.pt")
    assert (
        code == 1 and "something stands at new/cls.pt already: name another place with --out" in err
    )


def test_a_run_of_lare_is_exported_without_its_models(clare, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("clare.inference.predictor.Predictor", None)
    code, _, err = clare("export", trained / "lare", "--out", "lare.pt")
    assert code == 1 and "--head-only exports the head, which takes features" in err
    assert not (tmp_path / "lare.pt").exists()
    code, out, err = clare("export", trained / "lare", "--out", "lare.pt", "--head-only")
    assert code == 0, err
    assert "takes lare (batch, 1, 1, 4, 8, 8)" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--out", "a.bin"), "or the format with --to"),
        (("--out", "a.pt2", "--to", "onnx"), "named as pt2, and onnx is asked for"),
    ],
)
def test_a_format_is_settled_before_anything_is_loaded(clare, trained, monkeypatch, words, told):
    monkeypatch.setattr("clare.inference.predictor.Predictor", None)
    code, _, err = clare("export", trained / "cls", *words)
    assert code == 1 and told in err
