"""Further ways of tuning: the last blocks from what was computed once, prompts, adapters."""

from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from clare.errors import InputError
from clare.heads.config import create_config
from clare.heads.data.dataset import FeatureDataset
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.runs.record import read_record
from clare.heads.runs.run import open_run
from clare.heads.sweeps.axes import expand
from clare.heads.training.trainer import train_run
from clare.inference.predictor import Predictor
from clare.models.image_tower import ClipTower
from clare.models.runtime import Runtime
from clare.models.tuned import tune
from clare.plugins import trust_named
from tests.heads.tuned_runs import LN, fresh, machine, places, steps_of

BLOCKS = create_config({"tune": "blocks:1"}, LN)


@pytest.fixture
def cached(stores):
    return stores("vit", layers=(0,), class_layers=True)


def begun(store, config):
    return fresh(store, config, ("pixels", "clip_tokens_0", "clip_cls_0"))


def test_the_class_token_of_a_block_joins_its_patches(cached, stores):
    (key,) = (key for key in cached.extractor_keys() if key.startswith("clip-"))
    fingerprint, specs = cached.extractor(key)
    assert fingerprint.settings["class_layers"] is True and fingerprint.settings["depth"] == 2
    assert specs["clip_cls_0"].dtype == "float32" and specs["clip_cls_0"].shape == (32,)
    usual = stores("vit")
    (other,) = (key for key in usual.extractor_keys() if key.startswith("clip-"))
    assert not {"class_layers", "depth"} & set(usual.extractor(other)[0].settings)
    with pytest.raises(InputError, match=r"open_clip's own vision transformers .* ModifiedResNet"):
        stores("rn50", class_layers=True)


def test_blocks_from_the_store_learn_as_from_pixels(cached, tmp_path):
    """The same block moves; only the float16 of the stored patches is between them."""
    way = tmp_path / "from_pixels.py"
    way.write_text(FROM_PIXELS)
    trust_named([str(way)])
    fields = {"block_tokens": "clip_tokens_0", "block_cls": "clip_cls_0", **BLOCKS.detector.fields}
    stored = replace(BLOCKS, detector=replace(BLOCKS.detector, fields=fields))
    (one, batch, labels) = begun(cached, stored)
    assert one.fields == ("clip_tokens_0", "clip_cls_0")
    (other, *_) = begun(cached, create_config({"tune": str(way)}, LN))
    assert other.fields == ("pixels",)
    found, learnt = steps_of(one, stored, batch, labels)
    expected, plain = steps_of(other, LN, batch, labels)
    assert found == pytest.approx(expected, abs=2e-3)
    with torch.no_grad():
        vectors, others = learnt.eval().vectors(batch), plain.eval().vectors(batch)
        untuned = begun(cached, LN)[0].eval().vectors(batch)
    torch.testing.assert_close(vectors, others, atol=2e-2, rtol=0)
    assert (vectors - untuned).abs().max() > 0.1


FROM_PIXELS = '''
from clare.models.tuned import Moving, Tuning


class FromPixels(Tuning):
    """The same as blocks:1 of two blocks, from pixels."""

    def begin(self, tower, fields):
        places = ["visual.transformer.resblocks.1", "visual.ln_post"]
        return Moving(
            tuple(f"{p}.{n}" for p in places for n, _ in tower.get_submodule(p).named_parameters())
        )
'''


def test_a_run_of_blocks_is_tested_opened_and_asked(cached, tmp_path):
    fields = {"cls": "clip_cls"}
    config = replace(BLOCKS, detector=replace(BLOCKS.detector, fields=fields), epochs=2)
    train_run(config, cached, tmp_path / "run", machine(cached))
    record = read_record(tmp_path / "run")
    assert record.tower == "clip" and list(record.fingerprints) == ["clip"]
    kept = load_file(tmp_path / "run" / "best.safetensors")
    moved = {name for name in kept if name.startswith("fusion.tower.")}
    assert "fusion.tower.projection" in moved and "fusion.tower.visual.ln_post.bias" in moved
    assert not any("resblocks.0." in name or "conv1" in name for name in moved)
    found = evaluate(tmp_path / "run", resamples=0, settings=places(cached))
    data = FeatureDataset(cached, ["pixels"], subsets=["all"], split="test")
    pictures = [np.asarray(data[k]["pixels"]) for k in range(len(data))]
    verdicts = Predictor(tmp_path / "run", "cpu", places(cached)).predict(pictures)
    margins = [one.margin for one in verdicts]
    assert found.predictions.margin == pytest.approx(margins, abs=2e-2)


