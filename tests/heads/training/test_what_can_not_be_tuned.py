"""What a tower can not be tuned with is said in a sentence, before anything is written."""

from dataclasses import replace

import pytest
import torch

from clare.errors import InputError
from clare.heads.config import create_config
from clare.heads.runs.run import open_run
from clare.heads.training.trainer import train_run
from clare.models.runtime import choose_runtime
from clare.pipeline.images.settings import ImageSettings
from tests.heads.tuned_runs import LN, machine, places
from tests.heads.tuned_store import create_tuned, write_tower


def test_other_weights_are_refused(tmp_path):
    store = create_tuned(tmp_path / "features.zarr", "vit")
    train_run(replace(LN, epochs=1), store, tmp_path / "run", machine(store))
    write_tower(tmp_path / "model", "vit", seed=7)
    with pytest.raises(InputError, match=r"weights found for clip .* are not those"):
        open_run(tmp_path / "run", places=places(store))
    with pytest.raises(InputError, match=r"weights found for clip .* are not those"):
        train_run(LN, store, tmp_path / "other", machine(store))
    write_tower(tmp_path / "elsewhere", "vit")
    there = {"clip": {"model": str(tmp_path / "elsewhere")}}
    assert open_run(tmp_path / "run", places=there).detector.base is not None


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("rn50", {"fields": {"cls": "clip_cls"}}, "has no LayerNorm that could be tuned"),
        ("vit", {"fusion": "lare", "fields": {}}, "fusion lare takes nothing of an image tower"),
        ("vit", {"classifier": "knn", "classifier_settings": {}}, "knn takes no steps"),
        ("vit", {"fields": {"cls": "clip_cls_pre", "pixels": "photos"}}, "the store has no photos"),
        ("vit", {"tune": "ln-all"}, "no tuning 'ln_all'"),
    ],
)
def test_what_can_not_be_tuned_is_said(stores, tmp_path, kind, given, said):
    config = create_config(given, LN)
    with pytest.raises(InputError, match=said):
        train_run(config, stores(kind), tmp_path / "run", machine(stores(kind)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"side": 48}, "pixels are of 48 x 48, and the tower takes 32 x 32"),
        ({"images": ImageSettings(crop="centre")}, "were cut out of the images differently"),
    ],
)
def test_pixels_that_the_tower_did_not_see_are_refused(tmp_path, how, said):
    store = create_tuned(tmp_path / "features.zarr", "vit", **how)
    with pytest.raises(InputError, match=said):
        train_run(LN, store, tmp_path / "run")


def test_without_a_compiler_nothing_begins(stores, tmp_path, monkeypatch):
    def uncompiled(function):
        def run(*given):
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\n\nSet …")

        return run

    monkeypatch.setattr(torch, "compile", uncompiled)
    said = r"^torch.compile can't build anything for cpu here \(Inv.* found\): install a C\+\+ comp"
    store = stores("vit")
    with pytest.raises(InputError, match=said):
        train_run(LN, store, tmp_path / "run", machine(store, compile=True))
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=said):
        choose_runtime("cpu", compile=True)


def test_a_decoder_tunes_no_tower():
    with pytest.raises(InputError, match="not under a decoder"):
        create_config({"decoder": "linear", "tune": "ln"})
