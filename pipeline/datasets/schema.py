"""What the registry's entries are: datasets, domains, layouts and subsets.

The fields are the keys of the YAML file, but for what `clare.pipeline.datasets.registry` fills in:
ids, and what a name or a placeholder stands for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Literal, get_args

from clare.columns import MaskFake
from clare.dates import read_span
from clare.errors import InputError
from clare.pipeline.manifests.validation import check_name

Split = Literal["train", "val", "test"]
SplitRule = Literal["listed", "carved", "held-out", "identity", "official"]
SPLIT_RULES = get_args(SplitRule)
LISTED = "listed"
"""An official split that stands in the lists of the layout's domain; a label, in a list on disk."""
BY_FOLDER = "folder"
"""An official split that the layout's bucket names."""


@dataclass(frozen=True)
class Dataset:
    """A release that is downloaded and unpacked as one.

    Args:
        id: its name on the command line.
        display: its name in text.
        roots: what each of its roots is, by name.
        source: where it is described.
        companions: datasets that are built along with it.
        skip: folders, in lower case, that the release holds but the registry does not speak of.
    """

    id: str
    display: str
    roots: Mapping[str, str]
    source: str = ""
    companions: tuple[str, ...] = ()
    skip: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "skip", frozenset(one.casefold() for one in self.skip))


@dataclass(frozen=True)
class Domain:
    """The data that images were made from, and how its people are told apart.

    Args:
        id: value of the manifests' column ``domain``.
        display: its name in text.
        split: the rule that assigns its splits.
        identity: regular expression that finds identities in the name of a video; empty where names
            hold none.
        pairs: groups of identities that belong together, by official split.
        test_videos: videos that the data's authors test on.
    """

    id: str
    display: str
    split: SplitRule
    identity: str = ""
    pairs: Mapping[Split, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    test_videos: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        _compile(self.identity)
        if self.split in ("listed", "carved") and not self.pairs:
            raise InputError(f"split is {self.split}, but identities names no list")
        twice = sorted(one for one, n in Counter(self._in_lists()).items() if n > 1)
        if twice:
            raise InputError(f"identity {', '.join(twice)} is listed twice")

    def identities_in(self, name: str) -> tuple[str, ...]:
        """The identities in a name, each once, without the domain's own name before them."""
        return tuple(dict.fromkeys(self._identity.findall(name))) if self.identity else ()

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

    @cached_property
    def _identity(self) -> re.Pattern[str]:
        return _compile(self.identity)

    def _in_lists(self) -> list[str]:
        return [one for groups in self.pairs.values() for group in groups for one in group]


@dataclass(frozen=True)
class Layout:
    """One way in which images of a subset lie below its folder.

    Args:
        root: name of the root.
        path: regular expression of the folders between the subset's folder and the image.
        domain: id of the `Domain`.
        label: of its images; ``listed`` where a list beside the videos says it, see `VideoLists`;
            None where a folder says so by its position.
        official_split: as the release has it; ``listed`` asks the domain's lists, and ``folder``
            the bucket. A list beside the videos is asked where this says nothing.
        compression: value of the manifests' column.
        bare: whether the subset's own folder is missing, so that ``path`` starts at the root.
        masks: where the mask of an image is, from the image's own folder and without an ending, as
            ``../masks/{stem}``: ``{stem}`` is the image's name, ``{clip}`` what ``file_clip`` finds
            in it, ``{bucket}`` the group of ``path``. Empty where masks lie beside ``frames``.
        mask_fake: what of such a mask is fake.
    """

    root: str
    path: str
    domain: str
    label: Literal["real", "fake", "listed"] | None = None
    official_split: Split | Literal["", "listed", "folder"] = ""
    compression: str = ""
    bare: bool = False
    masks: str = ""
    mask_fake: MaskFake = "white"

    def __post_init__(self) -> None:
        try:
            self.mask_of("", "", "")
        except (AttributeError, KeyError, IndexError, ValueError) as error:
            raise InputError(
                f"masks {self.masks!r} may name {{stem}}, {{clip}} and {{bucket}} alone"
            ) from error
        if ("label" in self.pattern.groupindex) == (self.label is not None):
            raise InputError("the label of a layout stands either in label or, as {label}, in path")

    def mask_of(self, stem: str, clip: str, bucket: str) -> str:
        """The path of an image's mask from its folder, without an ending; see ``masks``."""
        return self.masks.format(stem=stem, clip=clip, bucket=bucket)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The path as a regular expression, letter case aside."""
        return _compile(self.path)


@dataclass(frozen=True)
class Subset:
    """What the registry says of a subset.

    Args:
        id: canonical name: the name of its manifest.
        dataset: id of the `Dataset`.
        display: its authors' name.
        category: FS face swap, FR reenactment, EFS entire face synthesis, FE editing, or real.
        layouts: the first that fits a folder wins.
        video_level: whether a folder of frames is a clip, so that a score of videos has a meaning.
        aliases: other names that it is found by.
        folders: names of its folder on disk, in lower case; its id and aliases if left out.
        reals: subset of reals by domain; empty where it has reals of its own or is a pool itself.
        own_reals: whether reals and fakes lie together.
        file_clip: regular expression that finds, as its group ``clip``, the real clip that an
            image's file name tells; empty where the folder alone tells whose image it is.
        video_is_clip: whether the folder has the name of the real clip that was changed.
        created: when its images were made (of fakes alone, where reals lie with them): a date or a
            range of dates, see `clare.dates`; empty where it is not known.
        release: official splits that are published.
        lists: names of its official JSON lists.
        labels: how labels in such lists begin (``pixart`` for ``pixart_Fake``).
        expected: folders of its test release, or of all, by domain, where known.
    """

    id: str
    dataset: str
    display: str
    category: Literal["FS", "FR", "EFS", "FE", "real"]
    layouts: tuple[Layout, ...]
    video_level: bool
    aliases: tuple[str, ...] = ()
    folders: frozenset[str] = frozenset()
    reals: Mapping[str, str] = field(default_factory=dict)
    own_reals: bool = False
    file_clip: str = ""
    video_is_clip: bool = False
    created: str = ""
    release: tuple[Split, ...] = get_args(Split)
    lists: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    expected: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.id)
        if self.created:
            try:
                read_span(self.created)
            except ValueError as error:
                raise InputError(f"created: {error}") from None
        if self.id != self.id.lower():
            raise InputError("the id of a subset is in lower case; other spellings are aliases")
        if not self.layouts:
            raise InputError("a subset has at least one layout")
        if self.file_clip and "clip" not in self._clip.groupindex:
            raise InputError("file_clip has no group (?P<clip>…)")
        folders = self.folders or (self.id, *self.aliases)
        object.__setattr__(self, "folders", frozenset(one.casefold() for one in folders))

    def created_of(self, label: int) -> str:
        """When an image of a label was made; empty where it is not known."""
        return self.created if label or self.category == "real" else ""

    def clip_in(self, stem: str) -> str:
        """The real clip that a file's name tells; empty where it tells none."""
        match = self._clip.search(stem) if self.file_clip else None
        return match["clip"] if match else ""

    @cached_property
    def _clip(self) -> re.Pattern[str]:
        return _compile(self.file_clip)

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


def _compile(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise InputError(f"{text!r} is not a regular expression: {error}") from error
