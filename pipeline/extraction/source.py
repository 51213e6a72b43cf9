"""Which images an extraction is of, as a command line or a call in Python names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clare.advice import LeaveOut
from clare.columns import MaskFake
from clare.errors import InputError
from clare.pipeline.datasets.select import select_manifests, select_protocol
from clare.pipeline.extraction.plan import Observer, Selection
from clare.pipeline.manifests.mask_folders import mask_folders
from clare.pipeline.manifests.roots import split_option
from clare.store.bucket.files import file_place

NAMED_BY_PROTOCOL = ("subset", "manifest", "real", "fake", "reals", "masks", "mask_fake")
"""What a protocol says itself."""


@dataclass(frozen=True)
class Source:
    """Images of plain folders, of subsets that have a manifest, or of a protocol.

    Args:
        subset: comma-separated names, whose manifests stand in ``manifests``; beside plain folders
            the one name of all of them.
        protocol: ``NAME`` or ``NAME/KEY``: all that it trains and tests on.
        manifest: manifest files.
        manifests: folder that holds ``NAME.csv`` for a subset NAME.
        root: ``DIR`` or ``NAME=DIR``: where the paths of manifests start. Here and below a folder
            may be the URL of one in a bucket.
        real: folders of real images.
        fake: ``DIR`` or ``NAME=DIR``: folders of generated images.
        masks: ``DIR`` or ``NAME=DIR``: folders of the fakes' masks.
        mask_fake: what is fake in masks from a folder; white if None.
        reals: subsets of reals to take along; see `named_pools`.
        follow_links: folder that links may lead into, out of their root.
        rules: how names of folders are read: fields of `FolderRules`.
        test_only: subsets of plain folders that are for tests alone, with all their images.

    Raises:
        InputError: a protocol is given, and something that it says itself; or a URL that may hold a
            key, or leads to no bucket.
    """

    subset: str | None = None
    protocol: str | None = None
    manifest: Sequence[Path] = ()
    manifests: Path = Path("data_manifests")
    root: Sequence[str] = ()
    real: Sequence[Path] = ()
    fake: Sequence[str] = ()
    masks: Sequence[str] = ()
    mask_fake: MaskFake | None = None
    reals: str | Sequence[str] | None = None
    follow_links: Path | None = None
    rules: Mapping[str, Any] = field(default_factory=dict)
    test_only: Sequence[str] = ()

    def __post_init__(self) -> None:
        named = [name for name in NAMED_BY_PROTOCOL if getattr(self, name)]
        if self.protocol is not None and named:
            raise InputError("a protocol names its subsets", LeaveOut(*named))
        # A job script is written from these words before any folder is looked at.
        for place in self.real:
            file_place(place)
        for setting in ("root", "fake", "masks"):
            for one in getattr(self, setting):
                file_place(split_option(setting, one)[1])

    @property
    def is_empty(self) -> bool:
        """Whether no image is named."""
        named = (self.protocol, self.subset, self.manifest, self.real, self.fake)
        return not any(named)

    def select(self, observer: Observer) -> Selection:
        """The subsets, read or built, each with the folders that its paths start at.

        Args:
            observer: is told what was taken for granted, and what a protocol lacks.

        Raises:
            InputError: nothing is named, too much is, or what is named is not there.
        """
        if self.protocol is not None:
            selection, absent = select_protocol(
                self.protocol,
                self.manifests,
                self.root,
                follow_links=self.follow_links,
                progress=observer.indexing,
            )
            observer.absent(self.protocol, absent)
            return selection
        return select_manifests(
            self.subset,
            self.manifest,
            self.manifests,
            self.root,
            self.real,
            self.fake,
            masks=mask_folders(self.masks, self.mask_fake),
            follow_links=self.follow_links,
            rules=self.rules,
            test_only=self.test_only,
            pools=self.reals,
            notice=observer.noticed,
            progress=observer.indexing,
        )
