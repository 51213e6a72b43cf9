"""Models as tensors by name: one file of safetensors, or a folder for a model hub."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.func import functional_call

from clare.exports.kinds import FACTS, Contents, Runner
from clare.exports.module import ExportedModel
from clare.exports.programs import BATCHED, EXAMPLES, export_program, exporting
from clare.models.weights import read_tensors

WEIGHTS = "model.safetensors"
PROGRAM = "program.pt2"
CONFIG = "config.json"
CARD = "README.md"

Weights = Mapping[str, torch.Tensor]


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor that decides a model's outputs, by its place in the model, sorted."""
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    # Copies, because safetensors refuses tensors that share memory.
    return {name: named[name].detach().contiguous().clone() for name in sorted(named)}


def write_safetensors(model: ExportedModel, facts: str) -> Contents:
    """One file, the facts in its header."""
    return {"": safetensors.torch.save(weights_of(model), {FACTS: facts, "format": "pt"})}


def load_safetensors(path: Path, model: ExportedModel) -> Runner:
    """The model with every one of its tensors replaced by the file's."""
    weights = safetensors.torch.load_file(path)
    return lambda inputs: functional_call(model, weights, tuple(inputs), strict=True)


def write_folder(model: ExportedModel, facts: str) -> Contents:
    """Weights, the program that takes them, and the facts; the card comes with the run."""
    weights = weights_of(model)
    shapes = (dict.fromkeys(weights), (BATCHED,) * len(model.inputs))
    with exporting():
        examples = (weights, *model.examples(EXAMPLES))
        program = export_program(_Unweighted(model), examples, shapes)
        file = io.BytesIO()
        torch.export.save(program, file)
    return {
        WEIGHTS: safetensors.torch.save(weights, {"format": "pt"}),
        PROGRAM: file.getvalue(),
        CONFIG: (json.dumps(json.loads(facts), indent=2) + "\n").encode(),
    }


def load_folder(path: Path, model: ExportedModel) -> Runner:
    """The program, with the weights beside it."""
    weights = dict(sorted(read_tensors(path / WEIGHTS).items()))  # the program knows their order
    with exporting():
        found = torch.export.load(path / PROGRAM).module()
    return lambda inputs: found(weights, *inputs)


class _Unweighted(nn.Module):
    """A model as a function of its weights too.

    Args:
        model: stays out of sight, so that none of its weights is taken for one of this module's.
    """

    def __init__(self, model: ExportedModel) -> None:
        super().__init__()
        self._model = (model,)

    def forward(self, weights: dict[str, torch.Tensor], *inputs: torch.Tensor) -> Any:
        """The outputs."""
        return functional_call(self._model[0], weights, inputs, strict=True)
