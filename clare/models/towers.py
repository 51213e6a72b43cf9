"""Image towers by the name of the extractor that reads them: ``clip`` and ``tower``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clare.advice import LeaveOut, Name, Set
from clare.errors import InputError
from clare.models.known import TUNED
from clare.models.normalisations import NORMALISATIONS
from clare.models.runtime import Runtime
from clare.plugins import part_name

if TYPE_CHECKING:
    from clare.models.clip import ClipModel
    from clare.models.image_tower import ClipTower, Tower

VERSION = 1
"""Raised by hand when equal settings and weights give other values."""


@dataclass(frozen=True)
class ClipSettings:
    """Settings of `clip`.

    Args:
        model: a name of open_clip, ``hf-hub:owner/name``, or a local folder; `extract` takes
            several, comma-separated, timm's names among them.
        weights: a tag of the named model, or a local file or folder; None means ``openai``, or the
            one tag that there is.
        layers: further blocks to store, zero-based; ``layer1`` to ``layer4`` for ResNets; ``all``.
        mean_std: ``clip`` normalises as the model was trained, ``half`` with 0.5 and 0.5,
            ``imagenet`` with ImageNet's mean and deviation.
        size: input side in pixels; None means the tower's own.
        quick_gelu: whether the towers use QuickGELU; ``auto`` knows it from the weights.
        tuned: folder of a run whose tower began as this one: what moved there is put in.
        class_layers: whether the class token after each block of ``layers`` is stored too, float32;
            with the patches it is what a tower begins with whose later blocks alone are tuned.
    """

    model: str = "ViT-L-14"
    weights: str | None = None
    layers: tuple[int | str, ...] = ()
    mean_std: Literal["clip", "half", "imagenet"] = "clip"
    size: int | None = None
    quick_gelu: bool | Literal["auto"] = "auto"
    tuned: str | None = None
    class_layers: bool = False


@dataclass(frozen=True)
class TowerSettings:
    """Settings of `tower`.

    Args:
        model: a name of timm, ``hf-hub:owner/name``, or a local folder; `extract` takes several,
            comma-separated.
        weights: a tag of the named model, or a local file or folder in place of its own weights.
        layers: blocks to store beside the last, zero-based; ``all``.
        mean_std: ``own`` normalises as the model was trained; ``clip``, ``imagenet`` and ``half``
            (0.5 and 0.5) as others were.
        size: input side in pixels; None means the tower's own.
        tuned: folder of a run whose tower began as this one: what moved there is put in.
    """

    model: str = "vit_pe_core_large_patch14_336"
    weights: str | None = None
    layers: tuple[int | str, ...] = ()
    mean_std: Literal["own", "clip", "imagenet", "half"] = "own"
    size: int | None = None
    tuned: str | None = None


ALL = "all"
"""In the place of layers: every one but that which is stored in any case."""

TOWERS: Mapping[str, type[ClipSettings] | type[TowerSettings]] = {
    "clip": ClipSettings,
    "tower": TowerSettings,
}
"""Extractors that read one image tower, and their settings."""


@dataclass(frozen=True)
class LoadedTower:
    """An image tower in its place, and what identifies it.

    Args:
        extractor: that reads it.
        module: normalised images (B, 3, S, S) to the extractor's fields.
        size: S, the side of its images in pixels.
        mean: that is subtracted from pixels of 0 to 1; R, G, B.
        std: that they are divided by then.
        weights: sha256 of the weights.
        settings: everything else that decides a value, but how images are prepared.
        origin: model and weights by name.
        text: makes the files that rebuild the text tower, by name; none where there is none.
        seen: where it was tuned, the file that says what the run was trained on; else empty.
    """

    extractor: str
    module: Tower
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: str
    settings: Mapping[str, Any]
    origin: Mapping[str, str]
    text: Callable[[], dict[str, bytes]] = dict
    seen: bytes = b""


def reader_of(model: str, otherwise: str) -> str:
    """The extractor that reads a model: ``tower`` where it is timm's and has no text side.

    Args:
        model: a name, or a local folder.
        otherwise: the extractor of all else.
    """
    folder = Path(model.removeprefix("local-dir:")).expanduser()
    if folder.is_dir():
        from clare.models.clip_files import CONFIG, TRANSFORMERS
        from clare.models.hub import read_json

        file = folder / TRANSFORMERS
        if (folder / CONFIG).is_file() or not file.is_file():
            return otherwise
        return "tower" if "architecture" in read_json(file) else otherwise
    if ":" in model:
        return otherwise
    import open_clip
    import timm

    if open_clip.get_model_config(model.replace("/", "-")) is not None:
        return otherwise
    return "tower" if timm.is_model(model.partition(".")[0]) else otherwise


def load_image_tower(settings: ClipSettings | TowerSettings, runtime: Runtime) -> LoadedTower:
    """Load the tower of an extractor.

    Args:
        settings: the extractor's.
        runtime: where it runs and in which precision.

    Raises:
        InputError: the model, the weights or a setting are not usable.
        WeightsError: the weights are not on disk and can't be fetched, or do not fit the model.
    """
    if isinstance(settings, ClipSettings):
        base = _load_clip(settings, runtime)
    else:
        base = _load_timm(settings, runtime)
    return base if settings.tuned is None else _put_in(base, Path(settings.tuned))


def _put_in(base: LoadedTower, run: Path, later: tuple[Path, ...] = ()) -> LoadedTower:
    """A tower with what moved of it in a run.

    Args:
        base: the tower as it came.
        run: a folder.
        later: runs that began with what moved in this one.

    Raises:
        InputError: the run tuned another tower, or none.
    """
    from clare.models.tuned import read_tuned

    if (place := run.absolute()) in later:
        raise InputError(f"{run} says that its tower was tuned in {run} before")
    tuned = read_tuned(run)
    known = tuned.record.tower
    if (before := tuned.record.origin.get(TUNED)) is not None:
        base = _put_in(base, Path(before), (*later, place))
    if known.extractor != base.extractor:
        raise InputError(f"{run} tuned a tower of {known.extractor}, not of {base.extractor}")
    if known.weights != base.weights:
        raise InputError(
            f"the weights found for {base.extractor} (sha256 {base.weights[:12]}…) are not those "
            f"that {run} was tuned from ({known.weights[:12]}…)",
            Name("the right ones", f"{base.extractor}.model"),
        )
    for name in ("quick_gelu", "size", "mean_std", "config"):
        there, here = known.settings.get(name), base.settings.get(name)
        if there != here:
            raise InputError(
                f"{run} was tuned with {name} {there}, and {base.extractor} has {here}",
                LeaveOut(f"{base.extractor}.{name}"),
            )
    return replace(
        base,
        module=tuned.onto(base.module),
        weights=tuned.sha256,
        settings={**base.settings, "tuning": part_name(tuned.record.way)},
        origin={**base.origin, TUNED: str(place)},
        seen=tuned.seen,
    )


def _load_clip(settings: ClipSettings, runtime: Runtime) -> LoadedTower:
    from clare.models.clip import load_clip

    clip = load_clip(settings.model, settings.weights, settings.quick_gelu, settings.size)
    mean, std = clip.mean, clip.std
    if settings.mean_std == "clip" and not clip.is_normalisation_known:
        raise InputError(
            f"{clip.origin['weights']} does not say what its images are normalised with, and "
            f"weights of {clip.origin['model']} are known of several kinds",
            Set("clip.mean_std", "half", "for weights of LAION-2B"),
            Name("a folder whose open_clip_config.json says it", "clip.weights"),
        )
    if settings.mean_std != "clip":
        mean, std = NORMALISATIONS[settings.mean_std]
    module, layers = _reading(clip.visual, settings, runtime)
    size = module.side
    return LoadedTower(
        extractor="clip",
        module=module,
        size=size,
        mean=mean,
        std=std,
        weights=clip.weights,
        settings=_deciding(
            settings,
            {"layers": layers, "size": size, "quick_gelu": clip.quick_gelu},
            config=clip.config,
            dtype=runtime.dtype,
            backbone=clip.backbone,
            depth=len(module.blocks) if settings.class_layers else None,
        ),
        origin=clip.origin,
        text=_TextFiles(clip),
    )


def _load_timm(settings: TowerSettings, runtime: Runtime) -> LoadedTower:
    from clare.models.image_tower import TimmTower
    from clare.models.timm_tower import load_tower

    tower = load_tower(settings.model, settings.weights, settings.size)
    last = len(tower.trunk.blocks) - 1
    layers = _choose_blocks(settings.layers, last, "tower")
    mean, std = NORMALISATIONS.get(settings.mean_std, (tower.mean, tower.std))
    # Blocks give the residual stream, before the final norm.
    tokens = {"tower_tokens": last, **{f"tower_tokens_{k}": k for k in layers}}
    return LoadedTower(
        extractor="tower",
        module=TimmTower(tower.trunk, tokens, runtime, output_fmt="NLC"),
        size=tower.size,
        mean=mean,
        std=std,
        weights=tower.weights,
        settings=_deciding(
            settings,
            {"layers": layers, "size": tower.size},
            config=tower.config,
            dtype=runtime.dtype,
            backbone=tower.backbone,
        ),
        origin=tower.origin,
    )


def _deciding(
    settings: ClipSettings | TowerSettings, found: Mapping[str, Any], **derived: str | int | None
) -> dict[str, Any]:
    """What decides a value: where weights came from does not, nor what is None.

    Class tokens of layers, and which layers these are counted from the end, are said only where
    they are stored: all else keeps the fingerprint that it had before there were any.
    """
    values = {**asdict(settings), **found}
    del values["model"], values["weights"], values["tuned"]
    if not values.get("class_layers"):
        values.pop("class_layers", None)
    return values | {name: value for name, value in derived.items() if value is not None}


class _TextFiles:
    """Makes the files that rebuild a CLIP's text tower without a hub; they are large."""

    def __init__(self, clip: ClipModel) -> None:
        self._tensors, self._metadata = clip.text, clip.text_metadata
        self._tokenizer = clip.tokenizer

    def __call__(self) -> dict[str, bytes]:
        from safetensors.torch import save

        found = {"text_tower.safetensors": save(self._tensors, self._metadata)}
        return found if self._tokenizer is None else {**found, "tokenizer.json": self._tokenizer}


