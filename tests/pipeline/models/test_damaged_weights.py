"""Weights that do not fit their model: refused in one sentence, or the very same values."""

import json
import shutil
import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from clare.errors import InputError, WeightsError
from clare.models.clip import load_clip
from clare.models.mini import WEIGHTS
from clare.models.runtime import Runtime
from clare.models.weights import fill, read_tensors
from clare.pipeline.models.diffusion_parts import build_part
from clare.pipeline.models.stable_diffusion import load_diffusion

PARTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


def load(folder):
    return load_diffusion(str(folder), None, "a photo of a face", Runtime())


def refusal(folder):
    with pytest.raises(InputError) as raised:
        load(folder)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 1200
    return str(raised.value)


@pytest.fixture
def model(diffusion_folders, tmp_path):
    """A copy of a tiny diffusion model that a test may spoil."""
    return shutil.copytree(diffusion_folders["epsilon"], tmp_path / "model")


def weights_of(folder, part):
    return folder / part / f"{PARTS[part]}.safetensors"


def edit(folder, part, change):
    file = weights_of(folder, part)
    save_file(change(load_file(file)), file, {"format": "pt"})


@st.composite
def changes(draw):
    """One change of one tensor: from all tensors, and the place of one, to other tensors."""
    way = draw(
        st.sampled_from(["delete", "rename", "cut", "reshape", "grow", "whole numbers", "swap"])
    )
    word = draw(st.sampled_from(["module.", "text_model.", "x", "model.diffusion_model."]))
    where = draw(st.integers(0, 10_000))

    def change(tensors):
        names = sorted(tensors)
        name = names[where % len(names)]
        other = names[(where // 7) % len(names)]
        value = tensors.pop(name)
        if way == "rename":
            tensors[word + name] = value
        elif way == "cut":
            tensors[name] = value[: len(value) // 2].clone() if value.ndim else value[None]
        elif way == "reshape":
            tensors[name] = value.flatten()[None]
        elif way == "grow":
            tensors[name], tensors[word + name] = value, value.clone()
        elif way == "whole numbers":
            tensors[name] = value.int()
        elif way == "swap" and name != other:
            tensors[name], tensors[other] = tensors[other], value
        return tensors

    return change


def swapped(changed, original):
    """Whether tensors of one shape stand in each other's place: other weights, and no misfit."""
    kinds = [{n: (v.shape, v.dtype) for n, v in each.items()} for each in (changed, original)]
    return kinds[0] == kinds[1] and not equal(changed, original)


def equal(one, other):
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(change=changes(), part=st.sampled_from(sorted(PARTS)), own=st.booleans())
def test_parts_of_diffusion_are_refused_or_unchanged(
    diffusion_folders, tmp_path, change, part, own
):
    folder = WEIGHTS / "diffusion" if own else diffusion_folders["epsilon"]
    config = json.loads((folder / part / "config.json").read_text())
    file = weights_of(folder, part)
    changed = change(load_file(file))
    save_file(changed, tmp_path / "changed.safetensors", {"format": "pt"})
    try:
        tensors = read_tensors(tmp_path / "changed.safetensors")
        found = build_part(part, config, tensors, "a model").state_dict()
    except WeightsError as error:
        assert "\n" not in str(error)
        return
    if not swapped(changed, load_file(file)):
        kept = build_part(part, config, read_tensors(file), "a model").state_dict()
        assert equal(found, kept)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(change=changes(), kind=st.sampled_from(["vit", "rn50", "timm", "mini"]))
def test_towers_of_clip_are_refused_or_unchanged(clip_folders, tmp_path, change, kind):
    folder = WEIGHTS / "clip" if kind == "mini" else clip_folders[kind]
    spoilt = tmp_path / "spoilt"
    shutil.copytree(folder, spoilt, dirs_exist_ok=True)
    file = spoilt / "open_clip_model.safetensors"
    original = load_file(file)
    changed = change(dict(original))
    save_file(changed, file)
    try:
        found = load_clip(str(spoilt), None, "auto", None)
    except WeightsError as error:
        assert "\n" not in str(error)
        return
    if not swapped(changed, original):
        kept = load_clip(str(folder), None, "auto", None)
        assert equal(*({**one.visual.state_dict(), **one.text} for one in (found, kept)))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[: len(data) // 2], "can't be read as weights"),
        (lambda data: data[:100], "can't be read as weights"),
        (lambda data: b"", "is empty"),
        (
            lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "Git-LFS pointer",
        ),
        (lambda data: b"<!DOCTYPE html><html>not found</html>", "web page"),
        (lambda data: b"\xff" * 4096, "can't be read as weights"),
    ],
)
def test_files_that_are_no_weights(model, part, spoil, words):
    file = weights_of(model, part)
    file.write_bytes(spoil(file.read_bytes()))
    said = refusal(model)
    assert words in said and f"{part}/{file.name}" in said


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("unet", lambda n: "mid_block" not in n, "the unet of .* lacks mid_block"),
        ("vae", lambda n: "quant_conv" not in n, "the vae of .* lacks post_quant_conv"),
        ("vae", lambda n: not n.startswith("encoder."), r"lacks encoder.* and \d+ more"),
        ("text_encoder", lambda n: "final" not in n, "the text_encoder of .* lacks final_layer"),
    ],
)
def test_missing_blocks_are_named_and_counted(model, part, change, words):
    edit(model, part, lambda tensors: {n: v for n, v in tensors.items() if change(n)})
    with pytest.raises(WeightsError, match=words):
        load(model)


