"""A localiser: one decoder over named fields of a store, to a map of fake pixels an image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from clare.errors import InputError
from clare.heads import decoders
from clare.heads.base import INPUTS, MAP, Decoder, Inputs, Role
from clare.heads.config import DetectorConfig
from clare.heads.model import Model, Specs, fields_by_role
from clare.plugins import find_part
from clare.settings import build_settings
from clare.wording import listed

_TOP = 0.01
"""Share of the map whose highest probabilities make the score ``top``."""


def find_decoder(name: str) -> type[Decoder]:
    """A decoder by its name, or by the path of its file.

    Raises:
        InputError: there is no such decoder.
    """
    return find_part(decoders, name, Decoder)  # type: ignore[type-abstract]


def roles_of(config: DetectorConfig) -> tuple[Role, ...]:
    """The inputs of a decoder: those that the configuration names, else the tokens alone.

    Raises:
        InputError: it names one that a decoder can't take.
    """
    if "cls" in config.fields:
        raise InputError("a decoder takes no class token, which has no place in the picture")
    if "pixels" in config.fields:
        raise InputError("a decoder takes no pixels, which are for a tower that is tuned")
    if further := [role for role in config.fields if role in INPUTS and role not in list(INPUTS)]:
        raise InputError(
            f"a decoder takes one or two fields of tokens, and LaRE, but no {listed(further)}"
        )
    named = [role for role in INPUTS if role in config.fields and role != "mask"]
    return tuple(named) or ("tokens",)


def mask_field(config: DetectorConfig) -> str:
    """The stored field of the masks."""
    return fields_by_role(config, ["mask"])["mask"]


class Localizer(Model):
    """Rows of a store to a map of logits each, and one score of the map.

    Args:
        config: its decoder and what that reads.
        specs: shapes of one row by stored field; may name more fields than are read.

    Attributes:
        decoder: what makes the map.

    Raises:
        InputError: the decoder, a setting, a field, a timestep or a number of draws is not usable.
    """

    scored_together: int = 32  # a convolution at 256 x 256 takes 17 MB an image

    def __init__(self, config: DetectorConfig, specs: Specs) -> None:
        cls = find_decoder(config.decoder)
        super().__init__(config, specs, roles_of(config))
        settings = build_settings(config.decoder, cls.Settings, config.decoder_settings)
        self.decoder: Decoder = cls(settings, self.shapes)
        self._mask = mask_field(config)

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The decoder."""
        return (self.decoder,)

    def inputs(self, batch: Mapping[str, torch.Tensor]) -> Inputs:
        """What the decoder takes; beside it, of a batch that has masks, what it learns.

        Returns:
            By role; the mask (B, 256, 256) from 0 to 1, soft at the edges where it was scaled.
        """
        inputs = dict(super().inputs(batch))
        if self._mask in batch:
            inputs["mask"] = soft_mask(batch[self._mask])
        return inputs

    def maps(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Logits (B, 256, 256) over the squashed image; the batch is that of `inputs`."""
        found: torch.Tensor = self.decoder(self.inputs(batch))
        return found

    def margins(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The image's score by its map, (B,) float64, as a logit; its sigmoid is p(fake)."""
        return self.score(self.maps(batch))

    def score(self, maps: torch.Tensor) -> torch.Tensor:
        """The margins (B,) float64 of maps of logits (B, 256, 256)."""
        logits = maps.double().flatten(1)
        kind = self.config.score
        if kind == "mean_logit":
            return logits.mean(1)
        if kind == "max":
            return logits.amax(1)
        shares = logits.sigmoid()
        if kind == "top":
            shares = shares.topk(max(1, round(_TOP * int(shares.shape[1]))), 1).values
        return shares.mean(1).logit(eps=1e-12)

    def attention(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """None: the map itself says where."""
        return None


def soft_mask(stored: torch.Tensor) -> torch.Tensor:
    """Masks uint8 (B, S, S) of 0 to 255 as float32 (B, 256, 256) of 0 to 1, bilinear."""
    masks = stored.float().div_(255)
    if masks.shape[-1] == MAP:
        return masks
    scaled = functional.interpolate(
        masks[:, None], size=(MAP, MAP), mode="bilinear", antialias=True
    )
    return scaled[:, 0]
