"""What moves is what the fields that are read depend on, as gradients tell."""

import pytest
import torch

from clare.models.runtime import Runtime
from clare.models.tiny import write_tiny_clip, write_tiny_tower
from clare.models.towers import ClipSettings, TowerSettings, load_image_tower
from clare.models.tuned import tune


def loaded(folder, kind):
    if kind in ("vit", "rn50"):
        write_tiny_clip(folder, kind)
        return load_image_tower(ClipSettings(str(folder), class_layers=kind == "vit"), Runtime())
    write_tiny_tower(folder, kind)
    return load_image_tower(TowerSettings(str(folder)), Runtime())


@pytest.mark.parametrize("way", ["full", "ln"])
@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("vit", ["clip_tokens"]),
        ("vit", ["clip_cls_pre"]),
        ("vit", ["clip_cls", "clip_tokens"]),
        ("rn50", ["clip_tokens"]),
        ("rn50", ["clip_cls"]),
        ("pe", ["tower_tokens"]),
        ("pe", ["tower_cls"]),
        ("pe", ["tower_pooled"]),
        ("dinov3", ["tower_cls"]),
        ("siglip", ["tower_tokens"]),
        ("siglip", ["tower_pooled"]),
        ("dinov2", ["tower_cls", "tower_tokens"]),
    ],
)
def test_what_is_not_read_does_not_move(tmp_path, kind, fields, way):
    if (kind, way) == ("rn50", "ln"):
        return
    tower = loaded(tmp_path / "model", kind)
    own, moving = tune(tower.module, way, {}, fields)
    found = own(torch.randn(2, 3, tower.size, tower.size))
    generator = torch.Generator().manual_seed(0)
    loss = sum((torch.randn(found[f].shape, generator=generator) * found[f]).sum() for f in fields)
    learning = [own.get_parameter(name) for name in moving.parameters]
    gradients = torch.autograd.grad(loss, learning, allow_unused=True)
    pairs = zip(moving.parameters, gradients, strict=True)
    assert [name for name, gradient in pairs if gradient is None] == []
    assert len(learning) > 1