@pytest.mark.parametrize("shards", ["whole", "missing", "elsewhere", "no index"])
def test_shards(model, diffusion_folders, shards):
    file = weights_of(model, "unet")
    tensors, stem = load_file(file), "diffusion_pytorch_model"
    file.unlink()
    halves = sorted(tensors)[::2], sorted(tensors)[1::2]
    names = [f"{stem}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for half, name in zip(halves, names, strict=True):
        save_file({n: tensors[n] for n in half}, file.with_name(name), {"format": "pt"})
    index = {"weight_map": {n: name for h, name in zip(halves, names, strict=True) for n in h}}
    if shards == "missing":
        file.with_name(names[1]).unlink()
    if shards == "elsewhere":
        index["weight_map"][halves[0][0]] = "../vae/diffusion_pytorch_model.safetensors"
    text = "{" if shards == "no index" else json.dumps(index)
    file.with_name(f"{stem}.safetensors.index.json").write_text(text)
    if shards == "whole":
        kept = load(diffusion_folders["epsilon"]).unet.state_dict()
        assert equal(load(model).unet.state_dict(), kept)
    else:
        wanted = {"missing": f"{names[1]}, which", "elsewhere": "beside it", "no index": "can't be"}
        assert wanted[shards] in refusal(model)


def test_names_of_older_files_are_known(model, diffusion_folders):
    former = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}

    def rename(name):
        for new, old in former.items():
            name = name.replace(new, old)
        return name

    edit(model, "vae", lambda tensors: {rename(n): v for n, v in tensors.items()})
    edit(
        model,
        "text_encoder",
        lambda tensors: {
            **{f"text_model.{n}": v for n, v in tensors.items()},
            "text_model.embeddings.position_ids": torch.arange(77)[None],
        },
    )
    kept, found = load(diffusion_folders["epsilon"]), load(model)
    assert equal(found.vae.state_dict(), kept.vae.state_dict())
    assert torch.equal(found.text, kept.text)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("unet/config.json", "{", "can't be read"),
        ("unet/config.json", "[]", "configuration"),
        ("unet/config.json", {"_class_name": "UNet2DModel"}, "is a UNet2DModel"),
        ("vae/config.json", {"_class_name": "AutoencoderTiny"}, "is a AutoencoderTiny"),
        ("text_encoder/config.json", {"model_type": "t5"}, "is a t5"),
        ("unet/config.json", {"attention_head_dim": None}, "lacks attention_head_dim"),
        ("scheduler/scheduler_config.json", {"beta_schedule": None}, "lacks beta_schedule"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "steep"}, "can't be used"),
        ("unet/config.json", {"block_out_channels": "wide"}, "can't be used"),
        ("unet/config.json", {"norm_num_groups": 7}, "can't be used"),
        ("unet/config.json", {"act_fn": "loud"}, "can't be used"),
        ("vae/config.json", {"down_block_types": ["NoBlock"] * 4}, "can't be used"),
        ("text_encoder/config.json", {"hidden_act": "loud"}, "can't be used"),
        ("text_encoder/config.json", {"hidden_size": "wide"}, "can't be used"),
        ("unet/config.json", {"layers_per_block": 2}, "lacks down_blocks"),
        ("vae/config.json", {"block_out_channels": [8, 8, 16]}, "can't be used|instead of"),
        ("tokenizer/vocab.json", "{", "CLIP tokenizer"),
    ],
)
def test_configurations_of_something_else(model, file, change, words):
    path = model / file
    if isinstance(change, str):
        path.write_text(change)
    else:
        record = {**json.loads(path.read_text()), **change}
        path.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))
    with pytest.raises(InputError, match=words):
        load(model)
    refusal(model)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (["vae"], "it lacks the folder vae"),
        (["scheduler"], "it lacks the folder scheduler"),
        (["unet/config.json"], "it lacks unet/config.json"),
        (["tokenizer/merges.txt"], "it lacks tokenizer/vocab.json with tokenizer/merges.txt"),
        (["unet", "tokenizer"], "it lacks the folder unet and the folder tokenizer"),
    ],
)
def test_what_a_folder_lacks_is_named_alone(model, gone, words):
    for name in gone:
        path = model / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert refusal(model).endswith(words)


