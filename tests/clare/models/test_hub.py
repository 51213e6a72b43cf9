"""Finding weights: caches, choices, hashes, and what is said when there are none."""

import hashlib
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import huggingface_hub.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clare.errors import InputError, WeightsError
from clare.models import hub as weights
from clare.models.clip import load_clip
from clare.models.hub import TRIAL, config_digest, file_sha256, list_files, pick_weights
from clare.models.runtime import Runtime
from clare.pipeline.models.diffusion_files import MODELS, choose_files
from clare.pipeline.models.stable_diffusion import load_diffusion


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fill(cache: Path, repo: str, source: Path, revision: str = "main") -> Path:
    """Put a folder into the hub's cache, as a download would."""
    place = cache / f"models--{repo.replace('/', '--')}"
    commit = revision if len(revision) == 40 else "0" * 40
    shutil.copytree(source, place / "snapshots" / commit)
    (place / "refs").mkdir()
    if commit != revision:
        (place / "refs" / revision).write_text(commit)
    return place / "snapshots" / commit


def lare(model, revision=None):
    return load_diffusion(str(model), revision, "a photo of a face", Runtime())


def test_absent_weights_name_the_three_ways_out_at_once(hub_cache):
    began = time.perf_counter()
    with pytest.raises(WeightsError) as raised:
        lare("sd2.1-base")
    assert time.perf_counter() - began < 5
    text = str(raised.value)
    repo, revision = MODELS["sd2.1-base"]
    assert f"hf download {repo} --revision {revision}" in text
    assert "HF_HOME" in text and "local folder" in text and TRIAL in raised.value.advice
    assert "\n" not in text and "Traceback" not in text


def test_absent_clip_weights_go_through_the_same_words(hub_cache):
    with pytest.raises(WeightsError) as raised:
        load_clip("ViT-L/14", None, "auto", None)
    text = str(raised.value)
    assert "hf download timm/vit_large_patch14_clip_224.openai" in text
    assert "HF_HOME" in text and "local weights file" in text and TRIAL in raised.value.advice


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("no route"), "does not answer"),
        (OSError(28, "No space left on device"), "cache can't be written: No space left"),
        (huggingface_hub.errors.GatedRepoError, "hf auth login"),
        (huggingface_hub.errors.RepositoryNotFoundError, "does not know it"),
        (huggingface_hub.errors.RevisionNotFoundError, "this revision"),
    ],
)
def test_reasons_of_the_net(hub_cache, monkeypatch, error, words):
    asked: dict[str, Any] = {}

    def model_info(self, repo, *, revision, timeout):
        asked.update(repo=repo, revision=revision, timeout=timeout)
        raise error if isinstance(error, Exception) else error.__new__(error)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(WeightsError, match=words):
        lare("owner/name", "v1")
    assert asked["repo"] == "owner/name" and asked["revision"] == "v1" and asked["timeout"] <= 10


def test_the_cache_serves_without_the_net(hub_cache, diffusion_folders, clip_folders):
    repo, revision = MODELS["sd2.1-base"]
    assert revision is not None
    fill(hub_cache, repo, diffusion_folders["epsilon"], revision)
    found = lare("sd2.1-base")
    assert found.weights == lare(diffusion_folders["epsilon"]).weights
    assert found.origin == {"model": repo, "revision": revision}
    fill(hub_cache, "me/tiny", clip_folders["vit"])
    found = load_clip("hf-hub:me/tiny", None, "auto", None)
    assert found.weights == load_clip(str(clip_folders["vit"]), None, "auto", None).weights


def test_a_partial_cache_counts_as_absent(hub_cache, diffusion_folders):
    snapshot = fill(hub_cache, "me/half", diffusion_folders["epsilon"])
    (snapshot / "vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(WeightsError, match="not on this machine"):
        lare("me/half")


def test_a_download_takes_only_what_is_needed(hub_cache, diffusion_folders, monkeypatch):
    names = [
        *list_files(diffusion_folders["epsilon"]),
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "v2-1_512-ema-pruned.ckpt",
        "safety_checker/model.safetensors",
    ]
    siblings = [SimpleNamespace(rfilename=name) for name in names]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=siblings)
    )
    asked = {}

    def download(repo, *, revision, allow_patterns):
        asked["files"] = allow_patterns
        return str(fill(hub_cache, repo, diffusion_folders["epsilon"], revision))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    lare("me/whole", "main")
    assert asked["files"] == choose_files(list_files(diffusion_folders["epsilon"]))


