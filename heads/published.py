"""What a format of published checkpoints is: a file's tensors in, a head and what it reads out.

`heads/checkpoints/` holds one format a file; the file's name is the format's public name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from clare.errors import InputError, WeightsError
from clare.heads.config import DetectorConfig
from clare.models.hub import LOCAL
from clare.models.weights import require_fit
from clare.store.spec import Fingerprint

if TYPE_CHECKING:
    import torch

    from clare.models.carried import CarriedModel
    from clare.models.checkpoint import Checkpoint

CLIP_IMAGES: Mapping[str, Any] = {"crop": "centre"}
"""CLIP's own preparation: the shorter side to the tower's size, then the square in the middle."""

OPENAI: Mapping[str, Any] = {"mean_std": "clip", "quick_gelu": True}
"""Settings of the extractor `clip` with OpenAI's weights as they were published."""

VIT_L14 = ("ViT-L-14", "ViT-L-14-quickgelu")
RN50 = ("RN50", "RN50-quickgelu")
"""OpenAI's towers, under every name that open_clip has for them."""

SD15 = (
    "sd1.5",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-v1-5",
)
"""Stable Diffusion 1.5: its short name, and where it is and was on the hub."""

UNSAID: Mapping[str, Any] = {"noise": "image"}
"""Values of settings that a fingerprint leaves out."""

BILINEAR = "its code resizes images bilinearly, here it is bicubic, so features of images differ"
"""The remark on a head whose images were not resized as an extractor resizes them."""


@dataclass(frozen=True)
class About:
    """Where a published head comes from.

    Args:
        title: its name and authors, short.
        url: of its code.
        weights: where the file is to be had.
        licence: of weights and code.
        trained_on: what its authors trained it on.
        figure: what they say it reaches, on what; empty where no figure is known.
        needs: the features that it reads and the images' preparation, in words.
        aligned: settings of the image preparation that align faces as those that it was trained on
            were, or nearest to that; empty where they were not.
    """

    title: str
    url: str
    weights: str
    licence: str
    trained_on: str
    figure: str
    needs: str
    aligned: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Need:
    """The features of one extractor that a head reads.

    Args:
        extractor: its name.
        settings: of the extractor, that a fingerprint has to have.
        model: the tower, under every name that the extractor's models have for it; the first one
            is the name to extract with. Empty where the head brings its own tower.
        weights: the tag of its weights.
        images: settings of the image preparation, as published.
        sha256: of its weights, where the head brings its own tower.
        aligned: further settings of these, for images that are not aligned faces already: features
            with and without them are taken.
    """

    extractor: str
    settings: Mapping[str, Any]
    images: Mapping[str, Any]
    model: tuple[str, ...] = ()
    weights: str = ""
    sha256: str = ""
    aligned: Mapping[str, Any] = field(default_factory=dict)

    def problems(self, found: Fingerprint, origin: Mapping[str, Any]) -> list[str]:
        """What keeps features from being those that the head was trained on.

        Args:
            found: the features' fingerprint.
            origin: where their weights came from, by name.
        """
        differing = [
            f"{name} is {found.settings.get(name, UNSAID.get(name))}, not {value}"
            for name, value in self.settings.items()
            if found.settings.get(name, UNSAID.get(name)) != value
        ]
        if self.sha256 and found.weights != self.sha256:
            return ["its weights are not those in the file", *differing]
        if not self.model:
            return differing
        named = _named_model(origin)
        is_tag = bool(named) and not _is_own(origin)
        tag = str(origin.get("weights", ""))
        if (not named or named in self.model) and (not is_tag or tag == self.weights):
            return differing
        weights = f" ({tag})" if tag else ""
        return [f"the model is {named}{weights}, not {self._wanted}", *differing]

    def doubts(self, found: Fingerprint, origin: Mapping[str, Any]) -> list[str]:
        """What nothing says of features that may otherwise be those."""
        if not self.model or not _is_own(origin):
            return []
        named = ", ".join(f"{name} {value}" for name, value in origin.items()) or "not recorded"
        return [
            f"{found.key} is of weights of one's own ({named}): nothing proves them {self._wanted}"
        ]

    @property
    def asked(self) -> dict[str, Any]:
        """The settings to extract with: weights tell QuickGELU, and None is no setting."""
        return {n: v for n, v in self.settings.items() if n != "quick_gelu" and v is not None}

    @property
    def _wanted(self) -> str:
        """The tower and its weights."""
        return f"{self.model[0]} ({self.weights})" if self.weights else self.model[0]

    def unlike(self, found: Fingerprint) -> list[str]:
        """In what the images were prepared otherwise than published."""
        images = found.settings.get("images", {})
        usual = {"crop": "none", "crop_side": None, "resize": None, "recode": None}
        wanted = {name: self.images.get(name, value) for name, value in usual.items()}
        if images.get("align", "none") != "none":
            wanted |= {"align": "none", **self.aligned}
        return [
            f"{name} is {images.get(name, usual.get(name))}, not {value}"
            for name, value in wanted.items()
            if images.get(name, usual.get(name)) != value
        ]