def test_python_beside_a_tokenizer_never_runs(model, tmp_path):
    marker = tmp_path / "ran"
    (model / "tokenizer/trap.py").write_text(
        f"import pathlib\npathlib.Path({str(marker)!r}).touch()"
    )
    path = model / "tokenizer/tokenizer_config.json"
    trap = {"tokenizer_class": "Trap", "auto_map": {"AutoTokenizer": ["trap.Trap", None]}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **trap, "trust_remote_code": True}))
    try:
        load(model)
    except InputError as error:
        assert "\n" not in str(error)
    assert not marker.exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        PermissionError(13, "Permission denied"),
        FileNotFoundError(2, "No such file or directory"),
        OSError(5, "Input/output error"),
    ],
)
def test_what_the_machine_refuses_is_one_sentence(model, monkeypatch, error):
    def load_file(path):
        raise error

    monkeypatch.setattr("safetensors.torch.load_file", load_file)
    said = refusal(model)
    assert "Errno" not in said
    assert "memory" in said if not isinstance(error, OSError) else "safetensors" in said


def test_memory_of_a_device_that_is_too_small(model, monkeypatch):
    def to(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.nn.Module, "to", to)
    assert "not enough memory" in refusal(model)


def test_a_header_that_promises_more_than_there_is_takes_no_memory(tmp_path: Path):
    file = tmp_path / "model.safetensors"
    header = {"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 64)
    tracemalloc.start()
    with pytest.raises(WeightsError):
        read_tensors(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24


def test_names_that_spoil_a_terminal_are_shown_in_quotes():
    odd = {"weight": torch.zeros(1, 1), "bias": torch.zeros(1), "a\x1b[31m\nb": torch.zeros(1)}
    with pytest.raises(WeightsError) as raised:
        fill(torch.nn.Linear(1, 1), odd, "a file")
    assert "\n" not in str(raised.value) and "\x1b" not in str(raised.value)
