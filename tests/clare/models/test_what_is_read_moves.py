"""What moves is what the fields that are read depend on, as gradients tell."""

from functools import cache
from typing import Any

import pytest
import torch

from clare.errors import InputError
from clare.models.image_tower import ClipTower
from clare.models.runtime import Runtime
from clare.models.tiny import write_tiny_clip, write_tiny_tower
from clare.models.towers import ClipSettings, TowerSettings, load_image_tower
from clare.models.tuned import BegunAs, TunedRecord, TunedTower, tune
from clare.plugins import trust_named

CLIPS: Any = {
    "vit": ("vit", {"image_size": 32, "layers": 4}),
    "rn50": ("rn50", {}),
    "timm": ("timm", {}),
    "convnext": ("timm", {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": ""}),
}
READ = [
    ("vit", ["clip_tokens"]),
    ("vit", ["clip_cls_pre"]),
    ("vit", ["clip_cls", "clip_tokens"]),
    ("vit", ["clip_tokens_1"]),
    ("vit", ["clip_cls_2"]),
    ("vit", ["clip_cls_0", "clip_tokens_2"]),
    ("vit", ["clip_tokens_1", "clip_cls_pre"]),
    ("rn50", ["clip_tokens"]),
    ("rn50", ["clip_tokens_layer1"]),
    ("rn50", ["clip_tokens_layer2", "clip_tokens_layer4"]),
    ("rn50", ["clip_cls"]),
    ("timm", ["clip_tokens"]),
    ("timm", ["clip_cls"]),
    ("convnext", ["clip_tokens"]),
    ("convnext", ["clip_tokens_1"]),
    ("convnext", ["clip_cls"]),
    ("pe", ["tower_tokens"]),
    ("pe", ["tower_tokens_0"]),
    ("pe", ["tower_cls"]),
    ("pe", ["tower_pooled"]),
    ("dinov3", ["tower_cls"]),
    ("siglip", ["tower_tokens"]),
    ("siglip", ["tower_pooled"]),
    ("dinov2", ["tower_cls", "tower_tokens"]),
    ("dinov2", ["tower_tokens_0"]),
]
LAYERS = {"vit": (0, 1, 2), "rn50": ("layer1", "layer2", "layer4"), "convnext": (1,)}
LAYERS |= {"pe": (0,), "dinov2": (0,)}
TURNED = ("pe", "dinov3")
"""Towers that turn tokens by their place, and take no visual prompts."""


def loaded(folder, kind, layers=()):
    if kind in CLIPS:
        known, sizes = CLIPS[kind]
        write_tiny_clip(folder, known, sizes=sizes)
        settings = ClipSettings(str(folder), layers=layers, class_layers=kind == "vit")
        return load_image_tower(settings, Runtime())
    write_tiny_tower(folder, kind)
    return load_image_tower(TowerSettings(str(folder), layers=layers), Runtime())


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """A tower by its kind, with all layers that are read, made once; what is tuned is a copy."""
    return cache(lambda kind: loaded(tmp_path_factory.mktemp(kind), kind, LAYERS.get(kind, ())))


def reached(module, size, fields):
    """The parameters of a module that a gradient of the fields comes to."""
    found = module.requires_grad_()(torch.randn(2, 3, size, size))
    generator = torch.Generator().manual_seed(0)
    loss = sum((torch.randn(found[f].shape, generator=generator) * found[f]).sum() for f in fields)
    names, values = zip(*module.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, values, allow_unused=True)
    return [name for name, one in zip(names, gradients, strict=True) if one is not None]


@pytest.mark.parametrize(("kind", "fields"), READ)
def test_full_moves_what_is_read(towers, kind, fields):
    tower = towers(kind)
    own, moving = tune(tower.module, "full", {}, fields)
    assert list(moving.parameters) == reached(own, tower.size, fields)


@pytest.mark.parametrize(
    ("kind", "way", "fields"),
    [
        (kind, way, fields)
        for kind, fields in READ
        for way in ("ln", "adapter", "visual_prompts")
        if kind not in ("rn50", "convnext") and not (way == "visual_prompts" and kind in TURNED)
    ],
)
def test_of_a_part_what_is_read_moves(towers, kind, way, fields):
    tower = towers(kind)
    own, moving = tune(tower.module, way, {}, fields)
    _, all_of_it = tune(tower.module, way, {}, [*fields, *_last(kind)])
    reads = set(reached(own, tower.size, fields))
    assert set(moving.parameters) == reads & set(all_of_it.parameters)
    moved = sum(own.get_parameter(name).numel() for name in moving.parameters)
    added = _count(own) - _count(tower.module)
    assert added == (0 if way == "ln" else moved)


def _count(module):
    return sum(one.numel() for one in module.parameters())


def _last(kind):
    """Fields that depend on all blocks."""
    if kind in ("vit", "timm"):
        return ["clip_cls", "clip_tokens"]
    return ["tower_tokens", "tower_pooled"]


@pytest.mark.parametrize(
    ("way", "settings", "fields", "told"),
    [
        ("ln", {}, ["clip_tokens_1"], "5 LayerNorms"),
        ("ln", {}, ["clip_cls"], "10 LayerNorms"),
        ("adapter", {}, ["clip_cls_2"], "3 adapters of width 64"),
        ("visual_prompts", {}, ["clip_tokens_0"], "8 visual prompts of 1 block"),
        ("blocks", {"last": 2}, ["clip_cls"], "the last 2 blocks of 4, and what follows them"),
        ("blocks", {"last": 2}, ["clip_tokens"], "the last 2 blocks of 4"),
        ("blocks", {"last": 3}, ["clip_tokens_2"], "2 of the last 3 blocks of 4"),
    ],
)
def test_what_is_not_read_is_not_counted(towers, way, settings, fields, told):
    assert tune(towers("vit").module, way, settings, fields)[1].told == told


def test_statistics_of_norms_that_are_not_read_stay(towers):
    tower = towers("rn50")
    settings = {"batchnorm": "train"}
    own, moving = tune(tower.module, "full", settings, ["clip_tokens_layer1"])
    assert moving.statistics and moving.trained
    assert not [name for name in moving.names if "layer2" in name or "layer4" in name]
    number = len(moving.trained)
    assert f"{number} BatchNorms in train mode" in moving.told
    assert len(moving.statistics) == 3 * number
    before = {name: value.clone() for name, value in own.named_buffers()}
    for name in moving.trained:
        own.get_submodule(name).train()
    own(torch.randn(2, 3, tower.size, tower.size))
    changed = {n for n, v in own.named_buffers() if not torch.equal(v, before[n])}
    assert changed == set(moving.statistics)


@pytest.mark.parametrize("way", ["ln", "adapter", "visual_prompts"])
def test_a_layer_that_moved_is_read_without_it_too(towers, tmp_path, way):
    """A later extraction need not ask for the layer that the run read."""
    with_layer = towers("vit").module
    fields = ("clip_tokens_1",)
    own, moving = tune(with_layer, way, {}, fields)
    state = own.state_dict()
    tensors = {name: state[name] + 0.01 for name in moving.names}
    kept = TunedTower(TunedRecord(way, {}, BegunAs("clip", 1, "ab", {}), {}, fields), tensors)
    images = torch.randn(2, 3, 32, 32)
    expected = kept.onto(with_layer)(images)
    found = kept.onto(loaded(tmp_path / "model", "vit").module)(images)
    assert "clip_tokens_1" not in found
    assert torch.equal(found["clip_cls"], expected["clip_cls"])
    assert not torch.equal(found["clip_cls"], with_layer(images)["clip_cls"])


NOTHING = '''
from clare.models.tuned import Moving, Tuning


class Nothing(Tuning):
    """Moves nothing."""

    def begin(self, tower, fields):
        return Moving(())
'''


def test_what_moves_nothing_is_refused(towers, tmp_path):
    way = tmp_path / "nothing.py"
    way.write_text(NOTHING)
    trust_named([str(way)])
    with pytest.raises(InputError, match="nothing moves nothing of this tower that clip_cls dep"):
        tune(towers("vit").module, str(way), {}, ["clip_cls"])


def test_a_pass_on_shapes_leaves_the_tower_as_it_was(towers):
    module = towers("vit").module
    assert isinstance(module, ClipTower)
    images = torch.randn(1, 3, 32, 32)
    before = module(images)
    assert module.read_by(["clip_cls_99", "no_field"]) == []
    after = module(images)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {one.device.type for one in module.state_dict().values()} == {"cpu"}