@dataclass(frozen=True)
class PublishedHead:
    """A checkpoint as one of our heads.

    Args:
        config: its parts and what they read.
        specs: shape of one row by stored field.
        tensors: of the detector, by name, without the text tower.
        needs: by stored field.
        remarks: what a user should know of it, beside its `About`.
        threshold: the margin from which on its authors call an image fake.
        carried: the tower that lies in the file too; None where a published one is read.
    """

    config: DetectorConfig
    specs: Mapping[str, tuple[int, ...]]
    tensors: Mapping[str, torch.Tensor]
    needs: Mapping[str, Need]
    remarks: tuple[str, ...] = ()
    threshold: float = 0.0
    carried: CarriedModel | None = None

    @property
    def extractors(self) -> dict[str, Need]:
        """Each tower that it reads, under the name that a run has for it: ``clip``, ``clip_2``."""
        found: dict[str, Need] = {}
        for need in self.needs.values():
            same = sum(one.extractor == need.extractor for one in found.values())
            if need not in found.values():
                found[f"{need.extractor}_{same + 1}" if same else need.extractor] = need
        return found

    def layers(self, need: Need) -> list[int | str]:
        """The blocks whose tokens it reads of a tower."""
        fields = [field for field, one in self.needs.items() if one == need]
        named = [field.partition("_tokens_")[2] for field in fields]
        return [int(layer) if layer.isdigit() else layer for layer in named if layer]


@dataclass(frozen=True)
class ImportRecord:
    """What a run's record holds of the checkpoint that it was made of.

    Args:
        format: its name.
        file: the checkpoint's name.
        sha256: of the checkpoint.
        about: where it comes from.
        remarks: what a user should know: what nothing proves, and what is not as published.
    """

    format: str
    file: str
    sha256: str
    about: About
    remarks: tuple[str, ...] = field(default=())


class CheckpointFormat(ABC):
    """One layout of published checkpoints.

    A subclass stands alone in its file.

    Attributes:
        name: public name: the name of the subclass's file.
        about: where such checkpoints come from.
    """

    name: ClassVar[str]
    about: ClassVar[About]

    def __init_subclass__(cls) -> None:
        cls.name = cls.__module__.rpartition(".")[2]

    @abstractmethod
    def recognises(self, checkpoint: Checkpoint) -> bool:
        """Whether the names of its tensors are this format's; shapes may still be wrong."""

    @abstractmethod
    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The head that a recognised checkpoint holds.

        Raises:
            InputError: a tensor is missing, has another shape, or is one too many.
        """


def require_tensors(
    checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]], *, beside: tuple[str, ...] = ()
) -> dict[str, torch.Tensor]:
    """The tensors of a head, all of them in float32.

    Args:
        checkpoint: the file.
        shapes: that they must have, by name.
        beside: beginnings of further names that may be there and are passed over, as a frozen
            tower's.

    Raises:
        WeightsError: one is missing, has another shape, is none of these, or is not finite.
    """
    import torch

    wanted = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    given = {
        name: value
        for name, value in checkpoint.tensors.items()
        if name in wanted or not name.startswith(beside or "\0")
    }
    require_fit(wanted, given, checkpoint.path, "head")
    for name, value in given.items():
        if not value.isfinite().all():
            raise WeightsError(
                f"{checkpoint.path} can't be read: {name} has values that are no finite numbers, "
                "as a training that diverged leaves them"
            )
    return {name: value.float() for name, value in given.items()}


def width_of(checkpoint: Checkpoint, name: str, axis: int, known: Mapping[int, Any]) -> int:
    """The width that a tensor is made for, which tells the tower.

    Args:
        checkpoint: the file.
        name: of the tensor.
        axis: of its shape.
        known: the widths that were published.

    Raises:
        InputError: it is another.
    """
    shape = tuple(checkpoint.tensors[name].shape)
    if len(shape) <= axis or shape[axis] not in known:
        widths = " or ".join(map(str, known))
        raise InputError(
            f"{checkpoint.path} can't be read: {name} has the shape {shape}, and a width of "
            f"{widths} was published"
        )
    return shape[axis]


def _named_model(origin: Mapping[str, Any]) -> str:
    """The model whose build is told by name; empty of a folder, and of a hub's unless LaRE's."""
    if "model_config" in origin:  # a single file, and what it is like
        return str(origin["model_config"])
    is_named = "weights" in origin or "revision" in origin
    described = origin.get(LOCAL) == "folder" or ":" in str(origin.get("model"))
    return str(origin["model"]) if is_named and not described else ""


def _is_own(origin: Mapping[str, Any]) -> bool:
    """Whether weights were a file or folder of the user's, or of a hub: no tag says which.

    Stores made before `LOCAL` was recorded tell a file by its ending alone.
    """
    if LOCAL in origin or "model_config" in origin or not _named_model(origin):
        return True
    return "revision" not in origin and "." in str(origin["weights"])
