"""An open_clip model from a name, the hub or local files, split into its two towers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clare.advice import Set
from clare.errors import InputError, WeightsError
from clare.foreign import read_bytes
from clare.models.clip_files import ClipSource, find_clip, known_normalisations
from clare.models.hub import LOCAL, config_digest, quiet, weights_sha256
from clare.models.runtime import enough_memory, is_out_of_memory
from clare.models.transformers_clip import SIGN, open_clip_names
from clare.models.weights import fill, read_tensors, weight_files

if TYPE_CHECKING:
    import torch


OPENAI_FACTS = ("input_resolution", "context_length", "vocab_size")
"""What OpenAI's own files hold beside weights."""

POSITIONS = "visual.positional_embedding"


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
        is_normalisation_known: False where a file's weights may be of trainings with several means
            and deviations: then these are OpenAI's.
        tokenizer: the text tower's ``tokenizer.json``, where it has one of its own and that is at
            hand.
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
    is_normalisation_known: bool = True
    tokenizer: bytes | None = None


def load_clip(
    model: str, weights: str | None, quick_gelu: bool | str, size: int | None
) -> ClipModel:
    """Load a model through open_clip.

    Args:
        model: a name that open_clip knows, ``hf-hub:owner/name``, or a local folder with an
            ``open_clip_config.json`` or transformers' ``config.json`` of a CLIP.
        weights: a tag of the named model, or a local file or folder; None means ``openai``.
        quick_gelu: True, False or ``auto`` (see docs/extractors.md).
        size: input side in pixels; None means the tower's own.

    Raises:
        InputError: the model, the weights or the size are not usable.
        WeightsError: the weights are not on disk and can't be fetched, or do not fit the model.
    """
    import open_clip
    import transformers  # which open_clip imports in any case, for text towers of its

    source = find_clip(model, weights)
    gelu = _quick_gelu(source, quick_gelu, model)
    config = {**source.config, "quick_gelu": gelu}
    _check(open_clip, config)
    config["vision_cfg"] = {**config["vision_cfg"], "timm_model_pretrained": False}
    size = _other_size(config["vision_cfg"], size)
    with quiet(transformers), enough_memory(model):
        clip = _build(open_clip, config, size)
        tensors = _current_names(clip, read_tensors(source.file))
        if size is not None:
            _resize(clip, tensors, config["vision_cfg"])
        fill(clip, tensors, source.file)
        if size is not None and hasattr(clip.visual, "set_input_size"):
            clip.visual.set_input_size(size)  # timm towers load their own size first
    preprocess, is_sure = _normalisation(source, gelu)
    return ClipModel(
        visual=clip.visual,
        text=_text_tensors(clip),
        text_metadata=_text_metadata(config),
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        quick_gelu=gelu,
        weights=weights_sha256(weight_files(source.file)),
        config=config_digest({**config, "mean": preprocess["mean"], "std": preprocess["std"]}),
        origin=source.origin,
        backbone=source.backbone,
        is_normalisation_known=is_sure,
        tokenizer=None if source.tokenizer is None else read_bytes(source.tokenizer),
    )


def _check(open_clip: Any, config: Mapping[str, Any]) -> None:
    """Refuse a configuration of the wrong form, or one that would have other files looked up."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    if not isinstance(vision, Mapping) or not isinstance(text, Mapping):
        raise InputError("open_clip can't build this model: its towers are not described")
    timm, named = vision.get("timm_model_name"), text.get("hf_model_name")
    if timm is not None and not re.fullmatch(r"[\w.]+", str(timm)):
        raise InputError(f"clip's tower {timm!r} is not one that timm knows by its name")
    if named is not None and named not in _own_text_towers(open_clip):
        raise InputError(
            f"clip's text tower {named!r} is none of those that open_clip's own models have"
        )


def _own_text_towers(open_clip: Any) -> set[str]:
    texts = (open_clip.get_model_config(name)["text_cfg"] for name in open_clip.list_models())
    return {text["hf_model_name"] for text in texts if "hf_model_name" in text}


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


def _normalisation(source: ClipSource, gelu: bool) -> tuple[Mapping[str, Any], bool]:
    """Mean and deviation of a model's own images, and whether nothing else can be meant.

    A weights file alone says nothing: its model's known weights do, where they agree.
    """
    import open_clip

    usual = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    if source.origin.get(LOCAL) != "file" or source.openai:
        return {**usual, **source.preprocess}, True
    known = known_normalisations(source.origin["model"], gelu)
    return (known[0], True) if len(known) == 1 else (usual, False)


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


def build_clip(config: Mapping[str, Any]) -> Any:
    """A model without weights, of open_clip's configuration.

    Args:
        config: of a model that open_clip knows by its name.

    Raises:
        InputError: it has more than two towers.
        WeightsError: its text side is another library's, whose configuration is not on disk.
    """
    import open_clip

    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    return _build(open_clip, {**config, "vision_cfg": vision}, None)


def _build(open_clip: Any, config: dict[str, Any], size: int | None) -> Any:
    """The model, still without weights, in float32, text side included."""
    from clare.models.undrawn import Undrawn

    values = json.loads(json.dumps(config))
    custom = values.pop("custom_text", False) or "hf_model_name" in values["text_cfg"]
    if "multimodal_cfg" in values:
        raise InputError("clip can't use CoCa models: choose one with two towers")
    if size is not None:
        values["vision_cfg"]["image_size"] = size
    values["text_cfg"]["hf_model_pretrained"] = False
    try:
        with Undrawn():
            clip = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**values)
    except OSError as error:  # a text tower of transformers asks the hub for its configuration
        raise WeightsError(
            f"the configuration of {values['text_cfg'].get('hf_model_name')} is not on this "
            "machine and can't be fetched: choose a model whose text tower is open_clip's own"
        ) from error
    except Exception as error:  # whatever values that make no sense lead to
        if is_out_of_memory(error):
            raise
        raise InputError(f"open_clip can't build this model: {error}") from error
    return clip.eval()


def _current_names(clip: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under the names that the model has, from whichever format a file is of."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    found = {name: value for name, value in tensors.items() if name not in OPENAI_FACTS}
    if any(name.startswith(SIGN) for name in found):
        found = open_clip_names(found)
    found = convert_state_dict(clip, found)
    if "positional_embedding" in found and not hasattr(clip, "positional_embedding"):
        found = convert_to_custom_text_state_dict(found)
    for name in ("logit_scale", "logit_bias"):  # numbers to some, lists of one number to others
        own = getattr(clip, name, None)
        if own is not None and name in found and found[name].numel() == 1:
            found[name] = found[name].reshape(own.shape)
    return dict(found)


def _resize(clip: Any, tensors: dict[str, torch.Tensor], vision: Mapping[str, Any]) -> None:
    """Interpolate the position embedding of the tower's own size, and of no other."""
    from open_clip.model import resize_pos_embed

    own, patch = vision.get("image_size", 224), vision.get("patch_size") or 16
    sides = own if isinstance(own, list | tuple) else (own, own)
    positions = tensors.get(POSITIONS)
    if positions is not None and len(positions) == math.prod(s // patch for s in sides) + 1:
        tensors[POSITIONS] = positions.float()
        resize_pos_embed(tensors, clip)


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
