"""Several image towers side by side: each an extractor of its own, from one list of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clare.advice import LeaveOut, Name
from clare.errors import InputError
from clare.models.towers import TOWERS, reader_of
from clare.plugins import part_name
from clare.wording import listed

CARRIED = ("layers", "size")
"""Settings of `clip` that hold for the towers of its list that `tower` reads, too."""


@dataclass(frozen=True)
class Wanted:
    """An extractor that is to be made.

    Args:
        name: of the extractor, or the path of its file.
        label: that it goes by in this extraction: its name, numbered from the second of a name on.
        model: which of several models it reads; empty where its settings say so themselves.
        own: settings that it has because the model is one of several.
        shared: those that it has unless they are given for its extractor.
    """

    name: str
    label: str
    model: str = ""
    own: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, merged: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Its settings, of those of all extractors."""
        return {**self.shared, **merged.get(part_name(self.name), {}), **self.own}


def list_wanted(names: Sequence[str], given: Mapping[str, Mapping[str, Any]]) -> list[Wanted]:
    """The extractors that are to be made: of one that reads a tower, one for each of its models.

    Of a list of `clip`'s, timm's models without a text side are read by `tower`.

    Args:
        names: of extractors.
        given: settings by extractor, as the user gave them.

    Raises:
        InputError: there are not as many weights as models, or a model is named twice.
    """
    found: list[Wanted] = []
    for name in names:
        settings = given.get(part_name(name), {})
        models = models_of(name, settings)
        if len(models) < 2:
            found.append(_numbered(found, name))
            continue
        if len(set(models)) < len(models):
            raise InputError(f"{name} is given the same model twice: {listed(models)}")
        for model, weights in zip(models, _weights(name, settings, len(models)), strict=True):
            reader = reader_of(model, name)
            moved = {one: settings[one] for one in CARRIED if reader != name and one in settings}
            own = {"model": model, "weights": weights}
            found.append(_numbered(found, reader, model, own, moved))
    return found


def models_of(name: str, settings: Mapping[str, Any]) -> list[str]:
    """The models that an extractor's settings list; none where it reads no tower."""
    given = settings.get("model") if part_name(name) in TOWERS else None
    if isinstance(given, list | tuple):
        return [str(model) for model in given]
    if not isinstance(given, str) or Path(given).expanduser().exists():
        return [] if given is None else [str(given)]
    return [model.strip() for model in given.split(",") if model.strip()]


def require_one_tower(given: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse several towers where one is read.

    Raises:
        InputError: an extractor is given several models.
    """
    for name, settings in given.items():
        if len(models := models_of(name, settings)) > 1:
            raise InputError(
                f"one tower is read here, and {name} is given several: {listed(models)}",
                Name("one", f"{name}.model"),
            )


def refuse_twins(labels: Mapping[str, str]) -> None:
    """Refuse two towers that are one.

    Args:
        labels: extractor to its fingerprint's key.

    Raises:
        InputError: two give the same values.
    """
    known: dict[str, str] = {}
    for label, key in labels.items():
        if (other := known.setdefault(key, label)) != label:
            raise InputError(f"{other} and {label} are the same tower: name it once")


def _numbered(before: Sequence[Wanted], name: str, *given: Any) -> Wanted:
    part = part_name(name)
    number = sum(part_name(one.name) == part for one in before) + 1
    return Wanted(name, part if number == 1 else f"{part}_{number}", *given)


def _weights(name: str, settings: Mapping[str, Any], count: int) -> Iterator[str | None]:
    """The weights of each model; None means its own."""
    given = settings.get("weights")
    if given is None:
        return iter([None] * count)
    several = given if isinstance(given, list | tuple) else str(given).split(",")
    if len(several) != count:
        raise InputError(
            f"{name} is given {count} models, and weights of {len(several)}: of each one's own "
            "the place is left empty",
            LeaveOut(f"{name}.weights"),
        )
    return iter([str(one).strip() or None if one is not None else None for one in several])
