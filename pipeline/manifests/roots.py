"""Where the relative paths of manifests start: in folders of this machine, or of a bucket."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from clare.advice import Advice, Name
from clare.errors import InputError, ManifestError
from clare.names import path_fault
from clare.store.bucket.files import BucketFile, file_place, file_threads
from clare.store.bucket.objects import IN_FLIGHT
from clare.wording import counted

if TYPE_CHECKING:
    from clare.pipeline.manifests.sample import Sample

VARIABLE = "CLARE_ROOT"

_TOGETHER = 256
"""Images that are looked for before it is asked whether one was there: in a bucket, at once."""

PLAIN_FOLDER = "folder-"
"""How the names of roots begin that stand for the place of a plain folder."""


class Roots:
    """The folders that the paths of samples start at, and the one place that tells which file is
    meant: of a bucket it is a `BucketFile`, which is read as any other path.

    Args:
        default: for samples whose ``root`` is empty.
        named: for the others; letter case and signs in a name make no difference, because the
            name of an environment variable can't hold them.
        follow_links: a folder that links may lead into, out of their root; none if None.
    """

    def __init__(
        self, default: Path | None, named: Mapping[str, Path], follow_links: Path | None = None
    ) -> None:
        self._folders = {_key(name): folder for name, folder in named.items()}
        if default is not None:
            self._folders[""] = default
        self._resolved: dict[str, tuple[Path, str]] = {}
        self._followed: dict[str, str] = {}
        self.follow_links = follow_links
        self._disk = linked_disk(follow_links)

    @classmethod
    def from_options(
        cls,
        options: Sequence[str],
        environ: Mapping[str, str],
        follow_links: Path | None = None,
    ) -> Roots:
        """Roots as a user names them and, where that says nothing, the environment.

        Args:
            options: ``DIR`` or ``NAME=DIR``, where DIR may be the URL of a folder in a bucket; see
                `split_option`.
            environ: ``CLARE_ROOT`` and ``CLARE_ROOT_<NAME>`` are read.
            follow_links: a folder that links may lead into, out of their root.

        Raises:
            InputError: a root is given twice, or is a URL of nothing that can be read.
        """
        given: dict[str, Path] = {}
        for option in options:
            name, folder = split_option("root", option)
            if _key(name) in given:
                raise InputError(f"{folder} is the second folder for {_say(name)}")
            given[_key(name)] = file_place(folder)
        for variable, folder in environ.items():
            if folder and re.fullmatch(f"{VARIABLE}(_.+)?", variable):
                given.setdefault(_key(variable.removeprefix(VARIABLE)[1:]), file_place(folder))
        return cls(given.pop("", None), given, follow_links)

    def folders(self) -> dict[str, Path]:
        """The folders by the name of their root in lower case; the default one under ``""``.

        Raises:
            InputError: a folder is not there.
        """
        return {name.lower(): self._root(name.lower())[0] for name in self._folders}

    def folder(self, name: str) -> Path | None:
        """The folder of a root; None where none is known."""
        return self._folders.get(_key(name))

    def is_remote(self, sample: Sample) -> bool:
        """Whether a sample's files come from a server, so that it is worth to ask for many at once.

        Raises:
            InputError: as `resolve`.
        """
        return isinstance(self._root(sample.root)[0], BucketFile)

    def require_any(self, name: str, samples: Sequence[Sample]) -> None:
        """See that one of a subset's images is there: else its root must be another.

        Raises:
            InputError: none is, and as `resolve`.
        """
        left, most = iter(samples), 1  # nearly always the first is there
        while some := list(islice(left, most)):
            most = _TOGETHER
            remote = [sample for sample in some if self.is_remote(sample)]
            local = (sample for sample in some if not self.is_remote(sample))
            with file_threads(IN_FLIGHT) as pool:
                if any(map(_is_there, map(self.resolve, local))):
                    return
                if any(pool.map(_is_there, map(self.resolve, remote))):
                    return
        raise InputError(
            f"none of the {counted(len(samples), 'image')} of {name} is there; the first would be "
            f"{self.resolve(samples[0])}",
            Name("the folder that their paths start at", "root"),
        )

    def resolve(self, sample: Sample, path: str | None = None) -> Path:
        """The full path of a sample's image, or of another file below the same root.

        Args:
            sample: names the root, and the image where ``path`` is None.
            path: another path of the sample, for example its ``mask_path``.

        Raises:
            InputError: no folder is known for the root, or it is not there.
            ManifestError: the path leaves its root, be it through a link.
            StoreError: its bucket can't be read.
        """
        relative = sample.path if path is None else path
        folder, root = self._root(sample.root)
        fault = path_fault(relative)
        advice: tuple[Advice, ...] = ()
        if fault is None and isinstance(folder, BucketFile):  # where there are no links
            return folder / relative
        allowed = (os.path.join(root, ""), *filter(None, [self._disk]))  # noqa: PTH118
        found = "" if fault else self._follow(os.path.join(root, relative))  # noqa: PTH118
        if fault is None and not found.startswith(allowed):
            fault = "leads through a link out of its root"
            advice = (Name("the folder that links may lead into", "follow_links"),)
        if fault is not None:
            what = f"{sample.subset}: {sample.sample_id!r}: path {relative!r} {fault}"
            raise ManifestError(what, *advice)
        return Path(found)

    def _follow(self, path: str) -> str:
        """Where a file lies once links are followed; its folder is asked once, and not every folder
        above it for each of its files."""
        folder, name = os.path.split(path)
        if (real := self._followed.get(folder)) is None:
            real = self._followed[folder] = os.path.realpath(folder)
        file = os.path.join(real, name)  # noqa: PTH118
        return os.path.realpath(file) if os.path.islink(file) else file  # noqa: PTH114

    def _root(self, name: str) -> tuple[Path, str]:
        """A root's folder without links, and its text."""
        known = self._resolved.get(name)
        if known is None:
            folder = self._folders.get(_key(name))
            example = f"{name}=DIR" if name else "DIR"
            variable = f"{VARIABLE}_{_key(name)}" if name else VARIABLE
            if folder is None:
                raise InputError(
                    f"no folder is known for {_say(name)}",
                    Name("it", "root", example),
                    f"set the environment variable {variable}",
                )
            if not folder.is_dir():
                raise InputError(
                    f"{folder}, the folder of {_say(name)}, is not there",
                    Name("another", "root", example),
                    f"correct the environment variable {variable}",
                )
            real = folder.resolve()
            known = self._resolved[name] = real, str(real)
        return known


