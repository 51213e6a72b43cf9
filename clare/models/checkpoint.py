"""A published checkpoint: a model's tensors by name, and the plain facts that lie beside them."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clare.errors import WeightsError
from clare.models.hub import file_sha256
from clare.models.inert import TensorArchive, is_tensor, open_archive
from clare.models.runtime import enough_memory, is_out_of_memory
from clare.models.torchscript import is_torchscript, read_torchscript
from clare.models.weights import reading_weights, without_wrapper

if TYPE_CHECKING:
    import torch

NESTS = ("state_dict", "model", "model_state_dict")
"""Under which of a training's entries its model lies."""

SETTINGS = "hyper_parameters"
"""Where a checkpoint of Lightning keeps the settings of its model."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds of a model.

    Args:
        path: the file.
        sha256: of its bytes.
        tensors: of the model, by name, on the CPU. The ``module.`` that training on several GPUs
            writes before every name is taken away.
        facts: the text, numbers and truth values beside it; of Lightning's settings too, as
            ``hyper_parameters.head``.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, str | int | float | bool]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of PyTorch, safetensors or TorchScript; nothing in it is ever run.

    Schedulers, optimisers and whatever else a training left beside its model are passed over.

    Raises:
        WeightsError: the file is missing, damaged, or holds no tensors by name.
    """
    facts: dict[str, Any] = {}
    with reading_weights(path), enough_memory(f"the checkpoint {path}"):
        if path.suffix == ".safetensors":
            import safetensors

            with safetensors.safe_open(path, "pt") as opened:
                facts = dict(opened.metadata() or {})
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        elif is_torchscript(path):
            tensors = read_torchscript(path)
        else:
            tensors, facts = _load(path)
        if not tensors:
            raise ValueError("it holds no tensors by name")
    return Checkpoint(path, file_sha256(path), without_wrapper(tensors), facts)


def _load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The model and the facts in a file of `torch.save`."""
    import torch

    try:
        return _split(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path):
            raise WeightsError(
                f"{path} is no file of PyTorch, or an old one that names code, which is never run",
                "write its tensors alone again, with a torch of today",
            ) from error
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise ValueError("it is cut off, or damaged") from error
    with open_archive(path) as archive:
        return _split(archive.root, archive)


def _split(
    found: Any, archive: TensorArchive | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The model's tensors, and the plain values at the top and among the settings of Lightning.

    Args:
        found: what a file holds.
        archive: where its tensors lie; None where they are tensors already.
    """
    import torch

    if not isinstance(found, Mapping):
        raise ValueError("it holds no tensors by name")
    settings = found.get(SETTINGS)
    facts = _plain(found)
    if isinstance(settings, Mapping):
        facts |= {f"{SETTINGS}.{name}": value for name, value in _plain(settings).items()}
    nests = [found[name] for name in NESTS if isinstance(found.get(name), Mapping)]
    model = nests[0] if nests else {k: v for k, v in found.items() if str(k) not in facts}
    tensors: dict[str, torch.Tensor] = {}
    for name, value in model.items():
        made = archive.tensor(value) if archive is not None and is_tensor(value) else value
        if not isinstance(made, torch.Tensor):
            raise ValueError(f"{str(name)[:200]!r} is no tensor")
        tensors[str(name)] = made
    return tensors, facts


def _plain(found: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(k): v for k, v in found.items() if isinstance(v, str | int | float | bool)}
