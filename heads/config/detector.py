"""Everything that decides a detector's shape and what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clare.advice import LeaveOut
from clare.errors import InputError
from clare.plugins import is_path

NO_TUNING = "none"
"""In place of a way of tuning: the tower stays as it is, and its features are read."""

_BLOCKS, _LAST = "blocks", "last"
"""The way of tuning whose setting stands in its own text, ``blocks:4``, and that setting."""

PartKind = Literal["fusion", "classifier", "decoder"]
PARTS: tuple[PartKind, ...] = ("fusion", "classifier", "decoder")

SETTABLE: tuple[str, ...] = (*PARTS, "tune")
"""Parts that have settings of their own: those of a head, and the way its tower is tuned."""

Score = Literal["mean", "mean_logit", "max", "top"]
"""How an image's score comes from its map."""


@dataclass(frozen=True)
class DetectorConfig:
    """Everything that decides a detector's shape and what it reads.

    With a decoder there is neither fusion nor classifier: both are empty.

    Args:
        fusion: what makes one vector of an image's features. A name, or a Python file with a
            `clare.heads.base.Fusion`.
        classifier: what decides by the vector. A name, or a Python file with a
            `clare.heads.base.Classifier`.
        decoder: what makes a map of fake pixels of an image's features. A name, or a Python file
            with a `clare.heads.base.Decoder`; empty for a detector of fusion and classifier.
        fusion_settings: those that differ from the fusion's defaults.
        classifier_settings: those that differ from the classifier's defaults.
        decoder_settings: those that differ from the decoder's defaults.
        score: how an image's score comes from a decoder's map: ``mean`` or ``max`` of its
            probabilities, ``top``, the mean of the highest hundredth of them, or ``mean_logit``.
        tune: how the image tower moves while the head learns, from the store's pixels: a way of
            `clare.models.tuning`, or a Python file with a `clare.models.tuned.Tuning`; ``none``
            trains on cached features, ``blocks:4`` moves the last four blocks.
        tune_settings: those that differ from the way's defaults.
        fields: the store's field by role (cls, tokens, lare, mask, pixels; cls_2, tokens_2,
            tokens_3 and so on for further ones) where it is not the usual one;
            ``clip_cls#1a2b3c4d`` is that of the fingerprint that begins so. Of a decoder they
            name what it takes; the tokens alone if left out. Those of block_tokens and
            block_cls follow from ``tune``.
        timestep: which of the stored LaRE timesteps, counted from 0.
        draws: LaRE noise draws that are averaged. All if left out.
        standardize: whether tokens and LaRE are standardised by channel. The class token never
            is: it comes from a LayerNorm, and its space is the prompts'.
    """

    fusion: str = "cross_attn"
    classifier: str = "cocoop"
    decoder: str = ""
    fusion_settings: Mapping[str, Any] = field(default_factory=dict)
    classifier_settings: Mapping[str, Any] = field(default_factory=dict)
    decoder_settings: Mapping[str, Any] = field(default_factory=dict)
    score: Score = "mean"
    tune: str = NO_TUNING
    tune_settings: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    timestep: int = 0
    draws: int | None = None
    standardize: bool = True

    def __post_init__(self) -> None:
        if self.decoder:
            object.__setattr__(self, "decoder", with_underscores(self.decoder))
            for part in PARTS[:2]:
                object.__setattr__(self, part, "")
                object.__setattr__(self, f"{part}_settings", {})
        tune, settings = _tuning(self.tune)
        object.__setattr__(self, "tune", tune)
        object.__setattr__(self, "tune_settings", {**self.tune_settings, **settings})
        if self.decoder and self.is_tuned:
            raise InputError(
                "a tower is tuned under a fusion and a classifier, not under a decoder",
                LeaveOut("tune"),
                LeaveOut("decoder"),
            )
        for name in SETTABLE:
            object.__setattr__(self, name, absolute_part(getattr(self, name)))

    @property
    def is_tuned(self) -> bool:
        """Whether its image tower moves."""
        return self.tune != NO_TUNING

    @property
    def way(self) -> str:
        """How its image tower moves, as it is asked for: ``blocks:4``."""
        if self.tune != _BLOCKS or _LAST not in self.tune_settings:
            return self.tune
        return f"{self.tune}:{self.tune_settings[_LAST]}"

    @property
    def parts(self) -> dict[str, str]:
        """The names of its parts, by what they are."""
        found: dict[str, str] = {kind: name for kind in PARTS if (name := getattr(self, kind))}
        return {**found, "tune": self.tune} if self.is_tuned else found


def with_underscores(name: str) -> str:
    """A decoder's name as its file has it: ``conv-20`` is conv_20."""
    return name if is_path(name) else name.replace("-", "_")


def _tuning(text: str) -> tuple[str, dict[str, Any]]:
    """A way of tuning and the settings that its text gives: ``blocks:4`` is the last four blocks.

    Raises:
        InputError: what stands behind ``blocks:`` is no number.
    """
    name, colon, number = text.partition(":")
    if name != _BLOCKS or not colon:
        return with_underscores(text), {}
    if not number.isascii() or not number.isdigit():
        raise InputError(f"blocks:K takes a number of blocks, as in blocks:4, not {number!r}")
    return name, {_LAST: int(number)}


def absolute_part(part: str) -> str:
    """A part's name; of a file its full path, which any working folder finds."""
    return str(Path(part).expanduser().absolute()) if is_path(part) else part