def linked_disk(folder: Path | None) -> str:
    """The folder that links may lead into, with a closing slash; empty where there is none.

    Raises:
        InputError: it is not there.
    """
    if folder is None:
        return ""
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no folder for links to lead into", Name("one", "follow_links")
        )
    return os.path.join(os.path.realpath(folder), "")  # noqa: PTH118 - a closing slash


def split_option(setting: str, value: str) -> tuple[str, str]:
    """The name and the folder of ``DIR`` or ``NAME=DIR``; without a name, that is empty.

    Args:
        setting: what the value was given to.
        value: a name has no slash, so ``./a=b`` is a folder.

    Raises:
        InputError: there is no folder.
    """
    match = re.fullmatch(r"([A-Za-z0-9._-]+)=(.*)", value, re.DOTALL)
    name, folder = match.groups() if match else ("", value)
    before, equals, _ = value.partition("=")
    if not match and equals and "/" not in before and not Path(value).exists():
        raise InputError(
            f"{before!r} can't be a name: a name has no characters but A to Z, a to z, 0 to 9, "
            "'.', '_' and '-'",
            Name("another", setting, "NAME=DIR"),
        )
    if not folder:
        raise InputError(f"{value!r} names no folder", Name("one", setting, "DIR or NAME=DIR"))
    return name, folder


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def _say(name: str) -> str:
    return f"root {name!r}" if name else "the default root"