@pytest.mark.parametrize("way", ["blocks:1", "visual-prompts", "adapter"])
def test_a_way_goes_on_after_a_kill(cached, killed_and_resumed, tmp_path, way):
    killed_and_resumed(create_config({"tune": way, "epochs": 3}, LN), cached)
    run = open_run(tmp_path / "cut", places=places(cached))
    assert run.detector.base is not None


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (
            "vit",
            "blocks:1",
            r"after block 0, which the store lacks: .*'class_layers': True.*of the extraction",
        ),
        ("rn50", "blocks:1", "open_clip's own vision transformers alone, .* ModifiedResNet"),
        ("pe", "blocks:1", "open_clip's own vision transformers alone, not of those of tower"),
        ("vit", "blocks:2", "has 2 blocks, and the last 2 of them leave none"),
        ("convnext", "blocks:1", "open_clip's own vision transformers alone, .* ConvNeXt"),
        ("rn50", "adapter", "adapters stand in the blocks of vision transformers, .* ModifiedRes"),
        ("rn50", "visual-prompts", "visual prompts stand in the blocks of vision transformers"),
        ("pe", "visual-prompts", "this tower .Eva. turns its tokens by their place"),
    ],
)
def test_a_tower_that_can_not_is_named(stores, tmp_path, kind, given, said):
    store = stores(kind)
    cls = "tower_pooled" if kind == "pe" else "clip_cls"
    config = create_config({"fields": {"cls": cls}, "tune": given}, LN)
    with pytest.raises(InputError, match=said):
        train_run(config, store, tmp_path / "run", machine(store))
    assert not (tmp_path / "run").exists()


def test_nothing_is_augmented_that_was_computed_before(cached, tmp_path):
    config = create_config({"tune": "blocks:1", "augment": "gend"}, LN)
    with pytest.raises(InputError, match="augment draws views of pixels"):
        train_run(config, cached, tmp_path / "run", machine(cached))


def test_blocks_are_told_apart_in_a_sweep():
    runs = expand(LN, {"tune": ["ln", "blocks:1", "blocks:12"]})
    assert list(runs) == ["tune-ln", "tune-blocks-1", "tune-blocks-12"]
    assert [one.detector.tune_settings for one in runs.values()] == [{}, {"last": 1}, {"last": 12}]
    with pytest.raises(InputError, match="a number of blocks, as in blocks:4, not 'half'"):
        create_config({"tune": "blocks:half"})


def test_prompts_are_dropped_and_draw_nothing_at_evaluation(cached):
    config = create_config({"tune": "visual-prompts"}, LN)
    detector, batch, _ = begun(cached, config)
    detector.eval()
    with torch.no_grad():
        first, again = detector.vectors(batch), detector.vectors(batch)
        assert torch.equal(first, again)
        images = torch.randn(2, 3, 32, 32)
        made = detector.fusion.tower(images)
        before = detector.base.loaded.module(images)
    assert {n: v.shape for n, v in made.items()} == {n: v.shape for n, v in before.items()}


def test_adapters_begin_with_the_very_bits_of_the_tower(cached):
    detector, *_ = begun(cached, create_config({"tune": "adapter"}, LN))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        made, before = detector.fusion.tower(images), detector.base.loaded.module(images)
    assert all(torch.equal(made[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("way", "settings", "count"),
    [
        ("blocks", {"last": 12}, 12 * 12_596_224 + 2048 + 1024 * 768),
        ("blocks", {"last": 4}, 4 * 12_596_224 + 2048 + 1024 * 768),
        ("adapter", {}, 24 * (2 * 64 * 1024 + 64 + 1024)),
        ("adapter", {"width": 8}, 24 * (2 * 8 * 1024 + 8 + 1024)),
        ("visual_prompts", {}, 24 * 8 * 1024),
        ("visual_prompts", {"deep": False, "count": 10}, 10 * 1024),
    ],
)
def test_what_moves_in_vit_l_14(way, settings, count):
    shape = open_clip.get_model_config("ViT-L-14")
    with torch.device("meta"):
        visual = open_clip.model._build_vision_tower(shape["embed_dim"], shape["vision_cfg"])
        projection, visual.proj = visual.proj, None
        tower = ClipTower(visual, projection, {"clip_tokens": 23}, Runtime("meta"))
        own, moving = tune(tower, way, settings, ["clip_cls"])
    assert sum(own.get_parameter(name).numel() for name in moving.parameters) == count
    assert count == sum(p.numel() for p in own.parameters() if p.requires_grad)
