"""What the registry's entries are: datasets, domains, layouts and subsets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from clare.errors import InputError

SPLIT_RULES = ("listed", "carved", "held-out", "identity")
LISTED = "listed"
"""An official split that stands in the lists of the layout's domain."""


@dataclass(frozen=True)
class Dataset:
    """A release that is downloaded and unpacked as one.

    Args:
        id: its name on the command line.
        display: its name in text.
        source: where it is described.
        licence: in a few words.
        roots: what each of its roots is, by name.
        companions: datasets that are built along with it.
        skip: folders, in lower case, that the release holds but the registry does not speak of.
    """

    id: str
    display: str
    source: str
    licence: str
    roots: Mapping[str, str]
    companions: tuple[str, ...] = ()
    skip: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Domain:
    """The data that images were made from, and how its people are told apart.

    Args:
        id: value of the manifests' column ``domain``.
        display: its name in text.
        identity: finds identities in the name of a video; None where names hold none.
        split: one of `SPLIT_RULES`.
        pairs: groups of identities that belong together, by official split.
        test_videos: videos that the data's authors test on.
    """

    id: str
    display: str
    identity: re.Pattern[str] | None
    split: str
    pairs: Mapping[str, tuple[tuple[str, ...], ...]]
    test_videos: frozenset[str] = frozenset()

    def identities_in(self, name: str) -> tuple[str, ...]:
        """The identities in a name, each once, without the domain's own name before them."""
        return tuple(dict.fromkeys(self.identity.findall(name))) if self.identity else ()

    def official_split(self, video: str) -> str:
        """The split that the authors' lists give a video; empty where they say nothing."""
        if self.test_videos:
            return "test" if video in self.test_videos else "train"
        splits = {self.listed.get(one, "") for one in self.identities_in(video)}
        return splits.pop() if len(splits) == 1 else ""

    @cached_property
    def listed(self) -> Mapping[str, str]:
        """Official split by identity."""
        return {
            one: split for split, groups in self.pairs.items() for group in groups for one in group
        }


@dataclass(frozen=True)
class Layout:
    """One way in which images of a subset lie below its folder.

    Args:
        root: name of the root.
        path: regular expression of the folders between the subset's folder and the image.
        domain: id of the `Domain`.
        label: 0 real, 1 fake; None where a folder says so by its position.
        official_split: as the release has it; ``listed`` asks the domain's lists.
        compression: value of the manifests' column.
        bare: whether the subset's own folder is missing, so that ``path`` starts at the root.
    """

    root: str
    path: re.Pattern[str]
    domain: str
    label: int | None = None
    official_split: str = ""
    compression: str = ""
    bare: bool = False


@dataclass(frozen=True)
class Subset:
    """What the registry says of a subset.

    Args:
        id: canonical name: the name of its manifest.
        dataset: id of the `Dataset`.
        display: its authors' name.
        category: FS face swap, FR reenactment, EFS entire face synthesis, FE editing, or real.
        aliases: other names that it is found by.
        folders: names of its folder on disk, in lower case.
        layouts: the first that fits a folder wins.
        reals: subset of reals by domain; empty where it has reals of its own or is a pool itself.
        own_reals: whether reals and fakes lie together.
        video_level: whether a folder of frames is a clip, so that a score of videos has a meaning.
        file_clip: finds, as its group ``clip``, the real clip that an image's file name tells; None
            where the folder alone tells whose image it is.
        video_is_clip: whether the folder has the name of the real clip that was changed.
        release: official splits that are published.
        lists: names of its official JSON lists.
        labels: how labels in such lists begin (``pixart`` for ``pixart_Fake``).
        expected: folders of its test release, or of all, by domain, where known.
        defects: known defects of the release.
    """

    id: str
    dataset: str
    display: str
    category: str
    aliases: tuple[str, ...]
    folders: frozenset[str]
    layouts: tuple[Layout, ...]
    reals: Mapping[str, str]
    own_reals: bool
    video_level: bool
    file_clip: re.Pattern[str] | None
    video_is_clip: bool
    release: tuple[str, ...]
    lists: tuple[str, ...]
    labels: tuple[str, ...]
    expected: Mapping[str, int]
    defects: tuple[str, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains of its layouts, in their order."""
        return tuple(dict.fromkeys(layout.domain for layout in self.layouts))

    @property
    def roots(self) -> tuple[str, ...]:
        """Roots of its layouts, in their order."""
        return tuple(dict.fromkeys(layout.root for layout in self.layouts))


@dataclass(frozen=True)
class Registry:
    """All entries, each by its id.

    Args:
        datasets: releases.
        domains: data that images were made from.
        subsets: in the order of the file.
        buckets: spelling, by lower case, of folders that name a part of a domain.
    """

    datasets: Mapping[str, Dataset]
    domains: Mapping[str, Domain]
    subsets: Mapping[str, Subset]
    buckets: Mapping[str, str]

    def find(self, name: str) -> Subset | None:
        """A subset by its id or an alias, letter case aside; None if there is none."""
        return self._by_name.get(name.casefold())

    def subset(self, name: str) -> Subset:
        """A subset by its id or an alias, letter case aside.

        Raises:
            InputError: there is none; the message names those that are spelled alike.
        """
        found = self.find(name)
        if found is None:
            close = get_close_matches(name.casefold(), self._by_name, 3)
            alike = f"; is it {' or '.join(dict.fromkeys(close))}?" if close else ""
            raise InputError(f"no subset {name!r} is registered{alike}")
        return found

    def dataset(self, name: str) -> Dataset:
        """A dataset by its id.

        Raises:
            InputError: there is none.
        """
        if name.casefold() not in self.datasets:
            raise InputError(f"no dataset {name!r} is registered; {', '.join(self.datasets)} are")
        return self.datasets[name.casefold()]

    def built_with(self, dataset: str) -> tuple[Dataset, ...]:
        """A dataset and those that are built along with it."""
        first = self.dataset(dataset)
        return first, *(self.dataset(name) for name in first.companions)

    @cached_property
    def _by_name(self) -> Mapping[str, Subset]:
        return {
            name.casefold(): subset
            for subset in self.subsets.values()
            for name in (subset.id, *subset.aliases)
        }
