"""CLIP's fields against open_clip's own reading of the same weights."""

import json
import shutil
import warnings

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clare.errors import InputError, WeightsError
from clare.models.runtime import Runtime
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.settings import ImageSettings

MEAN, STD = np.array(open_clip.OPENAI_DATASET_MEAN), np.array(open_clip.OPENAI_DATASET_STD)


def make(model, runtime=None, **settings):
    return create_extractor(
        "clip", {"model": str(model), **settings}, ImageSettings(), runtime or Runtime()
    )


def plain_model(folder):
    """The whole model by open_clip's classes, without any of our code."""
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    cls = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    model = cls(**config).eval()
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    return model


def normalised(images, size, mean=MEAN, std=STD):
    pixels = np.stack([image.pixels(size) for image in images]) / 255.0
    return torch.from_numpy((pixels - mean) / std).permute(0, 3, 1, 2).float()


def watch(module, images, model):
    """What `encode_image` passes out of, or into, one module on its way."""
    seen: dict[str, torch.Tensor] = {}
    hook = module.register_forward_hook(
        lambda _, inputs, output: seen.update(into=inputs[0], out=output)
    )
    with torch.no_grad():
        features = model.encode_image(images)
    hook.remove()
    return seen["into"].numpy(), seen["out"].numpy(), features.numpy()


def close(found, expected, tolerance=2e-3):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_vit_fields_are_those_of_encode_image(clip_folders, prepare_images, run):
    images, plain = prepare_images(3), plain_model(clip_folders["vit"])
    extractor = make(clip_folders["vit"])
    found = run(extractor, images)
    before, after, features = watch(plain.visual.ln_post, normalised(images, 64), plain)
    assert {f: v.shape[1:] for f, v in found.items()} == {
        "clip_cls": (32,),
        "clip_cls_pre": (64,),
        "clip_tokens": (64, 64),
    }
    close(found["clip_cls"], features, 1e-4)
    close(found["clip_cls_pre"], after[:, 0], 1e-4)
    close(found["clip_tokens"], before[:, 1:])
    assert np.abs(found["clip_tokens"] - after[:, 1:]).max() > 0.1  # before ln_post, not after
    assert not np.allclose(np.linalg.norm(found["clip_cls"], axis=-1), 1)
    close(found["clip_cls_pre"] @ plain.visual.proj.detach().numpy(), found["clip_cls"], 1e-5)


def test_layers_are_the_residual_stream_after_each_block(clip_folders, prepare_images, run):
    images, plain = prepare_images(2), plain_model(clip_folders["vit"])
    extractor = make(clip_folders["vit"], layers=[2, 0, 0])
    found = run(extractor, images)
    assert list(found) == [
        "clip_cls",
        "clip_cls_pre",
        "clip_tokens",
        "clip_tokens_0",
        "clip_tokens_2",
    ]
    blocks = plain.visual.transformer.resblocks
    into_second, _, _ = watch(blocks[1], normalised(images, 64), plain)
    close(found["clip_tokens_0"], into_second[:, 1:])
    assert np.array_equal(found["clip_tokens_2"], found["clip_tokens"])
    same = make(clip_folders["vit"], layers="0,2").fingerprint
    assert extractor.fingerprint == same != make(clip_folders["vit"]).fingerprint


def test_resnet_tokens_are_layer3(clip_folders, prepare_images, run):
    images, plain = prepare_images(2), plain_model(clip_folders["rn50"])
    found = run(make(clip_folders["rn50"], layers=("layer4", 1)), images)
    assert list(found) == ["clip_cls", "clip_tokens", "clip_tokens_layer1", "clip_tokens_layer4"]
    pixels = normalised(images, 64)
    for name, field in (("layer3", "clip_tokens"), ("layer1", "clip_tokens_layer1")):
        _, maps, features = watch(getattr(plain.visual, name), pixels, plain)
        close(found[field], maps.reshape(*maps.shape[:2], -1).swapaxes(1, 2))
        close(found["clip_cls"], features, 1e-4)
    assert found["clip_tokens"].shape == (2, 16, 128)
    assert found["clip_tokens_layer4"].shape == (2, 4, 256)


