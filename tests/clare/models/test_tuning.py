"""What each way of tuning moves in towers of full size, counted on shapes alone."""

import open_clip
import pytest
import timm
import torch

from clare.errors import InputError
from clare.models.image_tower import TimmTower
from clare.models.runtime import Runtime
from clare.models.towers import ClipSettings, _reading
from clare.models.tuned import tune

META = Runtime("meta")


def clip_tower(name):
    config = open_clip.get_model_config(name)
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    with torch.device("meta"):
        visual = open_clip.model._build_vision_tower(
            config["embed_dim"], vision, config.get("quick_gelu", False)
        )
    return _reading(visual, ClipSettings(), META)[0]


def timm_tower(name):
    with torch.device("meta"):
        trunk = timm.create_model(name, num_classes=0)
    return TimmTower(trunk, {"tower_tokens": len(trunk.blocks) - 1}, META, output_fmt="NLC")


def counted(tower, way, *fields):
    own, moving = tune(tower, way, {}, fields)
    norms = {name.rpartition(".")[0] for name in moving.parameters}
    return len(norms), sum(one.numel() for one in own.parameters() if one.requires_grad), norms


@pytest.mark.parametrize(
    ("name", "norms", "parameters"),
    [
        ("ViT-L-14", 50, 102_400),
        ("ViT-B-16", 26, 39_936),
        ("ViT-B-32", 26, 39_936),
        ("PE-Core-L-14-336", 51, 104_448),
    ],
)
def test_layer_norms_of_clip(name, norms, parameters):
    assert counted(clip_tower(name), "ln", "clip_cls")[:2] == (norms, parameters)


@pytest.mark.parametrize(
    ("name", "norms", "parameters"),
    [
        ("vit_pe_core_large_patch14_336", 51, 104_448),
        ("vit_large_patch16_dinov3_qkvb", 49, 100_352),
    ],
)
def test_layer_norms_of_timm(name, norms, parameters):
    number, size, names = counted(timm_tower(name), "ln", "tower_pooled")
    assert (number, size) == (norms, parameters)
    assert ("visual.attn_pool.norm" in names) == ("pe_core" in name)


def test_all_of_a_tower_and_its_projection_where_that_is_read():
    tower = clip_tower("ViT-L-14")
    assert counted(tower, "full", "clip_cls_pre")[1] == 303_179_776
    assert counted(tower, "full", "clip_cls")[1] == 303_966_208


def test_a_resnet_has_no_layer_norm():
    with pytest.raises(InputError, match=r"ModifiedResNet. has no LayerNorm"):
        counted(clip_tower("RN50"), "ln")
