"""Stable Diffusion in one file: the same values as in folders, or named for what it is."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from clare.errors import InputError, WeightsError
from clare.models.runtime import Runtime
from clare.pipeline.models.diffusion_files import find_diffusion
from clare.pipeline.models.diffusion_parts import _check_config, build_part
from clare.pipeline.models.diffusion_single import KNOWN
from clare.pipeline.models.stable_diffusion import load_diffusion

PROMPT = "a photo of a face"

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(name, layers=1):
    """The makers' name of a tensor of the UNet, for blocks of one layer."""
    for own, theirs in ENDS.items():
        if name.startswith(f"{own}."):
            return name.replace(own, theirs, 1)
    where, number, kind, index, rest = name.split(".", 4)
    if where == "mid_block":
        kind, index, rest = number, kind, f"{index}.{rest}"
        place = f"middle_block.{2 * int(index) if kind == 'resnets' else 1}"
    else:
        down = where == "down_blocks"
        first = int(number) * (layers + 1)
        last = {
            "resnets": 0,
            "attentions": 1,
            "downsamplers": 0,
            "upsamplers": 2 * int(number) or 1,
        }
        if kind in ("downsamplers", "upsamplers"):
            block = first + layers + (1 if down else 0)
        else:
            block = first + int(index) + (1 if down else 0)
        place = f"{'input' if down else 'output'}_blocks.{block}.{last[kind]}"
    if kind == "resnets":
        inner, _, ending = rest.rpartition(".")
        rest = f"{RESNET[inner]}.{ending}"
    return f"{place}.{rest.replace('conv.', 'op.') if kind == 'downsamplers' else rest}"


def vae_name(name, levels=4):
    for own, theirs in {
        "conv_norm_out": "norm_out",
        "conv_shortcut": "nin_shortcut",
        "mid_block.resnets.0": "mid.block_1",
        "mid_block.resnets.1": "mid.block_2",
        "mid_block.attentions.0": "mid.attn_1",
        "downsamplers.0": "downsample",
        "upsamplers.0": "upsample",
        ".resnets.": ".block.",
        "down_blocks": "down",
    }.items():
        name = name.replace(own, theirs)
    for level in range(levels):
        name = name.replace(f"up_blocks.{level}.", f"up.{levels - 1 - level}.")
    if ".attn_1." in name:
        for own, theirs in ATTENTION.items():
            name = name.replace(f".{own}.", f".{theirs}.")
    return name


def open_clip_text(tensors):
    """A text encoder of transformers under open_clip's names."""
    inner = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    found = {}
    for name, value in tensors.items():
        if "q_proj" in name:
            parts = [tensors[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            layer, ending = name.split(".")[2], name.rpartition(".")[2]
            found[f"transformer.resblocks.{layer}.attn.in_proj_{ending}"] = torch.cat(parts)
        elif name.startswith("encoder.layers.") and "_proj." not in name.replace("out_proj", ""):
            name = name.replace("encoder.layers", "transformer.resblocks")
            for own, theirs in inner.items():
                name = name.replace(own, theirs)
            found[name] = value
        elif name.startswith("embeddings.token"):
            found["token_embedding.weight"] = value
        elif name.startswith("embeddings.position"):
            found["positional_embedding"] = value
        elif name.startswith("final"):
            found[name.replace("final_layer_norm", "ln_final")] = value
    found["logit_scale"] = torch.tensor(1.0)
    return found


def write_single(folder, file, version=2):
    """All parts of a folder in one file, under the makers' names; the tensors."""
    stem = "diffusion_pytorch_model.safetensors"
    unet, vae = load_file(folder / "unet" / stem), load_file(folder / "vae" / stem)
    text = load_file(folder / "text_encoder/model.safetensors")
    whole = {f"model.diffusion_model.{unet_name(name)}": value for name, value in unet.items()}
    for name, value in vae.items():
        own = vae_name(name)
        convolved = ".attn_1." in own and value.ndim == 2
        whole[f"first_stage_model.{own}"] = value[:, :, None, None] if convolved else value
    if version == 2:
        prefix, text = "cond_stage_model.model.", open_clip_text(text)
    else:
        prefix = "cond_stage_model.transformer.text_model."
        text["embeddings.position_ids"] = torch.arange(77)[None]
    whole |= {f"{prefix}{name}": value for name, value in text.items()}
    whole["betas"] = torch.zeros(1000)
    save_file({name: value.contiguous() for name, value in whole.items()}, file)
    return whole


def load(model, config=None):
    return load_diffusion(str(model), None, PROMPT, Runtime(), config and str(config))


@pytest.mark.parametrize("version", [1, 2])
def test_a_single_file_gives_the_values_of_the_folder(diffusion_folders, tmp_path, version):
    folder = diffusion_folders["epsilon"]
    write_single(folder, tmp_path / "whole.safetensors", version)
    found, kept = load(tmp_path / "whole.safetensors", folder), load(folder)
    for part in ("unet", "vae"):
        one, other = getattr(found, part).state_dict(), getattr(kept, part).state_dict()
        assert set(one) == set(other)
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(found.text, kept.text)
    assert found.config == kept.config and found.weights != kept.weights
    assert found.origin == {"model": "whole.safetensors"}


def test_a_pickle_of_bare_weights_serves_too(diffusion_folders, tmp_path):
    folder = diffusion_folders["epsilon"]
    whole = write_single(folder, tmp_path / "whole.safetensors")
    torch.save({"state_dict": whole, "global_step": 3}, tmp_path / "whole.ckpt")
    assert torch.equal(load(tmp_path / "whole.ckpt", folder).text, load(folder).text)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda name: "middle_block.1" not in name,
        lambda name: "quant_conv" not in name,
        lambda name: "resblocks.1.mlp.c_fc.bias" not in name,
        lambda name: not name.startswith("first_stage_model."),
        lambda name: not name.endswith("encoder.mid.attn_1.q.weight"),
    ],
)
def test_what_a_single_file_lacks_is_refused(diffusion_folders, tmp_path, spoil):
    file = tmp_path / "whole.safetensors"
    whole = write_single(diffusion_folders["epsilon"], file)
    save_file({n: v.contiguous() for n, v in whole.items() if spoil(n)}, file)
    with pytest.raises(WeightsError) as raised:
        load(file, diffusion_folders["epsilon"])
    assert "\n" not in str(raised.value) and str(file) in str(raised.value)


