"""Models as programs with their weights inside: ONNX, TorchScript, and what torch.export saves."""

from __future__ import annotations

import io
import logging
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from clare.advice import Set
from clare.errors import InputError
from clare.exports.kinds import FACTS, FACTS_FILE, Contents, Runner
from clare.exports.module import BATCH, ExportedModel
from clare.wording import size

OPSET = 20
"""The newest that keeps attention in plain operations; 23 has a node that older runtimes lack."""

_ONNX_MOST = (1 << 31) - (1 << 20)
"""Bytes of weights that one ONNX file holds: its format ends at 2 GiB."""

BATCHED = {0: torch.export.Dim(BATCH, min=1)}
"""The shape of a tensor of any number of images."""

EXAMPLES = 2
"""Images of the example that a model is traced with. Of one alone the batch would be fixed."""


def write_onnx(model: ExportedModel, facts: str) -> Contents:
    """One file of opset 20, float32, weights inside, the facts as a metadata property.

    Raises:
        InputError: the weights are more than such a file holds.
    """
    tensors = [*model.parameters(), *model.buffers()]
    total = sum(one.numel() * one.element_size() for one in tensors)
    if total > _ONNX_MOST:
        raise InputError(
            f"the model has {size(total)} of weights, and one ONNX file holds 2 GiB",
            Set("to", "pt2"),
        )
    with exporting():
        program: Any = torch.onnx.export(
            export_program(model, model.examples(EXAMPLES), [(BATCHED,) * len(model.inputs)]),
            input_names=list(model.inputs),
            output_names=list(model.outputs),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    program.model.metadata_props[FACTS] = facts
    data: bytes = program.model_proto.SerializeToString()
    return {"": data}


def load_onnx(path: Path, model: ExportedModel) -> Runner:
    """The file in ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        given = zip(model.inputs, (one.numpy() for one in inputs), strict=True)
        return [torch.from_numpy(one) for one in session.run(list(model.outputs), dict(given))]

    return run


def write_torchscript(model: ExportedModel, facts: str) -> Contents:
    """A trace, the facts as an extra file."""
    with exporting(), torch.no_grad():
        traced: Any = torch.jit.trace(model, model.examples(EXAMPLES), check_trace=False)
        return {"": _without_places(traced.save_to_buffer({FACTS_FILE: facts}))}


def _without_places(archive: bytes) -> bytes:
    """An archive without the records that say which line of which file an operation came from."""
    kept = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(kept, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                new.writestr(entry.filename, old.read(entry))
    return kept.getvalue()


def load_torchscript(path: Path, model: ExportedModel) -> Runner:
    """The archive, as torch runs it."""
    with exporting():
        found = torch.jit.load(path, map_location="cpu")
    return lambda inputs: found(*inputs)


def write_pt2(model: ExportedModel, facts: str) -> Contents:
    """A program of torch.export, the facts as an extra file."""
    with exporting():
        file = io.BytesIO()
        shapes = (BATCHED,) * len(model.inputs)
        program = export_program(model, model.examples(EXAMPLES), [shapes])
        torch.export.save(program, file, extra_files={FACTS_FILE: facts})
    return {"": file.getvalue()}


def load_pt2(path: Path, model: ExportedModel) -> Runner:
    """The program, as torch runs it."""
    with exporting():
        found = torch.export.load(path).module()
    return lambda inputs: found(*inputs)


def export_program(model: torch.nn.Module, examples: Any, shapes: Any) -> Any:
    """A program of torch.export, in plain operations of inference.

    Args:
        model: that is traced.
        examples: its arguments, of `EXAMPLES` images.
        shapes: `BATCHED` for each tensor of them whose first axis counts the images.
    """
    with torch.no_grad():
        program: Any = torch.export.export(model, examples, dynamic_shapes=shapes, strict=False)
    program.example_inputs = None  # they would be saved beside it, as a pickle
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)  # paths of this machine
    return program


@contextmanager
def exporting() -> Iterator[None]:
    """Hold back what the exporters say of themselves, and run attention as plain operations."""
    fast = torch.backends.mha.get_fastpath_enabled()
    loud = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [one.level for one in loud]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.mha.set_fastpath_enabled(False)
        for one in loud:
            one.setLevel(logging.ERROR)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for one, level in zip(loud, levels, strict=True):
                one.setLevel(level)
