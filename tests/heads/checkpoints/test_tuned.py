"""Detectors that bring their own tuned tower: a file of each layout, imported, judges an image as a
plain reading of the same tensors by transformers or timm does."""

import json

import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from clare.advice import Run
from clare.errors import InputError, WeightsError
from clare.heads.importing import open_checkpoint
from clare.heads.published import BILINEAR
from clare.heads.runs.record import read_record
from clare.inference.import_head import import_head
from clare.models.timm_tower import load_tower
from tests.heads.checkpoints.published import (
    draw_photograph,
    imported,
    judged,
    normalised,
    one_extraction,
    seeded,
)

SIDE, PATCH, WIDTH = 224, 56, 128
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}


def clip():
    config = transformers.CLIPVisionConfig(
        image_size=SIDE, patch_size=PATCH, intermediate_size=512, **SIZES
    )
    model = seeded(transformers.CLIPVisionModel(config))
    prefix = next(n for n in model.state_dict() if n.endswith("pre_layrnorm.weight"))
    prefix = prefix.removesuffix("pre_layrnorm.weight")
    state = {f"vision_model.{n.removeprefix(prefix)}": v for n, v in model.state_dict().items()}
    state = {n: v for n, v in state.items() if not n.endswith("position_ids")}
    return state, lambda pixels: model(pixels).pooler_output


def pe():
    arguments = {"patch_size": PATCH, "embed_dim": WIDTH, "depth": 2, "num_heads": 2}
    name = "vit_pe_core_large_patch14_336"
    arguments |= {"attn_pool_num_heads": 1, "img_size": 336, "num_classes": 0}
    model = seeded(timm.create_model(name, dynamic_img_size=True, **arguments))
    return {f"backbone.{n}": v for n, v in model.state_dict().items()}, model


def dinov3(blocks="layer."):
    config = transformers.DINOv3ViTConfig(
        image_size=SIDE, patch_size=PATCH, intermediate_size=512, num_register_tokens=4, **SIZES
    )
    model = seeded(transformers.DINOv3ViTModel(config))
    state = {n.removeprefix("model."): v for n, v in model.state_dict().items()}
    state = {
        n.replace("layer.", blocks, 1) if n[:6] == "layer." else n: v for n, v in state.items()
    }
    return (
        {f"backbone.{n}": v for n, v in state.items()},
        lambda pixels: model(pixels).last_hidden_state[:, 0],
    )


TOWERS = {
    "clip": (clip, "clip"),
    "pe": (pe, "half"),
    "dinov3": (dinov3, "imagenet"),
    "dinov3 of transformers 5": (lambda: dinov3("model.layer."), "imagenet"),
}


def layer(width=WIDTH):
    return seeded(nn.Linear(width, 2), 1)


def published(tower, head, prefix="feature_extractor."):
    state = {f"{prefix}{name}": value.contiguous() for name, value in tower.items()}
    return state | {f"model.linear.{name}": value for name, value in head.state_dict().items()}


@pytest.fixture
def image(tmp_path):
    return draw_photograph(tmp_path / "face.png", SIDE)


def plain_margin(image, tower, head, name, unit):
    with torch.no_grad():
        vectors = tower(normalised(image, name))
        logits = head(nn.functional.normalize(vectors, dim=1) if unit else vectors)
    return float(logits[0, 1] - logits[0, 0])


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("kind", TOWERS)
def test_gend_judges_as_a_plain_reading(tmp_path, image, kind, unit):
    make, name = TOWERS[kind]
    tower, read = make()
    head = layer()
    if kind == "clip":
        tower["visual_projection.weight"] = torch.zeros(64, WIDTH)
    (tmp_path / "theirs").mkdir()
    file = tmp_path / "theirs" / "model.safetensors"
    save_file(published(tower, head), file)
    config = {"model_type": "GenD", "head": "LinearNorm" if unit else "linear"}
    (file.parent / "config.json").write_text(json.dumps(config))
    run = import_head(file, tmp_path / "run", store=tmp_path / "none.zarr", device="cpu")
    expected = plain_margin(image, read, head, name, unit)
    assert judged(tmp_path / "run", image) == pytest.approx(expected, abs=1e-5)
    assert run.record.imported is not None and run.record.imported.format == "gend"
    remarks = run.record.imported.remarks
    assert "template of its own" in remarks[0] and run.threshold == 0
    assert list(remarks[1:]) == [BILINEAR] * kind.startswith("dinov3")


def peft(tower):
    """PEFT's names: each norm twice, the tuned one beside the one that it was."""
    state = {}
    for name, value in tower.items():
        module, _, kind = name.rpartition(".")
        if "norm" in module.rpartition(".")[2]:
            state[f"base_model.model.{module}.base_layer.{kind}"] = torch.ones_like(value)
            state[f"base_model.model.{module}.ln_tuning_layers.default.{kind}"] = value
        else:
            state[f"base_model.model.{name}"] = value
    return state


@pytest.mark.parametrize("said", ["LinearNorm", "linear", None])
def test_yermandys_checkpoint_judges_with_the_tuned_norms(tmp_path, image, said):
    tower, read = clip()
    head = layer()
    found = {"state_dict": published(peft(tower), head), "optimizer_states": [], "epoch": 3}
    if said is not None:
        found["hyper_parameters"] = {"run_name": "r", "head": said, "peft": {"enabled": True}}
    torch.save(found, tmp_path / "model.ckpt")
    run = import_head(tmp_path / "model.ckpt", tmp_path / "run", store=tmp_path / "none.zarr")
    expected = plain_margin(image, read, head, "clip", said != "linear")
    assert judged(tmp_path / "run", image) == pytest.approx(expected, abs=1e-5)
    assert run.record.imported is not None and run.record.imported.format == "yermandy"
    remarks = run.record.imported.remarks
    assert "DeepfakeBench" in remarks[0] and (len(remarks) > 1) == (said is None)