def test_what_a_single_file_has_too_much_is_refused(diffusion_folders, tmp_path):
    file = tmp_path / "whole.safetensors"
    whole = write_single(diffusion_folders["epsilon"], file)
    for name in ("model.diffusion_model.input_blocks.9.7.x", "first_stage_model.loss.x"):
        save_file({**{n: v.contiguous() for n, v in whole.items()}, name: torch.ones(1)}, file)
        with pytest.raises(WeightsError):
            load(file, diffusion_folders["epsilon"])


def test_which_model_it_is_is_never_guessed(diffusion_folders, tmp_path):
    file = tmp_path / "whole.safetensors"
    write_single(diffusion_folders["epsilon"], file)
    with pytest.raises(InputError, match="does not say whether it predicts noise") as raised:
        load(file)
    assert "sd2.1-base" in str(raised.value) and "predict v" in str(raised.value)
    write_single(diffusion_folders["epsilon"], file, 1)
    found = find_diffusion(str(file), None, None)
    assert found.configs is KNOWN["sd1.5"]
    assert found.origin == {"model": "whole.safetensors", "model_config": "sd1.5"}
    with pytest.raises(WeightsError, match=r"conv_in.weight is float32 \(16, 4, 3, 3\) instead of"):
        build_part(
            "unet",
            {**KNOWN["sd1.5"]["unet"], "block_out_channels": [32] * 4},
            found.read("unet"),
            "x",
        )
    with pytest.raises(InputError, match="neither a folder nor one of"):
        load(file, "sd9")
    with pytest.raises(InputError, match="is no single file"):
        load(diffusion_folders["epsilon"], "sd1.5")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("conditioner.embedders.0.x", "Stable Diffusion XL"),
        ("double_blocks.0.x", "Flux"),
        ("lora_unet_x", "a LoRA"),
        ("down_blocks.0.x", "one part of a model"),
        ("weight", "something else"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, name, kind):
    save_file({name: torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=f"is {kind}"):
        load(tmp_path / "x.safetensors")


def test_a_folder_that_holds_only_such_a_file_leads_to_it(diffusion_folders, tmp_path):
    write_single(diffusion_folders["epsilon"], tmp_path / "whole.safetensors")
    with pytest.raises(WeightsError, match=r"whole\.safetensors.*takes the file in it"):
        load(tmp_path)


@pytest.mark.parametrize("name", KNOWN)
def test_known_configurations_are_whole_and_of_their_size(name):
    import diffusers
    import transformers

    configs = KNOWN[name]
    for part, config in configs.items():
        _check_config(part, config, name)
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel.from_config(configs["unet"])
        vae = diffusers.AutoencoderKL.from_config(configs["vae"])
        text = transformers.CLIPTextModel(transformers.CLIPTextConfig(**configs["text_encoder"]))
    millions = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (unet, vae, text)]
    # As the models' cards and papers say.
    published = [860, 84, 123] if name == "sd1.5" else [866, 84, 340]
    assert millions == pytest.approx(published, abs=1)


def test_prompts_are_tokenised_as_by_a_folder(diffusion_folders, tmp_path):
    write_single(diffusion_folders["epsilon"], tmp_path / "whole.safetensors", 1)
    found = find_diffusion(str(tmp_path / "whole.safetensors"), None, "sd2.1-base")
    tokens = found.tokenize(PROMPT, 77)
    # Ids of CLIP's published vocabulary; version 2 fills up with the exclamation mark.
    assert tokens == [49406, 320, 1125, 539, 320, 1710, 49407, *[0] * 70]
    one = find_diffusion(str(tmp_path / "whole.safetensors"), None, None)
    assert one.tokenize(PROMPT, 77)[7:] == [49407] * 70


def test_a_run_may_name_the_file_anew(diffusion_folders, tmp_path):
    from clare.pipeline.extractors import create_extractor
    from clare.pipeline.images.settings import ImageSettings

    folder, file = diffusion_folders["epsilon"], tmp_path / "whole.safetensors"
    write_single(folder, file)
    moved = shutil.copy(file, tmp_path / "moved.safetensors")
    settings = {"size": 64, "draws": 1, "model_config": str(folder)}
    one, other = (
        create_extractor("lare", {**settings, "model": str(place)}, ImageSettings(), Runtime())
        for place in (file, moved)
    )
    assert one.fingerprint == other.fingerprint
    assert "model_config" not in json.dumps(one.fingerprint.settings)