def _reading(
    visual: Any, settings: ClipSettings, runtime: Runtime
) -> tuple[ClipTower, list[int | str]]:
    """How to read a tower, and the layers asked for, sorted, each once."""
    if not hasattr(visual, "trunk") and not hasattr(visual, "attnpool"):
        return _read_vit(visual, settings, runtime)
    if settings.class_layers:
        raise InputError(
            "clip gives class tokens after blocks of open_clip's own vision transformers alone, "
            f"and this tower is a {type(getattr(visual, 'trunk', visual)).__name__}",
            LeaveOut("clip.class_layers"),
        )
    read = _read_timm if hasattr(visual, "trunk") else _read_resnet
    return read(visual, settings.layers, runtime)


def _read_vit(
    visual: Any, settings: ClipSettings, runtime: Runtime
) -> tuple[ClipTower, list[int | str]]:
    from clare.models.image_tower import ClipTower

    last = len(visual.transformer.resblocks) - 1
    chosen = _choose_blocks(settings.layers, last, "clip")
    # Without its projection the tower returns what comes before it; the projection is applied
    # by ours, in float32. Blocks give the residual stream, before ln_post.
    projection = visual.proj
    visual.proj = None
    tokens = {"clip_tokens": last, **{f"clip_tokens_{k}": k for k in chosen}}
    vectors = {f"clip_cls_{k}": k for k in chosen} if settings.class_layers else {}
    how: dict[str, Any] = {"output_fmt": "NLC", "output_extra_tokens": bool(vectors)}
    return ClipTower(visual, projection, tokens, runtime, vectors=vectors, **how), list(chosen)


