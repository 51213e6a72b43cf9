"""An open_clip model from a name, the hub or local files, split into its two towers."""

from __future__ import annotations

import difflib
import json
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clare.errors import InputError, WeightsError
from clare.pipeline.weights import (
    config_digest,
    fetch,
    list_files,
    quiet,
    read_json,
    weights_sha256,
)

if TYPE_CHECKING:
    import torch

CONFIG = "open_clip_config.json"

FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
"""Names under which a folder's weights are looked for, in this order."""

WAY = "give a local weights file or folder with `--clip-weights PATH`"


@dataclass(frozen=True)
class ClipModel:
    """The image tower, the text tower's tensors, and what identifies them.

    Args:
        visual: the image tower, float32, on the CPU.
        text: name -> tensor of the text tower (names of open_clip's ``TextTransformer``), with
            ``logit_scale`` and, where the model has it, ``logit_bias``.
        text_metadata: what rebuilds the text tower, as safetensors metadata.
        mean: of the model's own input normalisation, R, G, B in 0 to 1.
        std: of the same.
        quick_gelu: whether the towers use QuickGELU.
        weights: sha256 of the weights.
        config: digest of the model's configuration.
        origin: model and weights by name.
        tiny: True if the weights are random ones from `clare.pipeline.tiny`.
    """

    visual: Any
    text: dict[str, torch.Tensor]
    text_metadata: dict[str, str]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    quick_gelu: bool
    weights: str
    config: str
    origin: dict[str, str]
    tiny: bool


@dataclass(frozen=True)
class _Source:
    """Where a model's configuration and weights are."""

    config: dict[str, Any]
    preprocess: Mapping[str, Any]
    file: Path
    origin: dict[str, str]
    openai: bool | None
    tiny: bool = False


def load_clip(
    model: str, weights: str | None, quick_gelu: bool | str, size: int | None
) -> ClipModel:
    """Load a model through open_clip.

    Args:
        model: a name that open_clip knows, ``hf-hub:owner/name``, or a local folder with an
            ``open_clip_config.json``.
        weights: a tag of the named model, or a local file or folder; None means ``openai``.
        quick_gelu: True, False or ``auto`` (see docs/extractors.md).
        size: input side in pixels; None means the tower's own.

    Raises:
        InputError: the model, the weights or the size are not usable.
        WeightsError: the weights are not on disk and can't be fetched, or do not fit the model.
    """
    import open_clip

    source = _find(model, weights)
    gelu = _quick_gelu(source, quick_gelu, model)
    config = {**source.config, "quick_gelu": gelu}
    config["vision_cfg"] = {**config["vision_cfg"], "timm_model_pretrained": False}
    own_size = config["vision_cfg"].get("image_size", 224)
    size = None if size == own_size else size
    with quiet():
        clip = _build(open_clip, config, size)
        _load(open_clip, clip, source.file, model)
        if size is not None and hasattr(clip.visual, "set_input_size"):
            clip.visual.set_input_size(size)  # timm towers load their own size first
    preprocess = {
        "mean": open_clip.OPENAI_DATASET_MEAN,
        "std": open_clip.OPENAI_DATASET_STD,
        **source.preprocess,
    }
    return ClipModel(
        visual=clip.visual,
        text=_text_tensors(clip),
        text_metadata=_text_metadata(config),
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        quick_gelu=gelu,
        weights=weights_sha256([source.file]),
        config=config_digest({**config, "mean": preprocess["mean"], "std": preprocess["std"]}),
        origin=source.origin,
        tiny=source.tiny,
    )


def _find(model: str, weights: str | None) -> _Source:
    import open_clip

    local = Path(model.removeprefix("local-dir:")).expanduser()
    if local.is_dir():
        return _from_folder(local, {"model": local.resolve().name})
    if model.startswith("hf-hub:"):
        repo = model.removeprefix("hf-hub:")
        folder, _ = fetch(repo, None, [CONFIG], _choose_repository, (CONFIG, FILES[0]), WAY)
        return _from_folder(folder, {"model": model})
    name = model.replace("/", "-")
    config = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), 3, 0.3)
        raise InputError(
            f"open_clip has no model {model!r} (near it: {', '.join(near) or 'none'}), "
            "and there is no such folder"
        )
    tag = weights or "openai"
    path = Path(tag).expanduser()
    if path.is_dir():
        if (path / CONFIG).is_file():
            return _from_folder(path, {"model": name, "weights": path.resolve().name})
        path = path / _weights_name(path)
    if path.is_file():
        origin = {"model": name, "weights": path.name}
        return _Source(config, {}, path, origin, _looks_openai(path))
    known = open_clip.get_pretrained_cfg(name, tag)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise InputError(
            f"open_clip has no weights {tag!r} for {name} (it has: {tags}), and there is no such "
            "file"
        )
    file = _fetch_tag(name, tag, known)
    origin = {"model": name, "weights": tag}
    return _Source(config, known, file, origin, bool(known.get("quick_gelu")))