def test_a_repository_of_something_else(hub_cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    siblings = [SimpleNamespace(rfilename="model.gguf")]
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=siblings)
    )
    with pytest.raises(WeightsError, match="does not hold the files"):
        lare("me/llm")


@pytest.mark.parametrize("model", ["nowhere", "./nowhere", "/no/such/folder", "a/b/c"])
def test_what_is_no_model_is_refused_without_asking_the_net(hub_cache, model):
    with pytest.raises(InputError, match="neither a folder"):
        lare(model)


def test_an_incomplete_folder(diffusion_folders, tmp_path):
    folder = shutil.copytree(diffusion_folders["epsilon"], tmp_path / "model")
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(WeightsError, match="diffusers layout"):
        lare(folder)


def test_half_precision_files_serve_where_there_are_no_others(diffusion_folders, tmp_path):
    folder = shutil.copytree(diffusion_folders["epsilon"], tmp_path / "model")
    for part, stem in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        file = folder / part / f"{stem}.safetensors"
        file.rename(folder / part / f"{stem}.fp16.safetensors")
    assert lare(folder).weights == lare(diffusion_folders["epsilon"]).weights


def test_configurations_count_and_their_origin_does_not(diffusion_folders, tmp_path):
    folder = shutil.copytree(diffusion_folders["epsilon"], tmp_path / "model")
    path = folder / "unet/config.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "_name_or_path": "elsewhere", "_diffusers_version": "1"}))
    assert lare(folder).config == lare(diffusion_folders["epsilon"]).config
    path.write_text(json.dumps({**record, "norm_eps": 1e-3}))
    assert lare(folder).config != lare(diffusion_folders["epsilon"]).config


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.lists(st.text())))
def test_config_digest_ignores_order_and_notes(config):
    turned = dict(reversed(config.items()))
    assert config_digest({"m": config}) == config_digest({"m": {**turned, "_note": 1}})


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["a/model.safetensors", "a/model.fp16.safetensors"], ["a/model.safetensors"]),
        (["a/model.fp16.safetensors", "a/pytorch_model.bin"], ["a/model.fp16.safetensors"]),
        (["a/pytorch_model.bin"], ["a/pytorch_model.bin"]),
        (["b/model.safetensors"], []),
        (
            [
                "a/model-00001-of-00002.safetensors",
                "a/model-00002-of-00002.safetensors",
                "a/model.safetensors.index.json",
            ],
            [
                "a/model.safetensors.index.json",
                "a/model-00001-of-00002.safetensors",
                "a/model-00002-of-00002.safetensors",
            ],
        ),
    ],
)
def test_pick_weights(files, chosen):
    assert pick_weights(files, "a/model") == chosen


def test_sha256_is_cached_by_path_size_and_time(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "HASH_CACHE_BYTES", 4)
    file = tmp_path / "weights"
    file.write_bytes(b"first")
    assert file_sha256(file) == hashlib.sha256(b"first").hexdigest()
    (entry,) = (tmp_path / "cache/clare/sha256").iterdir()
    kept = entry.read_text()
    monkeypatch.setattr(weights, "_digest", lambda path: pytest.fail("read again"))
    assert file_sha256(file) == hashlib.sha256(b"first").hexdigest()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "HASH_CACHE_BYTES", 4)
    file.write_bytes(b"other, longer")
    assert file_sha256(file) == hashlib.sha256(b"other, longer").hexdigest()
    assert entry.read_text() != kept
    entry.write_text("not json")
    assert file_sha256(file) == hashlib.sha256(b"other, longer").hexdigest()


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "HASH_CACHE_BYTES", 0)
    (tmp_path / "weights").write_bytes(b"x")
    assert file_sha256(tmp_path / "weights") == hashlib.sha256(b"x").hexdigest()


def test_an_unreadable_file(tmp_path):
    with pytest.raises(WeightsError, match="can't read"):
        file_sha256(tmp_path / "absent")
