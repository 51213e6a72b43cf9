"""Where an open_clip model's configuration and weights are: named, on the hub, or local."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clare.advice import Name
from clare.errors import InputError, WeightsError
from clare.models.hub import (
    LOCAL,
    TRIAL,
    check_channels,
    fetch,
    list_files,
    own_backbone,
    read_json,
)
from clare.models.torchscript import is_torchscript
from clare.models.transformers_clip import open_clip_config

CONFIG = "open_clip_config.json"

TRANSFORMERS = "config.json"
"""The configuration of a model in transformers' format."""

TOKENIZER = "tokenizer.json"
"""A tokenizer as data, without code."""

OWN_TOKENIZER = f"./{TOKENIZER}"
"""In place of a hub's name: the tokenizer is the file beside the weights, or is not at hand."""

FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)
"""Names under which a folder's weights are looked for, in this order."""

CLIP_WORDS = 49408
"""Entries of CLIP's own vocabulary, which comes with open_clip."""

WAY = Name("a local weights file or folder", "clip.weights")


@dataclass(frozen=True)
class ClipSource:
    """A model's configuration and its weights file.

    Args:
        config: open_clip's model configuration.
        preprocess: what is known of the input normalisation (``mean``, ``std``).
        file: the weights, or the index that names their files.
        origin: model and weights by name.
        openai: whether the weights need QuickGELU; None if nothing says so.
        backbone: ``tiny`` or ``mini`` if the model is CLaRE's own, else None.
        tokenizer: the file of the text tower's tokenizer, where it has one of its own and that is
            at hand.
    """

    config: dict[str, Any]
    preprocess: Mapping[str, Any]
    file: Path
    origin: dict[str, str]
    openai: bool | None
    backbone: str | None = None
    tokenizer: Path | None = None


def find_clip(model: str, weights: str | None) -> ClipSource:
    """Find a model's files; for the arguments and errors see `clare.models.clip`."""
    import open_clip

    local = Path(model.removeprefix("local-dir:")).expanduser()
    if local.is_dir():
        return _from_folder(local, {"model": local.resolve().name, LOCAL: "folder"})
    if model.startswith("hf-hub:"):
        repo = model.removeprefix("hf-hub:")
        anchors = (CONFIG, TRANSFORMERS)
        folder, _ = fetch(repo, None, anchors, _choose_repository, (CONFIG, FILES[0]), WAY)
        return _from_folder(folder, {"model": model})
    name = model.replace("/", "-")
    config = None if ":" in name else open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), 3, 0.3)
        raise InputError(
            f"open_clip has no model {model!r} (near it: {', '.join(near) or 'none'}), "
            "and there is no such folder"
        )
    tag = weights or _own_tag(name)
    # A tag is no path, whatever lies in the working directory: ./openai is one.
    if known := open_clip.get_pretrained_cfg(name, tag):
        file = _fetch_tag(name, tag, known)
        origin = {"model": name, "weights": tag}
        return _source(config, known, file, origin, bool(known.get("quick_gelu")))
    path = Path(tag).expanduser()
    if path.is_dir():
        if any((path / one).is_file() for one in (CONFIG, TRANSFORMERS)):
            own = {"model": name, "weights": path.resolve().name, LOCAL: "folder"}
            return _from_folder(path, own)
        path = path / _weights_name(path)
    if path.is_file():
        origin = {"model": name, "weights": path.name, LOCAL: "file"}
        return _source(config, {}, path, origin, _looks_openai(path))
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
    raise InputError(
        f"open_clip has no weights {tag!r} for {name} (it has: {tags}), and there is no such file"
    )


