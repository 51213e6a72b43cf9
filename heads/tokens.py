"""Which stored fields a head reads: its tokens as one text, ``clip_tokens_20+lare``, and its image
vector; no torch yet."""

from __future__ import annotations

from clare.advice import LeaveOut
from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig, create_config
from clare.plugins import part_name
from clare.store.spec import split_field

_ROLES = ("tokens", "tokens_2")


def tokens_of(detector: DetectorConfig) -> str:
    """The fields that a configuration names as tokens, joined by ``+``; empty where it names none.

    Of a decoder, LaRE that is named beside them is among them.
    """
    tokens = [role for role in detector.fields if role.partition("_")[0] == _ROLES[0]]
    roles = sorted(tokens, key=lambda role: (len(role), role))  # tokens, tokens_2, … tokens_10
    if detector.decoder and "lare" in detector.fields:
        roles.append("lare")
    return "+".join(detector.fields[role] for role in roles)


def take_tokens(config: TrainConfig, text: str) -> TrainConfig:
    """A configuration that reads other fields as tokens.

    Args:
        config: its parts are chosen.
        text: fields, joined by ``+`` or commas: of a decoder all that it takes, LaRE too.

    Raises:
        InputError: the head takes no tokens, or not so many fields of them.
    """
    detector = config.detector
    if detector.decoder:
        kept = {role: name for role, name in detector.fields.items() if role == "mask"}
        return create_config({"fields": kept | _decoder_fields(text)}, config)
    if not reads_tokens(detector):
        raise InputError(f"fusion {part_name(detector.fusion)} reads no tokens", LeaveOut("tokens"))
    names = _split(text)
    if len(names) > 1:
        fusion = part_name(detector.fusion)
        raise InputError(f"fusion {fusion} reads one field of tokens, and {text!r} names several")
    return create_config({"fields": {**detector.fields, "tokens": names[0]}}, config)


def take_vector(config: TrainConfig, field: str) -> TrainConfig:
    """A configuration that reads another field as the image vector, as ``tower_cls``.

    Args:
        config: its parts are chosen.
        field: of one axis.

    Raises:
        InputError: the head takes no image vector.
    """
    detector = config.detector
    if detector.decoder or "cls" not in _roles(detector):
        head = part_name(detector.decoder or detector.fusion)
        raise InputError(f"{head} reads no image vector", LeaveOut("cls"))
    return create_config({"fields": {**detector.fields, "cls": field}}, config)


def reads_tokens(detector: DetectorConfig) -> bool:
    """Whether tokens are among what a head reads, or may be.

    Raises:
        InputError: there is no such fusion.
    """
    return bool(detector.decoder) or "tokens" in _roles(detector)


def _roles(detector: DetectorConfig) -> tuple[str, ...]:
    from clare.heads.detector import fusion_roles

    return fusion_roles(detector)


def _decoder_fields(text: str) -> dict[str, str]:
    """What a decoder takes, by role."""
    names = _split(text)
    lare = [name for name in names if split_field(name)[0] == "lare"]
    tokens = [name for name in names if name not in lare]
    if len(tokens) > len(_ROLES) or len(lare) > 1:
        raise InputError(
            f"a decoder takes one or two fields of tokens, and one of LaRE beside or in their "
            f"place: {text!r} names {len(tokens)} and {len(lare)}"
        )
    found = dict(zip(_ROLES, tokens, strict=False))
    return found | dict(zip(["lare"], lare, strict=False))


def _split(text: str) -> list[str]:
    names = [name.strip() for name in text.replace("+", ",").split(",")]
    if len(set(names)) < len(names) or not all(names):
        raise InputError(f"{text!r} is no list of different fields, such as clip_tokens_20+lare")
    return names
