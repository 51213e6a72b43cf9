"""The tower's fields against timm's own reading of the same weights, and where those come from."""

import json
import shutil
from typing import Any, get_args

import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file

from clare.errors import InputError, WeightsError
from clare.models.runtime import Runtime
from clare.models.timm_files import find_tower
from clare.models.timm_tower import load_tower
from clare.models.tiny import TowerKind, write_tiny_tower
from clare.pipeline.extraction.rebuild import rebuild_extractor
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.settings import ImageSettings

SIZE = 64
KINDS = get_args(TowerKind)


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Kind of tower to the folder of a tiny one."""
    root = tmp_path_factory.mktemp("tower")
    for kind in KINDS:
        write_tiny_tower(root / kind, kind)
    return {kind: root / kind for kind in KINDS}


def make(model, **settings):
    return create_extractor("tower", {"model": str(model), **settings}, ImageSettings(), Runtime())


def plain_model(folder, **others):
    """The tower by timm's own function, without any of our code."""
    record = json.loads((folder / "config.json").read_text())
    arguments = {"img_size": SIZE, **record["model_args"], **others}
    model = timm.create_model(record["architecture"], num_classes=0, **arguments).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model, record["pretrained_cfg"]["mean"], record["pretrained_cfg"]["std"]


def normalised(images, mean, std, size=SIZE):
    pixels = np.stack([image.pixels(size) for image in images]) / 255.0
    return torch.from_numpy((pixels - mean) / std).permute(0, 3, 1, 2).float()


def close(found, expected, tolerance=2e-3):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_fields_are_those_of_timm(towers, prepare_images, run, kind):
    images = prepare_images(3)
    plain, mean, std = plain_model(towers[kind])
    found = run(make(towers[kind], layers=(1,)), images)
    seen: dict[str, Any] = {}
    plain.norm.register_forward_hook(lambda _, given, __: seen.update(last=given[0]))
    plain.blocks[1].register_forward_hook(lambda _, __, given: seen.update(second=given))
    with torch.no_grad():
        pixels = normalised(images, mean, std)
        pooled, normed = plain(pixels), plain.forward_features(pixels)
    close(found["tower_pooled"], pooled, 1e-5)
    if kind == "siglip":  # it has no class token
        assert "tower_cls" not in found
    else:
        close(found["tower_cls"], normed[:, 0], 1e-5)
    assert found["tower_tokens"].shape == (3, 64, 64)
    close(found["tower_tokens"], seen["last"][:, -64:])
    close(found["tower_tokens_1"], seen["second"][:, -64:])
    assert np.abs(found["tower_tokens"] - normed[:, -64:].numpy()).max() > 0.05


@pytest.mark.parametrize(
    ("kind", "pooled"), [("dinov2", "class"), ("clip", "class"), ("dinov3", "mean"), ("pe", "")]
)
def test_what_the_pooled_vector_is(towers, prepare_images, run, kind, pooled):
    found = run(make(towers[kind]), prepare_images(2))
    assert np.array_equal(found["tower_pooled"], found["tower_cls"]) == (pooled == "class")
    plain, _, _ = plain_model(towers[kind])
    normed = plain.norm(torch.from_numpy(found["tower_tokens"]).float()).detach().numpy()
    assert (np.abs(found["tower_pooled"] - normed.mean(1)).max() < 2e-3) == (pooled == "mean")


def test_no_row_of_a_tower_depends_on_the_others(towers, prepare_images, run):
    for kind in KINDS:
        extractor, images = make(towers[kind]), prepare_images(5)
        straight, turned = run(extractor, images), run(extractor, images[::-1])
        for field, values in straight.items():
            assert np.array_equal(values, turned[field][::-1]), (kind, field)


@pytest.mark.parametrize("kind", ["pe", "dinov3"])
def test_another_size_is_what_timm_makes_of_images_of_that_size(towers, prepare_images, run, kind):
    images = prepare_images(2)
    plain, mean, std = plain_model(towers[kind], dynamic_img_size=True)
    found = run(make(towers[kind], size=96), images)
    with torch.no_grad():
        expected = plain(normalised(images, mean, std, 96))
    assert found["tower_tokens"].shape == (2, 144, 64)
    close(found["tower_pooled"], expected, 1e-5)