def _read_resnet(
    visual: Any, layers: tuple[int | str, ...], runtime: Runtime
) -> tuple[ClipTower, list[int | str]]:
    from clare.models.image_tower import ClipTower

    numbers = {f"layer{k}": k for k in (1, 2, 3, 4)}  # 0 is the stem
    asked = {f"layer{layer}" if isinstance(layer, int) else layer for layer in layers}
    if ALL in asked:
        asked = (asked - {ALL}) | (set(numbers) - {"layer3"})
    if unknown := sorted(asked - set(numbers)):
        raise InputError(f"clip's layers of a ResNet are {', '.join(numbers)}, not {unknown[0]}")
    chosen = sorted(asked)
    tokens = {"clip_tokens": 3, **{f"clip_tokens_{name}": numbers[name] for name in chosen}}
    # The last one must be asked for: without it not all blocks run.
    indices = list(numbers.values())
    return ClipTower(visual, None, tokens, runtime, indices), list(chosen)


def _read_timm(
    visual: Any, layers: tuple[int | str, ...], runtime: Runtime
) -> tuple[ClipTower, list[int | str]]:
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    from clare.models.image_tower import ClipTower

    if not hasattr(visual.trunk, "forward_intermediates"):
        raise InputError("clip can't read this model's tower: timm gives none of its tokens")
    last = len(visual.trunk.feature_info) - 1
    chosen = _choose_blocks(layers, last, "clip")
    # As with the transformers above. A head that pools, or is more than a matrix, stays.
    head = getattr(visual.head, "proj", None)
    projection = None
    if isinstance(head, nn.Linear) and head.bias is None and not hasattr(visual.head, "pool"):
        projection = head.weight.T
        visual.head = nn.Identity()
    tokens = {"clip_tokens": last, **{f"clip_tokens_{k}": k for k in chosen}}
    # Patches as they come: learned tokens may stand behind them, which have no place in a map.
    flat = isinstance(visual.trunk, Eva | VisionTransformer)
    how: dict[str, Any] = {"output_fmt": "NLC"} if flat else {}
    return ClipTower(visual, projection, tokens, runtime, **how), list(chosen)


def _choose_blocks(layers: Sequence[int | str], last: int, extractor: str) -> list[int]:
    """Block numbers, sorted, each once.

    Raises:
        InputError: there is no such block.
    """
    found = set(range(last)) if ALL in layers else set()
    for layer in layers:
        if layer == ALL:
            continue
        if not isinstance(layer, int) or not 0 <= layer <= last:
            raise InputError(f"{extractor}'s layers of this model are 0 to {last}, not {layer}")
        found.add(layer)
    return sorted(found)
