"""The one place that reads weights: as data, never as code, and only where they fit their model."""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clare.errors import ClareError, WeightsError
from clare.foreign import open_bytes, parse_json, read_text, reading
from clare.models.runtime import enough_memory, is_out_of_memory
from clare.models.torchscript import is_torchscript, read_torchscript
from clare.wording import name_rows

if TYPE_CHECKING:
    import torch

_log = logging.getLogger("clare")

DETECTOR = "best.safetensors"
"""Of a run, in its folder: its detector, and what moved of its tower."""

TRAINED_ON = "seen.json"
"""Of a run, in its folder, and of features of its tower, beside them: what it was trained on."""

NOT_WEIGHTS = (
    (b"version https://git-lfs", "is a Git-LFS pointer: run `git lfs pull` where it comes from"),
    *((page, "is a web page: the download failed") for page in (b"<!", b"<html", b"<?xml")),
)
"""How a file begins that stands in the place of weights, and what it is."""

INDEX = 1 << 26
"""Most bytes of an index, which names every tensor."""

EXTRA = (".position_ids",)
"""Endings of names that older files have: the numbers 0, 1, 2, … which the libraries make anew."""

COUNTERS = (".num_batches_tracked",)
"""Endings of names that older files lack: training steps, which no value depends on."""


def weight_files(path: Path) -> list[Path]:
    """The files that hold a model's weights: one, or the shards that an index names.

    Raises:
        WeightsError: the index is damaged, or a shard is missing.
    """
    if path.suffix != ".json":
        return [path]
    with reading_weights(path):
        names = sorted(set(parse_json(read_text(path, INDEX))["weight_map"].values()))
        if not names or any(Path(name).name != name for name in names):
            raise ValueError("it names no files beside it")
    shards = [path.with_name(name) for name in names]
    for shard in shards:
        if not shard.is_file():
            raise WeightsError(f"{shard}, which {path.name} names, is missing")
    return shards


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weights file, or of an index with its shards, by name, on the CPU.

    A file is one of safetensors, PyTorch's, or a TorchScript archive. A checkpoint of a training
    that keeps its weights below ``state_dict`` is opened, and the ``module.`` that training on
    several GPUs writes before every name is taken away.

    Raises:
        WeightsError: a file is missing, damaged, or holds something else.
    """
    return {name: value for file in weight_files(path) for name, value in _read(file).items()}


def read_header(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself.

    Raises:
        WeightsError: the file is missing, damaged, or none.
    """
    import safetensors

    with reading_weights(path), safetensors.safe_open(path, "pt") as opened:
        return dict(opened.metadata() or {})


def fill(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], where: object) -> None:
    """Give a model its weights, all of them and no others.

    Args:
        model: every parameter and buffer of it is replaced.
        tensors: by name.
        where: they come from, for the message.

    Raises:
        WeightsError: they do not fit; the message names some of what does not.
    """
    wanted = model.state_dict()
    extra = [name for name in tensors if name not in wanted and f".{name}".endswith(EXTRA)]
    given = {name: value for name, value in tensors.items() if name not in extra}
    given |= {n: v for n, v in wanted.items() if n not in given and n.endswith(COUNTERS)}
    name = type(model).__name__
    both = set(given) & set(wanted)
    if set(given) != set(wanted) or not all(_same_kind(given[n], wanted[n]) for n in both):
        require_fit(wanted, given, where, name)
    try:
        model.load_state_dict(given)
    except RuntimeError as error:  # a part may make room for what it finds, so shapes come last
        if is_out_of_memory(error):
            raise
        require_fit(wanted, given, where, name)
        raise WeightsError(f"{where} does not fit its {name}") from error


def require_fit(
    wanted: Mapping[str, torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    where: object,
    model: str,
) -> None:
    """Refuse weights of another architecture.

    Args:
        wanted: name to a tensor of the right shape and kind.
        tensors: that were found.
        where: they come from, for the message.
        model: that they are for, for the message.

    Raises:
        WeightsError: a name is missing or unknown, or a shape or a type is another.
    """
    absent = sorted(set(wanted) - set(tensors))
    unknown = sorted(map(shown_name, set(tensors) - set(wanted)))
    other = [
        f"{name} is {_kind(tensors[name])} instead of {_kind(value)}"
        for name, value in wanted.items()
        if name in tensors and not _fits(tensors[name], value)
    ]
    wrong = [f"it lacks {name_rows(absent)}"] if absent else []
    wrong += [f"it has {name_rows(unknown)}, which that model lacks"] if unknown else []
    wrong += [name_rows(other)] if other else []
    if wrong:
        raise WeightsError(f"{where} does not fit its {model}: {'; '.join(wrong)}")


def _same_kind(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return _is_plain(found) and found.is_floating_point() == wanted.is_floating_point()


def _is_plain(tensor: torch.Tensor) -> bool:
    import torch

    return tensor.layout == torch.strided and not tensor.is_meta


def _fits(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return found.shape == wanted.shape and _same_kind(found, wanted)


def shown_name(name: str) -> str:
    """A tensor's name as a message has it: on one line, of bounded length."""
    return name if name.isprintable() and len(name) < 200 else repr(name)[:200]


def _kind(tensor: torch.Tensor) -> str:
    layout = "" if _is_plain(tensor) or tensor.is_meta else "sparse "
    return f"{layout}{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _read(path: Path) -> dict[str, torch.Tensor]:
    _log.info("reading weights %s", path.absolute())
    with reading_weights(path), enough_memory(f"the weights in {path}"):
        if path.suffix == ".safetensors":
            import safetensors.torch

            return dict(safetensors.torch.load_file(path))
        if is_torchscript(path):
            return read_torchscript(path)
        return _named_tensors(path)


def _named_tensors(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds code, which is never run, or is damaged",
            "take the model's .safetensors file",
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not found:
        raise ValueError("it holds no named tensors")
    if odd := [name for name, value in found.items() if not isinstance(value, torch.Tensor)]:
        raise ValueError(f"{shown_name(str(odd[0]))} is no tensor")
    return without_wrapper({str(name): value for name, value in found.items()})


def without_wrapper(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors without the ``module.`` that training on several GPUs writes before every name."""
    wrapped = all(name.startswith("module.") for name in tensors)
    return {name.removeprefix("module.") if wrapped else name: v for name, v in tensors.items()}


@contextlib.contextmanager
def reading_weights(path: Path) -> Iterator[None]:
    """One sentence for whatever is wrong with a file; the formats' readers raise all sorts.

    Raises:
        WeightsError: the work inside met a file that is missing, damaged or no weights.
    """
    with reading(path, "weights", WeightsError):
        with open_bytes(path) as file:
            head = file.read(64).lstrip()
        if not head:
            raise WeightsError(f"{path} is empty")
        for beginning, what in NOT_WEIGHTS:
            if head.startswith(beginning):
                raise WeightsError(f"{path} {what}")
        try:
            yield
        except (ClareError, MemoryError, OSError, ValueError):
            raise
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
