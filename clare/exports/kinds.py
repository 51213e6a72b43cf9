"""The formats of exported files by name, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from clare.advice import Name
from clare.errors import InputError
from clare.wording import listed

if TYPE_CHECKING:
    import torch


Kind = Literal["onnx", "torchscript", "pt2", "safetensors", "folder"]
"""The formats."""

KINDS: tuple[Kind, ...] = get_args(Kind)

ENDINGS: Mapping[str, Kind] = {
    ".onnx": "onnx",
    ".pt": "torchscript",
    ".pt2": "pt2",
    ".safetensors": "safetensors",
}
"""The format that the ending of a file's name tells; a name without one is a folder's."""

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""Modules of the extra ``onnx``."""

FACTS = "clare"
"""The entry of a file's metadata that holds the facts, as JSON."""

FACTS_FILE = "clare.json"
"""The file inside an archive of torch's that holds them."""

Contents = Mapping[str, bytes]
"""Files by name; one without a name is the export itself, not a folder of files."""

Runner = Callable[[Sequence["torch.Tensor"]], Sequence["torch.Tensor"]]
"""From inputs to outputs, as an exported file computes them."""


def choose_kind(to: str | None, out: Path) -> Kind:
    """The format of an export.

    Args:
        to: as asked for; if left out the ending of the name tells it.
        out: where it goes.

    Raises:
        InputError: there is no such format, the ending tells none or another one, or a package that
            it needs is missing.
    """
    told = ENDINGS.get(out.suffix) if out.suffix else "folder"
    if to is not None and to not in KINDS:
        raise InputError(f"format {to!r} is not one of {', '.join(KINDS)}")
    if to is None and told is None:
        known = [f"{ending} ({one})" for ending, one in ENDINGS.items()]
        raise InputError(
            f"the ending of {out.name} tells no format: there are {', '.join(known)}, and no "
            "ending for a folder",
            Name("one of these", "out"),
            Name("the format", "to"),
        )
    kind = next(one for one in KINDS if one == (to or told))
    if told not in (None, "folder", kind):
        raise InputError(
            f"{out.name} is named as {told}, and {kind} is asked for",
            Name("another place", "out"),
            Name("the format", "to"),
        )
    missing = [name for name in ONNX_PACKAGES if kind == "onnx" and find_spec(name) is None]
    if missing:
        raise InputError(
            f"{listed(missing)} {'is' if len(missing) == 1 else 'are'} not installed, which ONNX "
            "needs: pip install 'clare-features[onnx]'"
        )
    return kind
