"""What a format of exported files is, and those that there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clare.exports import programs, weights
from clare.exports.kinds import Contents, Kind, Runner
from clare.exports.module import ExportedModel


@dataclass(frozen=True)
class Format:
    """How a model becomes files, and is run from them.

    Args:
        write: the model and its facts, as JSON, to files.
        load: what was written a moment ago, to what runs it.
    """

    write: Callable[[ExportedModel, str], Contents]
    load: Callable[[Path, ExportedModel], Runner]


def find_format(kind: Kind) -> Format:
    """The format of a name."""
    return {
        "onnx": Format(programs.write_onnx, programs.load_onnx),
        "torchscript": Format(programs.write_torchscript, programs.load_torchscript),
        "pt2": Format(programs.write_pt2, programs.load_pt2),
        "safetensors": Format(weights.write_safetensors, weights.load_safetensors),
        "folder": Format(weights.write_folder, weights.load_folder),
    }[kind]
