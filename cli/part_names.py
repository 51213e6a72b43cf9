"""Names of fusions, classifiers and presets for help texts, without importing one of them."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files

from clare.plugins import list_parts


def names_of(package: str) -> str:
    """The parts of a package of `clare.heads`, comma-separated."""
    return ", ".join(list_parts(import_module(f"clare.heads.{package}")))


def preset_names() -> str:
    """The presets of heads, comma-separated."""
    found = [one.name for one in files("clare.heads").joinpath("presets").iterdir()]
    return ", ".join(sorted(n.removesuffix(".yaml") for n in found if n.endswith(".yaml")))
