"""Parts that stand one a file in a package, found by the file's name."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import TypeVar

from clare.errors import InputError

Part = TypeVar("Part")


def list_parts(package: ModuleType) -> list[str]:
    """Names of the parts in a package, sorted; imports none of them."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def find_part(package: ModuleType, name: str, base: type[Part]) -> type[Part]:
    """The class that stands in a package's file of this name.

    Args:
        package: named after its parts, ``fusion`` or ``classifiers``.
        name: of the file, without its suffix.
        base: what the class derives from.

    Raises:
        InputError: there is no such file.
    """
    names = list_parts(package)
    kind = package.__name__.rpartition(".")[2].removesuffix("s")
    if name not in names:
        raise InputError(f"no {kind} {name!r}: there are {', '.join(names)}")
    module = importlib.import_module(f"{package.__name__}.{name}")
    (found,) = (
        member
        for member in vars(module).values()
        if isinstance(member, type)
        and issubclass(member, base)
        and member.__module__ == module.__name__
    )
    return found
