"""Masks that lie in a folder of their own, found by the names of the fakes that they belong to."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clare.advice import LeaveOut, Name, Notice
from clare.columns import MaskFake
from clare.errors import InputError, ManifestError
from clare.pipeline.manifests.roots import split_option
from clare.pipeline.manifests.scan import LEAVES, list_tree, suffix_of
from clare.store.bucket.files import file_place
from clare.wording import counted, name_rows

SUFFIX = "_mask"
"""What a mask's name may have behind that of its image."""


@dataclass(frozen=True)
class MaskFolder:
    """Where the masks of fakes are.

    Args:
        folder: that holds them, and nothing else.
        fake: what of a mask is fake.
    """

    folder: Path
    fake: MaskFake = "white"

    @property
    def column(self) -> str:
        """The manifests' ``mask_fake``; empty where it goes without saying."""
        return "" if self.fake == "white" else self.fake


def mask_folders(options: Sequence[str], fake: MaskFake | None) -> dict[str, MaskFolder]:
    """Folders of masks as a user names them, by the subset of the fakes; "" is every other.

    Args:
        options: ``DIR`` or ``NAME=DIR``; see `split_option`.
        fake: what of the masks is fake; white if None.

    Raises:
        InputError: a folder is named twice for one subset, or none is and ``fake`` is given.
    """
    found: dict[str, MaskFolder] = {}
    for option in options:
        name, folder = split_option("masks", option)
        if name in found:
            raise InputError(f"{folder} is the second folder of masks for the same fakes")
        found[name] = MaskFolder(file_place(folder), fake or "white")
    if fake is not None and not found:
        raise InputError(
            "there are no masks to be read so",
            Name("their folder", "masks"),
            LeaveOut("mask_fake"),
        )
    return found


class FoundMasks:
    """The masks below a folder, by the image that they belong to.

    The mask of ``FAKES/train/7.jpg`` is ``MASKS/train/7.*`` or ``MASKS/train/7_mask.*``, of any
    container; where there is a folder ``MASKS/FAKES``, it is looked for below that.

    Args:
        masks: the folder.
        root: that the paths of the manifest start at.
        follow_links: a folder that links may lead into besides.

    Raises:
        InputError: it is no folder.
        ManifestError: links leave the root.
    """

    def __init__(self, masks: MaskFolder, root: Path, follow_links: Path | None) -> None:
        self._folder = masks.folder.resolve()
        self._place = self._folder.relative_to(root).as_posix()
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._others: Counter[str] = Counter()
        self._used: set[str] = set()
        self._looked: set[str] = set()
        self._ambiguous: list[str] = []
        self._without: list[str] = []
        leaving = []
        for found in list_tree(self._folder, within=root, follow_links=follow_links):
            inner = f"{found.path}/" if found.path else ""
            for name in found.images:
                self._by_stem[inner + _stem(name)].append(inner + name)
            self._others.update(found.ignored)
            for name, fault in found.unmatched:
                self._others[suffix_of(name) or "without a suffix"] += 1
                leaving += [f"{inner}{name}"] if fault == LEAVES else []
        if leaving:
            raise ManifestError(
                f"{counted(len(leaving), 'link')} of the masks out of {root}: {name_rows(leaving)}",
                Name("the folder that they may lead into", "follow_links"),
            )
        self._tops = {stem.partition("/")[0] for stem in self._by_stem if "/" in stem}

    def mask_of(self, path: str, named: str) -> str:
        """The path of a fake's mask, from the root; empty where there is none.

        Args:
            path: of the image, below the folder that was named.
            named: the name of that folder.
        """
        above = f"{named}/" if named in self._tops else ""
        self._looked.add(above)
        stem = above + os.path.splitext(path)[0]  # noqa: PTH122 - 100,000 calls a run
        found = [*self._by_stem.get(stem, ()), *self._by_stem.get(stem + SUFFIX, ())]
        if len(found) != 1:
            (self._ambiguous if found else self._without).append(
                f"{named}/{path}" + (f" ({', '.join(found)})" if found else "")
            )
            return ""
        self._used.add(found[0])
        return found[0] if self._place == "." else f"{self._place}/{found[0]}"

    def refuse_misfits(self) -> None:
        """Refuse a folder in which the images that were asked for have no mask, or several.

        Raises:
            InputError: the message names some.
        """
        if self._ambiguous:
            raise InputError(
                f"{counted(len(self._ambiguous), 'fake')} with several masks below {self._folder}: "
                f"{name_rows(self._ambiguous)}",
                "leave one mask for each",
            )
        if self._without and not self._used:
            first = self._without[0].partition("/")[2]
            stem = os.path.splitext(first)[0]  # noqa: PTH122
            kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self._others.items()))
            raise InputError(
                f"no mask of the {counted(len(self._without), 'fake')} is below {self._folder}"
                + (f" ({kinds})" if kinds else "")
                + f": that of {self._without[0]} would be {stem}.* or {stem}{SUFFIX}.*",
                Name("the folder that has their paths in it", "masks"),
            )

    def notices(self) -> list[Notice]:
        """Masks that belong to no fake."""
        unused = sorted(
            name
            for names in self._by_stem.values()
            for name in names
            if name not in self._used and _is_below(name, self._looked)
        )
        if not unused:
            return []
        masks = counted(len(unused), "mask")
        return [Notice(f"{masks} below {self._folder} of no fake: {name_rows(unused)}")]


def refuse_images_in(masks: MaskFolder, folders: Iterable[Path]) -> None:
    """Refuse a folder of masks in which images lie: they would be taken for masks of themselves.

    Raises:
        InputError: it is not there, or it is, or holds, a folder of images.
    """
    if not masks.folder.is_dir():
        raise InputError(f"{masks.folder} is no folder", Name("the folder of the masks", "masks"))
    own = masks.folder.resolve()
    for folder in folders:
        if own == folder or own in folder.parents:
            raise InputError(
                f"{masks.folder} holds the images of {folder}",
                Name("a folder that holds masks alone", "masks"),
            )


def _is_below(name: str, places: set[str]) -> bool:
    return any(name.startswith(place) for place in places)


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - 100,000 calls a run
