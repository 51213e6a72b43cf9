"""What an image costs an extractor is counted once and kept beside its features."""

import json
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from clare.models.extraction_cost import COST
from clare.models.runtime import Runtime
from clare.pipeline.extraction.job import missing_assets
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.settings import ImageSettings
from clare.store.feature_store import create_store


def make(name, **settings):
    return create_extractor(name, settings, ImageSettings(), Runtime())


def counted(run, extractor, image):
    """Operations of one image, as it is really extracted."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter:
            run(extractor, [image])
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops()


def test_lare_costs_its_encoder_once_and_every_draw_of_every_step(
    diffusion_folders, prepare_images, run
):
    model = {"model": str(diffusion_folders["epsilon"]), "size": 64}
    (image,) = prepare_images(1)
    one = make("lare", **model, draws=1).cost()
    six = make("lare", **model, draws=3, timesteps=[100, 300])
    assert six.cost().operations == counted(run, six, image)
    assert six.cost().shared == one.shared
    draw = one.operations - one.shared
    assert six.cost().operations == one.shared + 6 * draw


def test_a_tower_costs_what_one_image_takes(clip_folders, prepare_images, run):
    clip = make("clip", model=str(clip_folders["vit"]))
    assert clip.cost().operations == counted(run, clip, prepare_images(1)[0])
    assert clip.cost().shared == 0


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("clip", Runtime(dtype="bfloat16")),
        ("lare", Runtime(dtype="bfloat16")),
        pytest.param("lare", Runtime(compile=True), marks=pytest.mark.slow),
    ],
)
def test_it_is_the_same_in_half_precision_and_compiled(
    clip_folders, diffusion_folders, name, runtime, recwarn
):
    model = clip_folders["vit"] if name == "clip" else diffusion_folders["epsilon"]
    settings: dict[str, Any] = {"model": str(model), **({"size": 64} if name == "lare" else {})}
    changed = create_extractor(name, settings, ImageSettings(), runtime)
    recwarn.clear()
    assert changed.cost() == make(name, **settings).cost()
    assert not list(recwarn)


def test_it_is_kept_once_and_what_no_model_computes_has_none(clip_folders, tmp_path):
    store = create_store(tmp_path / "features.zarr")
    clip = make("clip", model=str(clip_folders["vit"]))
    store.declare(clip.fingerprint, clip.fields)
    files = missing_assets(store, clip)
    assert json.loads(files[COST]) == {"operations": clip.cost().operations, "shared": 0}
    store.write_assets(clip.fingerprint.key, files)
    assert missing_assets(store, clip) == {}
    mask = make("mask")
    store.declare(mask.fingerprint, mask.fields)
    assert COST not in missing_assets(store, mask)


def test_a_model_that_cannot_be_counted_stops_no_extraction(clip_folders, tmp_path, monkeypatch):
    clip, store = make("clip", model=str(clip_folders["vit"])), create_store(tmp_path / "f.zarr")
    store.declare(clip.fingerprint, clip.fields)

    def broken(_):
        raise RuntimeError("a model of somebody's own")

    monkeypatch.setattr(clip, "forward", broken)
    assert COST not in missing_assets(store, clip)
