"""The stored fields that a run reads."""

from __future__ import annotations

from clare.heads.config import TrainConfig
from clare.heads.detector import fields_of, needs_text, tower_fields
from clare.heads.localizer import mask_field
from clare.heads.model import fields_by_role


def split_fields(config: TrainConfig, split: str) -> tuple[str, ...]:
    """The stored fields that a run reads of a split: its head's, and the masks where it needs them.

    Raises:
        InputError: a part of it is not there.
    """
    fields = fields_of(config.detector)
    masks = config.needs_masks(split)
    return (*fields, mask_field(config.detector)) if masks else fields


def all_fields(config: TrainConfig) -> tuple[str, ...]:
    """The stored fields that a run reads, in either split.

    Raises:
        InputError: a part of it is not there.
    """
    fields = [field for split in ("train", "val") for field in split_fields(config, split)]
    return tuple(dict.fromkeys(fields))


def recorded_fields(config: TrainConfig) -> tuple[str, ...]:
    """The stored fields whose fingerprints a run's record has: those that it reads, and those that
    its tower made before it was tuned, which say what the tower is.

    Raises:
        InputError: a part of it is not there.
    """
    return (*all_fields(config), *tower_fields(config.detector).values())


def text_beside(config: TrainConfig) -> str | None:
    """The field of the class token, where a run has a text tower: both are of one CLIP."""
    return fields_by_role(config.detector, ["cls"])["cls"] if needs_text(config.detector) else None