def test_the_real_rn50_has_196_tokens_of_1024():
    config = open_clip.get_model_config("RN50")
    vision = open_clip.CLIPVisionCfg(**config["vision_cfg"])
    assert (vision.image_size // 16) ** 2 == 196 and vision.width * 16 == 1024


def test_timm_tower(clip_folders, prepare_images, run):
    images, plain = prepare_images(2), plain_model(clip_folders["timm"])
    found = run(make(clip_folders["timm"], layers=(1,)), images)
    pixels = normalised(images, 160)
    before, _, features = watch(plain.visual.trunk.norm, pixels, plain)
    pre, _, _ = watch(plain.visual.head, pixels, plain)
    close(found["clip_cls"], features, 1e-4)
    close(found["clip_cls_pre"], pre, 1e-4)
    close(found["clip_tokens"], before[:, -100:])
    assert found["clip_tokens_1"].shape == (2, 100, 64)


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [("half", 0.5, 0.5), ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))],
)
def test_mean_and_std(clip_folders, prepare_images, run, name, mean, std):
    images, plain = prepare_images(2), plain_model(clip_folders["vit"])
    other = make(clip_folders["vit"], mean_std=name)
    with torch.no_grad():
        expected = plain.encode_image(normalised(images, 64, mean, std)).numpy()
    close(run(other, images)["clip_cls"], expected, 1e-4)
    assert other.fingerprint != make(clip_folders["vit"]).fingerprint