@pytest.mark.parametrize("name", ["half", "clip", "imagenet"])
def test_mean_and_std(towers, prepare_images, run, name):
    images = prepare_images(2)
    mean, std = {
        "half": (0.5, 0.5),
        "clip": (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
        "imagenet": (timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD),
    }[name]
    plain, _, _ = plain_model(towers["pe"])
    extractor = make(towers["pe"], mean_std=name)
    with torch.no_grad():
        close(run(extractor, images)["tower_pooled"], plain(normalised(images, mean, std)), 1e-5)
    assert extractor.fingerprint != make(towers["pe"]).fingerprint


def test_weights_of_a_clip_are_read_under_open_clips_names(towers, tmp_path, prepare_images, run):
    """The same tower as the clip extractor reads it, up to float32's rounding."""
    vision = {"image_size": SIZE, "patch_size": 8, "width": 64, "layers": 3, "head_width": 32}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 32, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    torch.manual_seed(0)
    clip = open_clip.CLIP(**config)
    (tmp_path / "clip").mkdir()
    file = tmp_path / "clip" / "open_clip_model.safetensors"
    save_file({k: v.contiguous() for k, v in clip.state_dict().items()}, file)
    described = json.dumps({"model_cfg": config})
    (tmp_path / "clip" / "open_clip_config.json").write_text(described)
    images = prepare_images(2)
    settings = {"model": str(tmp_path / "clip")}
    whole = run(create_extractor("clip", settings, ImageSettings(), Runtime()), images)
    found = run(make(towers["clip"], weights=str(file)), images)
    close(found["tower_cls"], whole["clip_cls_pre"], 1e-5)
    close(found["tower_tokens"], whole["clip_tokens"])


@pytest.fixture(scope="module")
def dinov3(tmp_path_factory):
    """A tiny DINOv3 of transformers, and the file that it writes."""
    torch.manual_seed(0)
    config = transformers.DINOv3ViTConfig(
        image_size=SIZE,
        patch_size=8,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=256,
        num_register_tokens=4,
        layerscale_value=1.0,
    )
    model = transformers.DINOv3ViTModel(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("dinov3")
    model.save_pretrained(folder)
    return model, folder / "model.safetensors"


def test_weights_of_dinov3_are_read_under_transformers_names(towers, dinov3, prepare_images, run):
    model, file = dinov3
    images = prepare_images(2)
    pixels = normalised(images, timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
    found = run(make(towers["dinov3"], weights=str(file)), images)
    with torch.no_grad():
        last = model(pixels).last_hidden_state
    close(found["tower_cls"], last[:, 0], 1e-5)
    close(found["tower_pooled"], last[:, 5:].mean(1), 1e-5)


def test_a_tower_without_biases_takes_those_that_are_zero_and_no_others(towers, dinov3, tmp_path):
    _, file = dinov3
    folder = shutil.copytree(towers["dinov3"], tmp_path / "plain")
    record = json.loads((folder / "config.json").read_text())
    record["architecture"] = "vit_large_patch16_dinov3"
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(WeightsError, match=r"it has blocks\.0\.attn\.q_bias"):
        make(folder, weights=str(file))
    tensors = load_file(file)
    biases = [name for name in tensors if name.endswith(("q_proj.bias", "v_proj.bias"))]
    save_file({**tensors, **{n: torch.zeros(64) for n in biases}}, tmp_path / "zero.safetensors")
    assert len(biases) == 6 and make(folder, weights=str(tmp_path / "zero.safetensors"))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vit_pe_core_large_patch14_336", 316_102_656),
        ("vit_large_patch16_dinov3_qkvb", 303_128_576),
        ("vit_large_patch14_clip_quickgelu_224", 303_179_776),
    ],
)
def test_the_real_towers_have_as_many_parameters_as_those_published(name, parameters):
    """GenD's totals (yermandy/GenD at e03532d), less its head of 2,050 and DINOv3's mask token."""
    with torch.device("meta"):
        tower = timm.create_model(name, num_classes=0)
    assert sum(one.numel() for one in tower.parameters()) == parameters


def test_other_weights_are_another_feature_and_a_copy_is_the_same(towers, tmp_path):
    write_tiny_tower(tmp_path / "tuned", seed=1)
    own = make(towers["pe"]).fingerprint
    tuned = make(towers["pe"], weights=str(tmp_path / "tuned" / "model.safetensors"))
    assert tuned.fingerprint == make(tmp_path / "tuned").fingerprint != own
    assert tuned.origin == {"model": "pe", "weights": "model.safetensors", "local": "folder"}
    assert tuned.fingerprint == make(towers["pe"], weights=str(tmp_path / "tuned")).fingerprint


def test_the_hubs_cache_serves_a_named_tower(towers, tmp_path, monkeypatch):
    """By the name of its weights: origin and setting have them as the clip extractor does."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for repo in ("me/tower", "timm/vit_large_patch14_clip_224.openai"):
        place = tmp_path / f"models--{repo.replace('/', '--')}"
        shutil.copytree(towers["clip"], place / "snapshots" / ("0" * 40))
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("0" * 40)
    found = make("hf-hub:me/tower")
    assert found.fingerprint == make(towers["clip"]).fingerprint
    assert found.origin == {"model": "hf-hub:me/tower"}
    name = "vit_large_patch14_clip_quickgelu_224"
    for source in (find_tower(name, "openai"), find_tower(f"{name}.openai", None)):
        assert source.origin == {"model": name, "weights": "openai"} and source.size == 224
        assert source.file.parent.name == "0" * 40


def test_what_was_recorded_rebuilds_it_where_its_weights_are_named(towers, tmp_path):
    made = make(towers["dinov3"], layers=(0,), size=32)
    where = {"model": str(towers["dinov3"])}
    again = rebuild_extractor(made.fingerprint, made.origin, where, Runtime())
    assert again.fingerprint == made.fingerprint and again.fields == made.fields
    write_tiny_tower(tmp_path / "other", "dinov3", seed=1)
    with pytest.raises(InputError, match="weights found for tower"):
        where = {"model": str(tmp_path / "other")}
        rebuild_extractor(made.fingerprint, made.origin, where, Runtime())


def test_the_tiny_tower_carries_its_mark(towers):
    made = make(towers["pe"]).fingerprint
    assert made.settings["backbone"] == "tiny"
    assert rebuild_extractor(made, {}, {}, Runtime()).fingerprint == made


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "vit_pe_core_huge"}, "no model .*near it: vit_pe_core"),
        ({"model": "vit_large_patch16_dinov3.webli"}, "has: .*lvd1689m"),
        ({"model": "vit_large_patch16_dinov3"}, "not on this machine"),
        ({"model": "hf-hub:me/tower"}, "hf download me/tower"),
        ({"model": "vit_small_patch16_18x2_224"}, "no weights of"),
        ({"layers": (3,)}, "0 to 2"),
        ({"layers": ("last",)}, "0 to 2, not last"),
        ({"mean_std": "dino"}, "own, clip, imagenet, half"),
        ({"size": 60}, "multiple of the patch, 8"),
        ({"size": 0}, "multiple of the patch"),
        ({"weights": "nowhere.pt"}, "there is no weights file"),
        ({"model": "vit_large_patch16_dinov3", "weights": "webli"}, "no weights 'webli'"),
        ({"model": "vit_large_patch16_dinov3", "weights": "sat493m"}, "hf download .*sat493m"),
    ],
)
def test_unusable_settings_are_one_sentence(towers, settings, words):
    with pytest.raises(InputError, match=words) as raised:
        make(**{"model": towers["pe"], **settings})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"architecture": "vit_secret"}, "does not describe a model of timm"),
        ({"architecture": "test_resnet", "model_args": {}}, "can't build"),
        (
            {"architecture": "swin_tiny_patch4_window7_224", "model_args": {"embed_dim": 24}},
            "vision transformers",
        ),
        ({"model_args": {"num_heads": 0}}, "can't build"),
        ({"model_args": {"pretrained": True}}, "can't build"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "can't build"),
        ({"model_args": [1]}, "not of timm's form"),
        ({"pretrained_cfg": {"mean": "grey"}}, "the mean of"),
        ({"pretrained_cfg": {"input_size": [3, 64, -64]}}, "the input size of"),
    ],
)
def test_a_folder_that_describes_no_tower(towers, tmp_path, changed, words):
    folder = shutil.copytree(towers["pe"], tmp_path / "odd")
    record = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**record, **changed}))
    with pytest.raises(InputError, match=words) as raised:
        make(folder)
    assert "\n" not in str(raised.value)


def test_weights_that_do_not_fit_are_refused_by_their_names(towers, tmp_path):
    with pytest.raises(WeightsError, match=r"lacks attn_pool.*; it has .*ls1\.gamma"):
        make(towers["pe"], weights=str(towers["dinov2"]))
    tensors = load_file(towers["pe"] / "model.safetensors")
    save_file({**tensors, "head.weight": torch.zeros(2, 64)}, tmp_path / "whole.safetensors")
    assert load_tower(str(towers["pe"]), str(tmp_path / "whole.safetensors"), None)
    save_file({**tensors, "extra.weight": torch.zeros(2, 64)}, tmp_path / "more.safetensors")
    with pytest.raises(WeightsError, match=r"it has extra\.weight"):
        make(towers["pe"], weights=str(tmp_path / "more.safetensors"))
    cut = (towers["pe"] / "model.safetensors").read_bytes()[:-100]
    (tmp_path / "cut.safetensors").write_bytes(cut)
    with pytest.raises(WeightsError, match="can't be read as weights"):
        make(towers["pe"], weights=str(tmp_path / "cut.safetensors"))
