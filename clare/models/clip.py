"""An open_clip model from a name, the hub or local files, split into its two towers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clare.advice import Set
from clare.errors import InputError, WeightsError
from clare.models.clip_files import ClipSource, find_clip, is_torchscript
from clare.models.hub import config_digest, quiet, weights_sha256

if TYPE_CHECKING:
    import torch


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
        backbone: ``tiny`` or ``mini`` if the model is CLaRE's own, else None.
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
    backbone: str | None


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

    source = find_clip(model, weights)
    gelu = _quick_gelu(source, quick_gelu, model)
    config = {**source.config, "quick_gelu": gelu}
    config["vision_cfg"] = {**config["vision_cfg"], "timm_model_pretrained": False}
    size = _other_size(config["vision_cfg"], size)
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
        backbone=source.backbone,
    )


def _quick_gelu(source: ClipSource, setting: bool | str, model: str) -> bool:
    if isinstance(setting, bool):
        return setting
    if source.config.get("quick_gelu") or source.openai:
        return True
    if source.openai is None and _has_openai_twin(model.replace("/", "-")):
        raise InputError(
            f"{source.file.name} does not say whether it was trained with QuickGELU",
            Set("clip.quick_gelu", True, "for weights of OpenAI, DFN and MetaCLIP"),
            Set("clip.quick_gelu", False, "for others"),
        )
    return False


def _has_openai_twin(name: str) -> bool:
    import open_clip

    return any(
        open_clip.get_pretrained_cfg(name, tag).get("quick_gelu")
        for tag in open_clip.list_pretrained_tags_by_model(name)
    )


def _other_size(vision: Mapping[str, Any], size: int | None) -> int | None:
    """The input size if it is not the tower's own."""
    if size is None or size == vision.get("image_size", 224):
        return None
    if isinstance(vision.get("layers"), list | tuple):
        raise InputError(f"a ResNet takes its own size only, {vision.get('image_size', 224)}")
    patch = vision.get("patch_size") or 16
    if size < 1 or ("timm_model_name" not in vision and size % patch):
        raise InputError(f"clip's size must be a multiple of the patch, {patch}, not {size}")
    return size


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
    except OSError as error:  # a text tower of transformers asks the hub for its configuration
        raise WeightsError(
            f"the configuration of {values['text_cfg'].get('hf_model_name')} is not on this "
            "machine and can't be fetched: choose a model whose text tower is open_clip's own"
        ) from error
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise InputError(f"open_clip can't build this model: {error}") from error
    return clip.eval()


def _load(open_clip: Any, clip: Any, file: Path, model: str) -> None:
    import torch

    try:
        if is_torchscript(file):
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