def test_the_models_own_mean_and_std_are_the_default(clip_folders, prepare_images, run, tmp_path):
    folder = shutil.copytree(clip_folders["vit"], tmp_path / "own")
    record = json.loads((folder / "open_clip_config.json").read_text())
    record["preprocess_cfg"] = {"mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps(record))
    images = prepare_images(2)
    expected = run(make(clip_folders["vit"], mean_std="half"), images)["clip_cls"]
    assert np.array_equal(run(make(folder), images)["clip_cls"], expected)
    assert make(folder).fingerprint != make(clip_folders["vit"]).fingerprint


def test_another_size_moves_the_position_embedding(clip_folders, prepare_images, run):
    found = run(make(clip_folders["vit"], size=32), prepare_images(1))
    assert found["clip_tokens"].shape == (1, 16, 64)
    found = run(make(clip_folders["timm"], size=128), prepare_images(1))
    assert found["clip_tokens"].shape == (1, 64, 64)
    own = make(clip_folders["vit"], size=64).fingerprint
    assert own == make(clip_folders["vit"]).fingerprint  # the tower's own, said aloud


@pytest.mark.parametrize("kind", ["vit", "rn50", "timm"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lower_precision_stays_near(clip_folders, prepare_images, run, kind, dtype):
    images = prepare_images(2)
    full = run(make(clip_folders[kind]), images)
    low = run(make(clip_folders[kind], Runtime(dtype=dtype)), images)
    for field, values in full.items():
        assert low[field].dtype == values.dtype
        error = np.linalg.norm(low[field].astype(np.float64) - values) / np.linalg.norm(
            values.astype(np.float64)
        )
        assert error < 0.05, field


@pytest.mark.parametrize("kind", ["vit", "timm"])
def test_text_tower_asset_rebuilds_the_text_features(clip_folders, tmp_path, kind):
    tower = tmp_path / "text_tower.safetensors"
    tower.write_bytes(make(clip_folders[kind], Runtime(dtype="bfloat16")).assets()[tower.name])
    with safe_open(tower, "pt") as file:
        facts = json.loads(file.metadata()["text_tower"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = open_clip.CustomTextCLIP(
        facts["embed_dim"],
        {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1},
        facts["text_config"],
        quick_gelu=facts["quick_gelu"],
    ).eval()
    plain = plain_model(clip_folders[kind])
    assert tensors.pop("logit_scale") == plain.logit_scale
    model.text.load_state_dict(tensors)
    assert facts["tokenizer"] == "SimpleTokenizer"
    tokens = open_clip.SimpleTokenizer(context_length=facts["context_length"])(
        ["a photo of a face", "a drawing"]
    )
    with torch.no_grad():
        assert torch.equal(model.text(tokens), plain.encode_text(tokens))


@pytest.fixture(scope="module")
def named_weights(tmp_path_factory):
    """Weights of a model that open_clip knows by name, cut down so that it is quick to build."""
    folder = tmp_path_factory.mktemp("named")
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1},
        "text_cfg": {"width": 32, "heads": 2, "layers": 1},
    }
    for name in ("ViT-B-32", "ViT-B-32-quickgelu", "ViT-S-16", "ViT-L-14", "PE-Core-L-14-336"):
        gelu = {"quick_gelu": True} if name.endswith("quickgelu") else {}
        (folder / f"{name}.json").write_text(json.dumps({**config, **gelu}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(**config)
    save_file(dict(model.state_dict()), folder / "mine.safetensors")
    return folder


@pytest.fixture
def small_zoo(named_weights, monkeypatch):
    """open_clip, knowing some of its models in a small version."""
    configs = {p.stem: json.loads(p.read_text()) for p in named_weights.glob("*.json")}
    known = open_clip.get_model_config
    monkeypatch.setattr(
        open_clip, "get_model_config", lambda name: configs.get(name) or known(name)
    )
    return named_weights / "mine.safetensors"


def activation(extractor):
    return extractor.fingerprint.settings["quick_gelu"]


def test_openai_weights_in_a_file_mean_quickgelu(small_zoo, tmp_path):
    with pytest.raises(InputError, match="quick_gelu"):
        make("ViT-B/32", weights=str(small_zoo))  # it may be OpenAI's, or not: never guessed
    assert activation(make("ViT-B/32", weights=str(small_zoo), quick_gelu="true")) is True
    assert activation(make("ViT-B-32", weights=str(small_zoo), quick_gelu="false")) is False
    assert activation(make("ViT-B-32-quickgelu", weights=str(small_zoo))) is True
    assert activation(make("ViT-S-16", weights=str(small_zoo))) is False  # none of OpenAI's
    named = tmp_path / "vit_base_patch32_clip_224.openai" / "open_clip_model.safetensors"
    named.parent.mkdir()
    shutil.copy(small_zoo, named)
    assert activation(make("ViT-B-32", weights=str(named))) is True
    assert activation(make("ViT-B-32", weights=str(named.parent))) is True


def test_openais_own_torchscript_file(small_zoo, prepare_images, run, tmp_path):
    class Holder(torch.nn.Module):
        def __init__(self, state):
            super().__init__()
            self.logit_scale = torch.nn.Parameter(state["logit_scale"])
            for name in ("input_resolution", "context_length", "vocab_size"):
                self.register_buffer(name, torch.tensor(1))
            for name, value in state.items():
                owner = self
                *path, last = name.split(".")
                for part in path:
                    if not hasattr(owner, part):
                        owner.add_module(part, torch.nn.Module())
                    owner = getattr(owner, part)
                owner.register_parameter(last, torch.nn.Parameter(value))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch no longer likes its own older format
        torch.jit.script(Holder(load_file(small_zoo))).save(str(tmp_path / "ViT-B-32.pt"))
    script = make("ViT-B-32", weights=str(tmp_path / "ViT-B-32.pt"))
    plain = make("ViT-B-32", weights=str(small_zoo), quick_gelu="true")
    assert activation(script) is True
    images = prepare_images(1)
    assert np.array_equal(run(script, images)["clip_cls"], run(plain, images)["clip_cls"])


def test_a_weights_file_is_normalised_as_its_models_known_weights(small_zoo, prepare_images, run):
    """PE's are all trained with 0.5; of ViT-L-14 some are, and nothing says which are these."""
    images, file = prepare_images(1), str(small_zoo)
    own, half = (
        run(make("PE-Core-L-14-336", weights=file, **given), images)["clip_cls"]
        for given in ({}, {"mean_std": "half"})
    )
    openai = run(make("ViT-B-32", weights=file, quick_gelu="false"), images)["clip_cls"]
    assert np.array_equal(own, half) and np.abs(own - openai).max() > 1e-3
    with pytest.raises(InputError, match=r"mine\.safetensors does not say what its images"):
        make("ViT-L-14", weights=file, quick_gelu="false")
    made = make("ViT-L-14", weights=file, quick_gelu="false", mean_std="half")
    assert np.array_equal(run(made, images)["clip_cls"], half)
    assert np.array_equal(
        run(make("ViT-L-14", weights=file, quick_gelu="true"), images)["clip_cls"],
        run(make("ViT-B-32", weights=file, quick_gelu="true"), images)["clip_cls"],
    )


def test_a_file_named_like_a_tag_is_never_the_tag(small_zoo, tmp_path, monkeypatch):
    (tmp_path / "openai").mkdir()
    shutil.copy(small_zoo, tmp_path / "openai" / "open_clip_model.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    for weights in ("openai", None):
        with pytest.raises(WeightsError, match="not on this machine"):
            make("ViT-B-32", weights=weights)
    with_path = make("ViT-B-32", weights="./openai", quick_gelu="true")
    assert with_path.origin["local"] == "file"


def test_quickgelu_changes_the_values(small_zoo, prepare_images, run):
    images = prepare_images(1)
    quick, plain = (
        run(make("ViT-B-32", weights=str(small_zoo), quick_gelu=q), images)["clip_cls"]
        for q in ("true", "false")
    )
    assert np.abs(quick - plain).max() > 1e-4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "ViT-L-15"}, "ViT-L-14"),
        ({"weights": "laion9b"}, "openai"),
        ({"model": "coca_ViT-B-32", "weights": "laion2b_s13b_b90k"}, "not on this machine"),
        ({"layers": (24,)}, "0 to 2"),
        ({"layers": ("layer3",)}, "0 to 2"),
        ({"layers": (1.5,)}, "whole number"),
        ({"mean_std": "dino"}, "clip, half, imagenet"),
        ({"quick_gelu": "maybe"}, "true or false or one of auto"),
        ({"size": 63}, "multiple of the patch, 8"),
        ({"size": 0}, "multiple of the patch"),
        ({"size": "wide"}, "whole number or nothing"),
    ],
)
def test_unusable_settings_are_one_sentence(clip_folders, settings, words):
    if not {"model", "weights"} & set(settings):
        settings = {"model": str(clip_folders["vit"]), **settings}
    with pytest.raises(InputError, match=words) as raised:
        create_extractor("clip", settings, ImageSettings(), Runtime())
    assert "\n" not in str(raised.value)


def test_what_a_resnet_can_not_do(clip_folders):
    with pytest.raises(InputError, match="layer1, layer2"):
        make(clip_folders["rn50"], layers=(5,))
    with pytest.raises(InputError, match="its own size only, 64"):
        make(clip_folders["rn50"], size=96)


def test_weights_of_another_model_are_refused(clip_folders, tmp_path):
    folder = shutil.copytree(clip_folders["vit"], tmp_path / "mixed")
    shutil.copy(clip_folders["rn50"] / "open_clip_model.safetensors", folder)
    with pytest.raises(WeightsError, match=r"lacks .* and \d+ more; it has visual.attnpool"):
        make(folder)


def test_a_truncated_file_is_refused(clip_folders, tmp_path):
    folder = shutil.copytree(clip_folders["vit"], tmp_path / "cut")
    file = folder / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="can't be read as weights"):
        make(folder)


def test_a_pickle_that_is_not_only_weights_is_never_run(clip_folders, tmp_path):
    folder = shutil.copytree(clip_folders["vit"], tmp_path / "bad")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": Trap(tmp_path / "sprung")}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(WeightsError, match="code, which is never run"):
        make(folder)
    assert not (tmp_path / "sprung").exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))
