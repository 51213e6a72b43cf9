"""Where an image tower of timm is described and its weights lie: named, on the hub, or local."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clare.advice import Name
from clare.errors import InputError, WeightsError
from clare.models.hub import (
    LOCAL,
    check_channels,
    fetch,
    list_files,
    own_backbone,
    pick_weights,
    read_json,
)

CONFIG = "config.json"
"""timm's description of a model, beside its weights."""

WEIGHTS = "model.safetensors"

WAY = Name("a local weights file or folder", "tower.weights")


@dataclass(frozen=True)
class TowerSource:
    """What builds a tower, and its weights file.

    Args:
        architecture: timm's name of it.
        arguments: that differ from the architecture's own.
        images: timm's record of the input: ``input_size``, ``mean``, ``std``, and under
            ``classifier`` how the names begin of a classifier that is not part of the tower.
        file: the weights, or the index that names their files.
        origin: model and weights by name.
        backbone: ``tiny`` if the model is CLaRE's own, else None.
    """

    architecture: str
    arguments: Mapping[str, Any]
    images: Mapping[str, Any]
    file: Path
    origin: dict[str, str]
    backbone: str | None = None

    @property
    def size(self) -> int:
        """The side of the images that it was trained for, in pixels."""
        return int(self.images.get("input_size", (3, 224, 224))[-1])


def find_tower(model: str, weights: str | None) -> TowerSource:
    """Find a tower's files; for the arguments and errors see `clare.models.timm_tower`."""
    local = Path(model.removeprefix("local-dir:")).expanduser()
    path = None if weights is None else _local_weights(Path(weights).expanduser())
    if weights is not None and path is None:
        if local.is_dir() or ":" in model:
            raise InputError(f"there is no weights file {weights}", Name("one", "tower.weights"))
        model = f"{model.partition('.')[0]}.{weights}"
    if local.is_dir():
        return _described(local, path, local.resolve().name)
    if model.startswith("hf-hub:"):
        repo, _, revision = model.removeprefix("hf-hub:").partition("@")
        kinds = (CONFIG, WEIGHTS)
        folder, _ = fetch(repo, revision or None, kinds[:1], _choose_described, kinds, WAY)
        return _described(folder, path, model)
    return _named(model, path)


def _local_weights(path: Path) -> Path | None:
    """A weights file, or that of a folder; None where there is neither."""
    if path.is_dir():
        return path / _weights_name(path)
    return path if path.is_file() else None


def _described(folder: Path, weights: Path | None, name: str) -> TowerSource:
    """The model of a folder that describes itself as timm writes it."""
    import timm

    record = read_json(folder / CONFIG)
    architecture, arguments = record.get("architecture"), record.get("model_args", {})
    images = record.get("pretrained_cfg", record)
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise InputError(f"{folder / CONFIG} does not describe a model of timm")
    if not isinstance(arguments, Mapping) or not isinstance(images, Mapping):
        raise InputError(f"{folder / CONFIG} is not of timm's form")
    check_channels(images, folder.name)
    size = images.get("input_size", (3, 224, 224))
    if not isinstance(size, list | tuple) or not all(type(n) is int and n > 0 for n in size):
        raise InputError(f"the input size of {folder.name} can't be {size}")
    file = weights or folder / _weights_name(folder)
    origin = {"model": name} | ({} if name.startswith("hf-hub:") else {LOCAL: "folder"})
    origin |= {} if weights is None else {"weights": weights.name}
    return TowerSource(architecture, arguments, images, file, origin, own_backbone(record))


def _named(model: str, weights: Path | None) -> TowerSource:
    """A model that timm knows by its name, with or without the tag of its weights."""
    import timm

    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), 3, 0.3)
        raise InputError(
            f"timm has no model {model!r} (near it: {', '.join(near) or 'none'}), and there is no "
            "such folder",
            Name("the model's name or folder", "tower.model"),
        )
    tags = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and model not in tags:
        known = ", ".join(tags) or "none"
        raise InputError(
            f"timm has no weights {tag!r} for {architecture} (it has: {known}), and there is no "
            "such file"
        )
    known = timm.get_pretrained_cfg(model)
    images = {} if known is None else known.to_dict()
    if weights is not None:
        origin = {"model": architecture, "weights": weights.name, LOCAL: "file"}
        return TowerSource(architecture, {}, images, weights, origin)
    repo = images.get("hf_hub_id")
    if not repo:
        raise WeightsError(f"the hub holds no weights of {model}", WAY)
    file = str(images.get("hf_hub_filename") or WEIGHTS)

    def choose(files: Sequence[str]) -> list[str]:
        return [file] if file in files else pick_weights(files, "model")

    folder, found = fetch(repo, None, (file, CONFIG), choose, [file], WAY)
    origin = {"model": architecture, "weights": str(images["tag"])}
    return TowerSource(architecture, {}, images, folder / found[0], origin)


def _weights_name(folder: Path) -> str:
    files = list_files(folder)
    names = pick_weights(files, "model") or [f for f in files if f.endswith(".safetensors")]
    if not names:
        raise WeightsError(f"there are no weights in {folder}: it needs {WEIGHTS}")
    return names[0]


def _choose_described(files: Sequence[str]) -> list[str]:
    weights = pick_weights(files, "model")
    return [CONFIG, *weights] if CONFIG in files and weights else []
