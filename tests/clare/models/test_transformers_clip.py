"""CLIP in transformers' format against transformers' own reading of it."""

import json
import shutil
from typing import Any

import open_clip
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from clare.errors import InputError, WeightsError
from clare.models.clip import load_clip

TEXTS = ["a real face", "", "a synthetic face, 100 %"]


def make(folder, *, act="quick_gelu", eps=1e-5, ratio=4, end=49407, words=49408, seed=3):
    """A small model whose every tensor is random, in a folder; the model."""
    tower = {"hidden_act": act, "layer_norm_eps": eps, "projection_dim": 24}
    text = {
        "hidden_size": 32,
        "intermediate_size": 32 * ratio,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": words,
        "eos_token_id": end,
        **tower,
    }
    vision = {
        "hidden_size": 48,
        "intermediate_size": 48 * ratio,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 32,
        "patch_size": 8,
        **tower,
    }
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.CLIPModel(config).eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("transformers")
    kinds: dict[str, dict[str, Any]] = {
        "openai": {},
        "laion": {"act": "gelu", "eps": 1e-3, "ratio": 3},
        "old end": {"end": 2},
    }
    return {name: (root / name, make(root / name, **kind)) for name, kind in kinds.items()}


def load(model, weights=None):
    return load_clip(str(model), weights, "auto", None)


@pytest.mark.parametrize("name", ["openai", "laion", "old end"])
def test_both_towers_give_the_same_vectors(models, name):
    folder, theirs = models[name]
    ours = load(folder)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = open_clip.tokenize(TEXTS)
    facts = json.loads(ours.text_metadata["text_tower"])
    text = open_clip.transformer.TextTransformer(
        context_length=77,
        width=32,
        heads=2,
        layers=2,
        mlp_ratio=facts["text_config"]["mlp_ratio"],
        output_dim=24,
        act_layer=open_clip.transformer.QuickGELU if ours.quick_gelu else torch.nn.GELU,
        norm_layer=lambda width: torch.nn.LayerNorm(
            width, eps=facts["text_config"].get("norm_kwargs", {}).get("eps", 1e-5)
        ),
    ).eval()
    text.load_state_dict({n: v for n, v in ours.text.items() if n != "logit_scale"})
    with torch.no_grad():
        found = ours.visual(images), text(tokens)
        seen = theirs.vision_model(pixel_values=images).pooler_output
        read = theirs.text_model(input_ids=tokens).pooler_output
        expected = theirs.visual_projection(seen), theirs.text_projection(read)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert ours.quick_gelu == (name != "laion")
    assert torch.equal(ours.text["logit_scale"], theirs.logit_scale)


def test_the_stored_text_tower_is_that_of_the_model(models, tmp_path):
    from clare.heads.text.tower import TextTower

    folder, theirs = models["laion"]
    ours = load(folder)
    save_file(ours.text, tmp_path / "text_tower.safetensors", ours.text_metadata)
    found = TextTower.load(tmp_path / "text_tower.safetensors").encode_text(TEXTS)
    with torch.no_grad():
        read = theirs.text_model(input_ids=open_clip.tokenize(TEXTS)).pooler_output
    torch.testing.assert_close(found, theirs.text_projection(read), rtol=1e-4, atol=1e-5)


def test_what_a_folder_says_of_its_images_counts(models, tmp_path):
    folder = shutil.copytree(models["openai"][0], tmp_path / "model")
    assert load(folder).mean == open_clip.OPENAI_DATASET_MEAN
    images = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    assert load(folder).mean == (0.5, 0.5, 0.5) and load(folder).std == (0.25, 0.25, 0.25)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": "grey"}))
    with pytest.raises(InputError, match="can't be grey"):
        load(folder)


def test_a_vocabulary_of_its_own_is_known_by_its_file(tmp_path, monkeypatch):
    make(tmp_path / "one", words=300, end=299)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    asked = []
    monkeypatch.setattr("clare.models.clip_files.fetch", lambda *given: asked.append(given))
    one, other = load(tmp_path / "one"), load(tmp_path / "other")
    assert one.text_metadata == other.text_metadata and one.tokenizer is None and not asked
    (tmp_path / "one" / "tokenizer.json").write_text("{}")
    assert load(tmp_path / "one").tokenizer == b"{}"


def test_shards_and_former_names(models, tmp_path):
    folder = shutil.copytree(models["openai"][0], tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    tensors["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    halves = {f"model-0000{n + 1}-of-00002.safetensors": sorted(tensors)[n::2] for n in (0, 1)}
    for name, half in halves.items():
        save_file({one: tensors[one] for one in half}, folder / name)
    index = {"weight_map": {one: name for name, half in halves.items() for one in half}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found, kept = load(folder).visual.state_dict(), load(models["openai"][0]).visual.state_dict()
    assert all(torch.equal(found[name], value) for name, value in kept.items())
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model-00002-of-00002.safetensors, which .* names"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "siglip"}, "configuration of siglip"),
        ({"model_type": None}, "configuration of something else"),
        ({"vision_config": 3}, "can't be used"),
    ],
)
def test_other_models_are_named_for_what_they_are(models, tmp_path, change, words):
    folder = shutil.copytree(models["openai"][0], tmp_path / "model")
    record = {**json.loads((folder / "config.json").read_text()), **change}
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=words) as raised:
        load(folder)
    assert "\n" not in str(raised.value) and str(folder) in str(raised.value)


def test_one_tower_alone_is_refused(models, tmp_path):
    folder = shutil.copytree(models["openai"][0], tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if name.startswith("vision_model.")}
    save_file(kept, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lacks .*logit_scale"):
        load(folder)
    part = {name: value for name, value in tensors.items() if "1.self_attn.v_proj" not in name}
    save_file(part, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="in_proj_weight is float32"):
        load(folder)
