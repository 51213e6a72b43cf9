"""What is known of published weights: whose they are, and how new their training images can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from clare.dates import read_span, span_text
from clare.errors import InputError
from clare.foreign import read_value
from clare.models.hub import LOCAL
from clare.typed_json import from_json

FILE = "towers.yaml"

NOT_SAID = "not said"

TUNED = "tuned"
"""What an origin says of a tower that was tuned: the folder of the run."""


@dataclass(frozen=True)
class Family:
    """Weights that were trained on the same images, as ``towers.yaml`` has them.

    Args:
        title: their name in text.
        weights: patterns of ``MODEL:TAG``, of which ``*`` is anything.
        licence: of the weights.
        trained_on: in words.
        public: month in which the model or its data was described in public.
        source: where all of this is read.
        models: ``MODEL:TAG`` of those that are worth a line in a list.
        crawl: when the images were collected; empty where the makers don't say it.
    """

    title: str
    weights: tuple[str, ...]
    licence: str
    trained_on: str
    public: str
    source: str
    models: tuple[str, ...] = ()
    crawl: str = ""

    def __post_init__(self) -> None:
        for text in filter(None, (self.public, self.crawl)):
            try:
                read_span(text)
            except ValueError as error:
                raise InputError(str(error)) from None

    @property
    def newest(self) -> date:
        """The last day of which an image can have been among those that they were trained on."""
        return min(read_span(text).last for text in (self.public, self.crawl) if text)

    @property
    def crawl_text(self) -> str:
        """When the images were collected, in words."""
        if self.crawl:
            return span_text(self.crawl)
        return f"{NOT_SAID}; public by {self.public}"


@dataclass(frozen=True)
class _File:
    families: Mapping[str, Family]


@cache
def known_families() -> tuple[Family, ...]:
    """All that is known, in the order of the file."""
    path = Path(str(files("clare.data_manifests").joinpath(FILE)))
    return tuple(from_json(_File, read_value(path, "facts of towers"), path).families.values())


def find_family(model: str) -> Family | None:
    """The family of ``MODEL:TAG``, or of a hub's name; None where nothing is known of it."""
    return next(
        (
            family
            for family in known_families()
            if any(fnmatchcase(model, pattern) for pattern in family.weights)
        ),
        None,
    )


def family_of(origin: Mapping[str, Any]) -> Family | None:
    """The family of weights by where they came from, as extractors record it.

    Args:
        origin: ``model``, and where the model is named ``weights``. Of files and folders of the
            user's own nothing is known, whatever they are called, nor of towers that a run tuned:
            images of any date may have moved them.
    """
    if LOCAL in origin or TUNED in origin or "model" not in origin:
        return None
    return find_family(named(origin))


def listed_models(names: Sequence[str] = ()) -> list[str]:
    """``MODEL:TAG`` of towers: those that are worth a line, or those that are named.

    Args:
        names: of models, with or without a tag; of a model that is listed, each of its tags.
    """
    every = [model for family in known_families() for model in family.models]
    found = []
    for name in names:
        own = [one for one in every if name in (one, one.partition(":")[0], one.replace(":", "."))]
        found += own or [name]
    return found if names else every


def named(origin: Mapping[str, Any]) -> str:
    """``MODEL:TAG`` of weights, or what else they are called."""
    model, tag = (str(origin.get(name) or "") for name in ("model", "weights"))
    tuned = f", tuned in {origin[TUNED]}" if TUNED in origin else ""
    return (f"{model}:{tag}" if tag else model or "weights of unknown origin") + tuned