class Tree(nn.Module):
    """Modules that hold tensors under dotted names, for `torch.jit` to write."""

    def hold(self, tensors):
        below: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            first, _, rest = name.partition(".")
            if rest:
                below.setdefault(first, {})[rest] = value
            else:
                self.register_parameter(first, nn.Parameter(value))
        for name, inner in below.items():
            self.add_module(name, Tree().hold(inner))
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_yermandys_torchscript_is_read_as_an_archive_of_tensors(tmp_path, image):
    tower, read = clip()
    head = layer()
    halves = {n: v.bfloat16() for n, v in published(peft(tower), head).items()}
    torch.jit.script(Tree().hold(halves)).save(tmp_path / "model.torchscript")
    import_head(tmp_path / "model.torchscript", tmp_path / "run", store=tmp_path / "none.zarr")
    expected = plain_margin(image, read, head, "clip", unit=True)
    assert judged(tmp_path / "run", image) == pytest.approx(expected, abs=0.02)  # of bfloat16


def test_the_towers_features_are_told_by_its_sha256(tmp_path):
    tower, _ = clip()
    save_file(published(tower, layer()), tmp_path / "model.safetensors")
    import_head(tmp_path / "model.safetensors", tmp_path / "run", store=tmp_path / "none.zarr")
    record = read_record(tmp_path / "run")
    own = record.extractors["tower"]
    assert (
        own.fingerprint.weights == load_tower(str(tmp_path / "run" / "tower"), None, None).weights
    )
    assert own.origin["model"] == "tower"
    assert own.fingerprint.settings["images"]["crop"] == "centre"


@pytest.mark.parametrize(
    ("align", "told"),
    [
        ({}, None),
        ({"align": "deepfakebench", "align_side": 256}, None),
        ({"align": "arcface", "align_side": 256}, "align is arcface, not deepfakebench"),
        ({"align": "deepfakebench", "align_side": 128}, "align_side is 128, not 256"),
    ],
)
def test_faces_are_aligned_as_in_training_or_were_so_before(tmp_path, align, told):
    state = published(peft(clip()[0]), layer())
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    _, _, head = open_checkpoint(tmp_path / "model.ckpt", None)
    assert head.carried is not None
    there = one_extraction(
        {"tower_cls": (WIDTH,)},
        {"size": SIDE, "mean_std": "own"},
        {"crop": "centre", "crop_side": None, **align},
        {"model": "tower", "local": "folder"},
        "tower",
        head.carried.sha256,
    )
    if told is None:
        imported(tmp_path / "model.ckpt", there, tmp_path / "run")
        return
    with pytest.raises(InputError, match=told) as refused:
        imported(tmp_path / "model.ckpt", there, tmp_path / "run")
    remedy, _ = refused.value.advice
    assert isinstance(remedy, Run) and remedy.settings["align"] == "deepfakebench"


def test_a_trainings_class_token_may_be_merged_which_is_said(tmp_path):
    merged = {"head": "linear", "backbone_args": {"merge_cls_token_with_patches": "mean"}}
    found = {"state_dict": published(dinov3()[0], layer()), "hyper_parameters": merged}
    torch.save(found, tmp_path / "last.ckpt")
    _, _, head = open_checkpoint(tmp_path / "last.ckpt", None)
    assert any("merge DINOv3's class token" in one for one in head.remarks)


def test_the_run_moves_with_its_tower(tmp_path, image):
    tower, _ = clip()
    save_file(published(tower, layer()), tmp_path / "model.safetensors")
    import_head(tmp_path / "model.safetensors", tmp_path / "run", store=tmp_path / "none.zarr")
    before = judged(tmp_path / "run", image)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert judged(tmp_path / "moved", image) == before


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model.linear.weight": torch.zeros(2, 64)}, r"model\.linear\.weight is .* \(2, 64\)"),
        ({"model.extra": torch.zeros(1)}, r"it has model\.extra"),
        ({"feature_extractor.vision_model.adapter.weight": torch.zeros(1)}, "it has .*adapter"),
        ({"feature_extractor.vision_model.post_layernorm.bias": None}, r"lacks norm\.bias"),
        (
            {"feature_extractor.vision_model.embeddings.patch_embedding.weight": None},
            "can't be built",
        ),
        (
            {"feature_extractor.vision_model.post_layernorm.bias": torch.zeros(3)},
            r"norm\.bias is float32 \(3,\)",
        ),
    ],
)
def test_a_tower_that_is_not_whole_is_refused_and_nothing_is_written(tmp_path, changed, told):
    tower, _ = clip()
    state = published(tower, layer()) | changed
    state = {name: value for name, value in state.items() if value is not None}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises((InputError, WeightsError), match=told):
        import_head(tmp_path / "model.safetensors", tmp_path / "run", store=tmp_path / "none.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_file_of_the_other_format_says_so(tmp_path):
    save_file(published(peft(clip()[0]), layer()), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="look like yermandy"):
        import_head(tmp_path / "model.safetensors", tmp_path / "run", "gend")
