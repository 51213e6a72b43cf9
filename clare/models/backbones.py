"""Models of CLaRE's own that stand in for the published ones: ``tiny`` and ``mini``."""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal, get_args

from clare.advice import LeaveOut
from clare.errors import InputError, WeightsError
from clare.models.hub import TRIAL, real_models

Backbone = Literal["real", "mini", "tiny"]
"""The published models, or CLaRE's own in their place."""

_REMARKS = {
    "tiny": "tiny backbone: small random models; these features mean nothing",
    "mini": "mini backbone: small models trained on drawn faces; "
    "these features say nothing about photographs",
}

Overrides = Mapping[str, Mapping[str, Any]]
"""Extractor name to the settings that replace its defaults."""


def remark_on(backbone: str) -> str | None:
    """What has to be known of features made with a backbone; None for the published models."""
    return _REMARKS.get(backbone)


@contextmanager
def backbone_overrides(backbone: str, *extractors: str) -> Iterator[Overrides]:
    """How to make the extractors use a backbone, at least as long as the context lasts.

    Args:
        backbone: ``real``, which changes nothing, ``mini`` or ``tiny``.
        extractors: those that are made; all if none is named.

    Raises:
        InputError: there is no such backbone.
    """
    try:
        with _overrides(backbone, extractors) as found:
            yield found
    except WeightsError as error:
        if backbone == "real" or TRIAL not in error.advice:
            raise
        # A setting of the user's replaced a model of the backbone, or that has none of this kind.
        others = [one for one in error.advice if one != TRIAL]
        why = f"the {backbone} backbone has none such, or a setting names it in its place"
        what = f"{error.what}; {why}"
        raise WeightsError(what, *others, LeaveOut("lare.model", "clip.model")) from error


@contextmanager
def recorded_places(
    extractor: str, backbone: str | None, origin: Mapping[str, Any], known: Collection[str]
) -> Iterator[Mapping[str, Any]]:
    """Settings that say where the weights are that an extractor once read, while they are loaded.

    Args:
        extractor: its name.
        backbone: ``tiny`` or ``mini`` if its model is CLaRE's own, else None.
        origin: where its weights came from.
        known: names of its settings.
    """
    if backbone:
        tuned = {name: origin[name] for name in ("tuned",) if name in origin}
        with backbone_overrides(backbone, extractor) as overrides:
            yield {**overrides.get(extractor, {}), **tuned}
    else:
        with real_models():
            yield {name: value for name, value in origin.items() if name in known}


@contextmanager
def _overrides(backbone: str, extractors: Sequence[str]) -> Iterator[Overrides]:
    if backbone == "tiny":
        from clare.models.tiny import TINY_EXTRACTORS

        needed = [one for one in TINY_EXTRACTORS if one in extractors or not extractors]
        if not all(file.is_file() for one in needed for file in _tiny(one)[0]):
            _tiny.cache_clear()  # somebody swept temporary files
        yield {one: _tiny(one)[1] for one in needed}
    elif backbone == "mini":
        from clare.models.mini import mini_overrides

        yield mini_overrides()
    elif backbone == "real":
        yield {}
    else:
        raise InputError(f"backbone {backbone!r} is not one of {', '.join(get_args(Backbone))}")


@cache
def _tiny(extractor: str) -> tuple[Sequence[Path], Mapping[str, Any]]:
    """A tiny model, written once a process, in a folder that goes when the process ends."""
    from clare.models.tiny import tiny_overrides

    folder = Path(mkdtemp(prefix="clare-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = tiny_overrides(folder, [extractor])[extractor]
    return [file for file in folder.rglob("*") if file.is_file()], settings