def _own_tag(name: str) -> str:
    """The weights of a named model that are meant where none are named."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    return tags[0] if len(tags) == 1 else "openai"


def known_normalisations(model: str, quick_gelu: bool) -> list[dict[str, tuple[float, ...]]]:
    """What images are normalised with for a named model's weights of open_clip, each once.

    Args:
        model: a name that open_clip knows.
        quick_gelu: of the weights; those of the other activation are left out where both are known.
    """
    import open_clip

    own = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    found: dict[bool, list[dict[str, tuple[float, ...]]]] = {}
    for tag in open_clip.list_pretrained_tags_by_model(model):
        known = open_clip.get_pretrained_cfg(model, tag)
        one = {name: tuple(known.get(name) or value) for name, value in own.items()}
        like = found.setdefault(bool(known.get("quick_gelu")), [])
        like += [one] * (one not in like)
    return found.get(quick_gelu) or found.get(not quick_gelu) or [own]


def _from_folder(folder: Path, origin: dict[str, str]) -> ClipSource:
    if not (folder / CONFIG).is_file() and (folder / TRANSFORMERS).is_file():
        return _from_transformers(folder, origin)
    record = read_json(folder / CONFIG)
    config = record.get("model_cfg")
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= set(config):
        raise InputError(f"{folder / CONFIG} does not describe an open_clip model")
    file = folder / _weights_name(folder)
    # A folder with its own configuration says itself which activation it was trained with.
    gelu, own = bool(config.get("quick_gelu", False)), own_backbone(record)
    return _source(config, record.get("preprocess_cfg", {}), file, origin, gelu, own)


def _from_transformers(folder: Path, origin: dict[str, str]) -> ClipSource:
    try:
        config = open_clip_config(read_json(folder / TRANSFORMERS))
    except InputError as error:
        raise InputError(f"{folder / TRANSFORMERS}: {error.what}", *error.advice) from error
    if config["text_cfg"]["vocab_size"] != CLIP_WORDS:
        config["text_cfg"]["hf_tokenizer_name"] = OWN_TOKENIZER
    preprocess = {}
    if (images := folder / "preprocessor_config.json").is_file():
        kept = read_json(images)
        preprocess = {
            one: kept[f"image_{one}"] for one in ("mean", "std") if f"image_{one}" in kept
        }
    file = folder / _weights_name(folder)
    return _source(config, preprocess, file, origin, config["quick_gelu"])


def _source(
    config: dict[str, Any],
    preprocess: Any,
    file: Path,
    origin: dict[str, str],
    openai: bool | None,
    backbone: str | None = None,
) -> ClipSource:
    known = preprocess if isinstance(preprocess, Mapping) else {}
    check_channels(known, file.parent.name)
    tokenizer = _find_tokenizer(config["text_cfg"], file.parent)
    return ClipSource(config, known, file, origin, openai, backbone, tokenizer)


def _find_tokenizer(text: Any, folder: Path) -> Path | None:
    """The tokenizer beside the weights, or of the hub; none where it is not at hand.

    Extraction goes on without one: image towers need none.
    """
    name = text.get("hf_tokenizer_name") if isinstance(text, Mapping) else None
    if not isinstance(name, str):
        return None
    if (folder / TOKENIZER).is_file():
        return folder / TOKENIZER
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        return None  # what a file says is never a path

    def choose(files: Sequence[str]) -> list[str]:
        return [TOKENIZER] if TOKENIZER in files else []

    try:
        found, _ = fetch(name, None, [TOKENIZER], choose, [TOKENIZER], WAY)
    except WeightsError:
        return None
    return found / TOKENIZER


def _weights_name(folder: Path) -> str:
    files = list_files(folder)
    names = [n for n in FILES if n in files] or [f for f in files if f.endswith(".safetensors")]
    if not names:
        raise WeightsError(f"there are no weights in {folder}: it needs {FILES[0]}")
    return names[0]


def _choose_repository(files: Sequence[str]) -> list[str]:
    weights = [name for name in FILES if name in files][:1]
    config = next((one for one in (CONFIG, TRANSFORMERS) if one in files), None)
    if not (weights and config):
        return []
    beside = ("preprocessor_config.json", TOKENIZER) if config == TRANSFORMERS else (TOKENIZER,)
    return [config, *weights, *_shards(weights[0], files), *(one for one in beside if one in files)]


def _shards(weights: str, files: Sequence[str]) -> list[str]:
    """The files beside an index; none beside weights that are whole."""
    stem, _, kind = weights.removesuffix(".index.json").rpartition(".")
    if not weights.endswith(".index.json"):
        return []
    return [f for f in files if f.startswith(f"{stem}-0") and f.endswith(f".{kind}")]


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
                f"from {known.get('url')}",
                WAY,
                TRIAL,
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
    if is_torchscript(path) or any("openai" in part.lower() for part in path.parts):
        return True
    return None