def _from_folder(folder: Path, origin: dict[str, str]) -> _Source:
    record = read_json(folder / CONFIG)
    config = record.get("model_cfg")
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= set(config):
        raise InputError(f"{folder / CONFIG} does not describe an open_clip model")
    file = folder / _weights_name(folder)
    # A folder with its own configuration says itself which activation it was trained with.
    gelu = bool(config.get("quick_gelu", False))
    tiny = bool(record.get("_clare_tiny"))
    return _Source(config, record.get("preprocess_cfg", {}), file, origin, gelu, tiny)


def _weights_name(folder: Path) -> str:
    files = list_files(folder)
    names = [n for n in FILES if n in files] or [f for f in files if f.endswith(".safetensors")]
    if not names:
        raise WeightsError(f"there are no weights in {folder}: it needs {FILES[0]}")
    return names[0]


def _choose_repository(files: Sequence[str]) -> list[str]:
    weights = [name for name in FILES if name in files][:1]
    return [CONFIG, *weights] if weights and CONFIG in files else []


def _fetch_tag(name: str, tag: str, known: Mapping[str, Any]) -> Path:
    """The weights file of one of open_clip's tags."""
    import open_clip

    repo, _, file = str(known.get("hf_hub", "")).rpartition("/")
    if not repo:
        try:
            return Path(open_clip.download_pretrained(known))
        except Exception as error:  # urllib's errors and open_clip's checksum error
            raise WeightsError(
                f"the weights {tag} of {name} are not on this machine and can't be fetched "
                f"from {known.get('url')}: {WAY}, or try the pipeline with `--backbone tiny`"
            ) from error
    names = [f"{file.rpartition('.')[0]}.safetensors", file] if file else FILES

    def choose(files: Sequence[str]) -> list[str]:
        return [n for n in names if n in files][:1]

    folder, (found,) = fetch(repo, None, names, choose, names[:1], WAY)
    return folder / found


def _looks_openai(path: Path) -> bool | None:
    """Whether a weights file is OpenAI's; None if it does not say.

    OpenAI's own files are TorchScript archives, and nobody else's are. Copies in other formats
    say it in their path only (``timm/vit_large_patch14_clip_224.openai/…``).
    """
    if _is_torchscript(path) or any("openai" in part.lower() for part in path.parts):
        return True
    return None


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _quick_gelu(source: _Source, setting: bool | str, model: str) -> bool:
    if isinstance(setting, bool):
        return setting
    if source.config.get("quick_gelu") or source.openai:
        return True
    if source.openai is None and _has_openai_twin(model.replace("/", "-")):
        raise InputError(
            f"{source.file.name} does not say whether it holds OpenAI's weights, which need "
            "QuickGELU: say `--set clip.quick_gelu=true` (OpenAI, DFN, MetaCLIP) or `=false`"
        )
    return False


def _has_openai_twin(name: str) -> bool:
    import open_clip

    return any(
        open_clip.get_pretrained_cfg(name, tag).get("quick_gelu")
        for tag in open_clip.list_pretrained_tags_by_model(name)
    )


def _build(open_clip: Any, config: dict[str, Any], size: int | None) -> Any:
    """The model with its initial weights, in float32, text side included."""
    values = json.loads(json.dumps(config))
    custom = values.pop("custom_text", False) or "hf_model_name" in values["text_cfg"]
    if "multimodal_cfg" in values:
        raise InputError("clip can't use CoCa models: choose one with two towers")
    if size is not None:
        values["vision_cfg"]["image_size"] = size
    values["text_cfg"]["hf_model_pretrained"] = False
    try:
        clip = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**values)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise InputError(f"open_clip can't build this model: {error}") from error
    return clip.eval()


def _load(open_clip: Any, clip: Any, file: Path, model: str) -> None:
    import torch

    try:
        if _is_torchscript(file):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch calls its own older format deprecated
                state = torch.jit.load(str(file), map_location="cpu").state_dict()
            facts = ("input_resolution", "context_length", "vocab_size")
            clip.load_state_dict({k: v for k, v in state.items() if k not in facts})
        else:
            open_clip.load_checkpoint(clip, str(file), strict=True, weights_only=True)
    except OSError as error:
        raise WeightsError(f"can't read {file}: {error.strerror}") from error
    except Exception as error:  # mismatched, truncated, or a pickle that is not only weights
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{file} does not hold weights of {model}: {reason}") from error


def _text_tensors(clip: Any) -> dict[str, torch.Tensor]:
    """Everything but the image tower, under the names of the text tower alone."""
    state = clip.state_dict()
    return {
        name.removeprefix("text."): tensor.contiguous()
        for name, tensor in state.items()
        if not name.startswith("visual.")
    }


def _text_metadata(config: Mapping[str, Any]) -> dict[str, str]:
    """One entry: several would be written in any order, and equal runs give equal bytes."""
    text = config["text_cfg"]
    facts = {
        "text_config": text,
        "embed_dim": config["embed_dim"],
        "quick_gelu": config["quick_gelu"],
        "context_length": text.get("context_length", 77),
        "tokenizer": text.get("hf_tokenizer_name") or "SimpleTokenizer",
    }
    return {"text_tower": json.dumps(facts, sort_keys=True)}
