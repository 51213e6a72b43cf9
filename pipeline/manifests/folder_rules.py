"""Videos, people and splits of a user's own images, by the names of folders and files."""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from clare.advice import LeaveOut, Name, Notice, Set
from clare.errors import InputError
from clare.labels import FAKE_WORDS, REAL_WORDS
from clare.pipeline.manifests.sample import Sample
from clare.pipeline.manifests.splits import SPLIT_WORDS, assign_splits, components
from clare.wording import counted, listed, name_rows

LEAST_VIDEOS = 3
"""Fewer folders than there are splits are taken for sorted photographs."""

LONG = 5000
"""Frames that most videos of a data set don't have: folders of more hold a class or a method."""

_FRAME = re.compile(r"(?:frame|frm|img|image|f)?[ _-]?(\d+)", re.IGNORECASE)
_LABEL = re.compile(rf"[01]_(?:{'|'.join(REAL_WORDS | FAKE_WORDS)})")
_BY_NAME = "name:"


@dataclass(frozen=True)
class FolderRules:
    """How names of folders and files are read.

    Args:
        video: whose images are the frames of one video and share a split: folder, those of each
            innermost folder; name:REGEX, those whose path gives the same first group; none, each
            image stands alone; auto, folder where the folders look like videos. They do if each
            holds several images, all named by a number (001.png, frame_12.jpg, <folder>_3.png), a
            number stands in more than one of them, and there are three or more. A folder named
            0_real or 1_fake is none, and neither are folders of which most hold over 5000.
        identities: whether folders named a or a_b, as of FF++, name the people in their images.
        split: folders keeps images below folders named train, val and test in these splits; random
            deals all images out.
        test_only: whether all images are for tests, as of a manipulation that training never sees.

    Raises:
        InputError: the rule for videos is none of these, or its expression is not one.
    """

    video: str = "auto"
    identities: bool = False
    split: Literal["folders", "random"] = "folders"
    test_only: bool = False

    def __post_init__(self) -> None:
        if self.video in ("auto", "folder", "none"):
            return
        try:
            if not self.video.startswith(_BY_NAME):
                raise ValueError("it is not auto, folder, none or name:REGEX")
            re.compile(self.video.removeprefix(_BY_NAME))
        except (ValueError, re.error) as error:
            raise InputError(
                f"{self.video!r} is no rule for videos: {error}",
                Name("another", "video", r"name:(\d+)_\d+\.png"),
            ) from error


class _Place(NamedTuple):
    """Where an image lies: below which folder that was named, in which inner one, as what.

    Args:
        given: the folder that was named.
        inner: the image's own folder, from the named one; empty where that is the same.
        name: of its file.
        folder: its own folder, from the root.
        frame: the number of a frame that it is named by.
    """

    given: str
    inner: str
    name: str
    folder: str
    frame: int | None


def apply_rules(
    samples: Sequence[Sample],
    folders: Iterable[str],
    rules: FolderRules,
    *,
    above: str = "",
    seed: int = 0,
) -> tuple[tuple[Sample, ...], list[Notice]]:
    """Videos, people and splits of samples that were listed from folders.

    Args:
        samples: with paths from one root.
        folders: the folders that were named, from the same root.
        rules: how names are read.
        above: folders over the root whose names may say a split too.
        seed: of splits that are dealt out.

    Returns:
        The samples in their order, and what was taken for granted.

    Raises:
        InputError: no path fits the expression for videos.
    """
    named = sorted(("" if folder == "." else folder for folder in folders), key=len, reverse=True)
    places = [_place(sample.path, named) for sample in samples]
    found, notices = _with_videos(samples, places, rules)
    if rules.identities:
        found, told = _with_identities(found, places)
        notices += told
    split, told = _with_splits(found, rules, above, seed)
    return split, notices + told


def guess_videos(samples: Sequence[Sample]) -> list[tuple[str, int | None]]:
    """Video and frame of each image that seems to be of a video; ("", None) of each other one.

    A video is a folder that looks like one, as `FolderRules.video` says of auto, below the deepest
    folder that holds all of a label.

    Args:
        samples: with paths in their plain relative form.
    """
    folders: dict[int, set[str]] = defaultdict(set)
    for sample in samples:
        folders[sample.label].add(sample.path.rpartition("/")[0])
    above = {label: posixpath.commonpath(own) for label, own in folders.items()}
    places = [_place(sample.path, [above[sample.label]]) for sample in samples]
    videos = _by_folder(places, always=False)
    return [
        (video, place.frame) if video else ("", None)
        for video, place in zip(videos, places, strict=True)
    ]


def cut_videos(samples: Iterable[Sample], videos: Iterable[str]) -> list[str]:
    """The videos whose frames stand in several splits, sorted; "" is none."""
    splits: dict[str, set[str]] = defaultdict(set)
    for sample, video in zip(samples, videos, strict=True):
        splits[video].add(sample.split)
    return sorted(video for video, found in splits.items() if video and len(found) > 1)


def _place(path: str, folders: Sequence[str]) -> _Place:
    """The place of a path below the first of the folders that holds it; "" holds all."""
    given = next(folder for folder in folders if not folder or path.startswith(f"{folder}/"))
    inner, _, name = path[len(given) + 1 if given else 0 :].rpartition("/")
    folder = f"{given}/{inner}" if given and inner else given or inner
    return _Place(given, inner, name, folder, _frame(inner, name))


def _frame(inner: str, name: str) -> int | None:
    stem = name.rpartition(".")[0] or name
    last = inner.rpartition("/")[2]
    if stem.startswith((f"{last}_", f"{last}-")):
        stem = stem[len(last) + 1 :]
    found = _FRAME.fullmatch(stem)
    return int(found[1]) if found else None


def _with_videos(
    samples: Sequence[Sample], places: Sequence[_Place], rules: FolderRules
) -> tuple[list[Sample], list[Notice]]:
    if rules.video == "none":
        return list(samples), []
    if rules.video.startswith(_BY_NAME):
        videos = _by_name(places, re.compile(rules.video.removeprefix(_BY_NAME)))
    else:
        videos = _by_folder(places, always=rules.video == "folder")
    groups = {video for video in videos if video}
    if not groups:
        return list(samples), _told_long(places) if rules.video == "auto" else []
    (longest, most), *_ = Counter(video for video in videos if video).most_common(1)
    frames = sum(map(bool, videos))
    alone = len(samples) - frames
    what = f"{counted(frames, 'image')} are taken as frames of {counted(len(groups), 'video')}"
    what += f" (the longest, {longest}, has {most:,})"
    what += f" and {counted(alone, 'image')} as single pictures" if alone else ""
    found = [
        replace(sample, video_id=video, frame_idx=place.frame) if video else sample
        for sample, video, place in zip(samples, videos, places, strict=True)
    ]
    assumed = rules.video == "auto"
    told = Notice(
        f"{what}, by their {'names' if rules.video.startswith(_BY_NAME) else 'folders'}; "
        "frames of one video share a split",
        *([Set("video", "none", effect="takes each image alone")] if assumed else []),
    )
    return found, [told]


def _by_name(places: Sequence[_Place], expression: re.Pattern[str]) -> list[str]:
    found = [expression.search(f"{place.inner}/{place.name}".lstrip("/")) for place in places]
    if not any(found):
        raise InputError(
            f"no path fits {expression.pattern!r}, as {places[0].folder}/{places[0].name} does not",
            Name("another expression", "video", "name:REGEX"),
        )
    return [
        f"{place.given}/{one[1] if expression.groups else one[0]}" if one else ""
        for place, one in zip(places, found, strict=True)
    ]


def _by_folder(places: Sequence[_Place], *, always: bool) -> list[str]:
    """Each image's folder where that is a video; the named folders themselves are none."""
    if always:
        return [place.folder if place.inner else "" for place in places]
    videos: set[str] = set()
    for folders in _numbered(places):
        if not _are_long(folders):
            videos |= set(folders)
    return [place.folder if place.folder in videos else "" for place in places]


def _numbered(places: Sequence[_Place]) -> list[dict[str, set[int]]]:
    """Below each folder that was named, those that look like videos but for their length."""
    frames: dict[str, dict[str, list[int | None]]] = defaultdict(lambda: defaultdict(list))
    for place in places:
        if place.inner:
            frames[place.given][place.folder].append(place.frame)
    found = []
    for folders in frames.values():
        numbered = {
            name: {number for number in numbers if number is not None}
            for name, numbers in folders.items()
            if len(numbers) > 1 and None not in numbers and not _says_kind(name.rpartition("/")[2])
        }
        # Photographs that are only sorted into folders are numbered on from one to the next.
        held = Counter(number for numbers in numbered.values() for number in numbers)
        if len(numbered) >= LEAST_VIDEOS and any(count > 1 for count in held.values()):
            found.append(numbered)
    return found


def _says_kind(folder: str) -> bool:
    """Whether a folder's name is a split, or a label as in ``horse/0_real``, where photographs lie.

    A plain ``real`` may be a part of a video's folder.
    """
    return folder.lower() in SPLIT_WORDS or _LABEL.fullmatch(folder.lower()) is not None


def _are_long(folders: Mapping[str, set[int]]) -> bool:
    return sorted(map(len, folders.values()))[len(folders) // 2] > LONG


def _told_long(places: Sequence[_Place]) -> list[Notice]:
    count = sum(len(folders) for folders in _numbered(places))
    if not count:
        return []
    what = f"{counted(count, 'folder')} of numbered images are too long for videos: each image is"
    return [Notice(f"{what} taken alone", Set("video", "folder", effect="takes them as videos"))]


def _with_identities(
    samples: Sequence[Sample], places: Sequence[_Place]
) -> tuple[list[Sample], list[Notice]]:
    found: list[Sample] = []
    people: set[str] = set()
    for sample, place in zip(samples, places, strict=True):
        parts = [part for part in place.inner.rpartition("/")[2].split("_") if part]
        people |= set(parts)
        found.append(replace(sample, source_ids="|".join(parts)))
    what = f"folders name {len(people)} people, each in one split alone"
    largest = max(map(len, components(found)), default=0)
    if 2 * largest > len(found):
        what += f"; {largest:,} of the {len(found):,} images hang together by the people in them"
        what += " and so share one split"
    return found, [Notice(what)]


def _with_splits(
    samples: Sequence[Sample], rules: FolderRules, above: str, seed: int
) -> tuple[tuple[Sample, ...], list[Notice]]:
    if rules.test_only:
        return tuple(replace(s, split="test", official_split="test") for s in samples), []
    by_folder = rules.split == "folders"
    kept = [_split_of(f"{above}/{sample.path}") if by_folder else "" for sample in samples]
    if not any(kept):
        return assign_splits(samples, seed=seed), []
    samples = [
        replace(sample, official_split=split) for sample, split in zip(samples, kept, strict=True)
    ]
    dealt = assign_splits(samples, seed=seed)
    if "val" not in kept and "train" in kept:
        # Checkpoint and threshold need rows of their own, and test rows are never these.
        own = [number for number, split in enumerate(kept) if split == "train"]
        part = assign_splits([samples[number] for number in own], seed=seed)
        for number, sample in zip(own, part, strict=True):
            kept[number] = "val" if sample.split == "val" else "train"
        carved = "; there is none for validation, so a part of train is"
    else:
        carved = ""
    found = _follow(
        [
            replace(sample, split=split) if split else sample
            for sample, split in zip(dealt, kept, strict=True)
        ]
    )
    rest = kept.count("")
    counts = listed(
        f"{kept.count(name)} {name}" for name in ("train", "val", "test") if name in kept
    )
    what = f"folders named so decide the splits: {counts}{carved}"
    what += f"; {counted(rest, 'image')} outside of them are dealt out" if rest else ""
    return found, [Notice(what, Set("split", "random", effect="deals all images out"))]


def _split_of(path: str) -> str:
    """The split that a path's folders name; none where they name two."""
    parts = {SPLIT_WORDS.get(part.lower(), "") for part in path.split("/")[:-1]} - {""}
    return parts.pop() if len(parts) == 1 else ""


def deal_together(
    manifests: Sequence[Sequence[Sample]], *, by_role: bool = False, seed: int = 0
) -> list[list[Sample]]:
    """Splits for subsets that show the same people, each person in one split of all of them.

    Samples whose split a folder, or a role, decided keep it, and others of the same people follow.

    Args:
        manifests: the samples of each subset.
        by_role: whether some are for tests alone by a role, which an error then speaks of.
        seed: of the splits.

    Raises:
        InputError: people stand in two of the splits that were decided.
    """
    every = [sample for samples in manifests for sample in samples]
    free = [sample for sample in every if not sample.official_split]
    dealt = {(s.subset, s.sample_id): s for s in assign_splits(free, seed=seed)}
    followed = _follow([dealt.get((s.subset, s.sample_id), s) for s in every], by_role=by_role)
    found = {(s.subset, s.sample_id): s for s in followed}
    return [[found[s.subset, s.sample_id] for s in samples] for samples in manifests]


def _follow(samples: Sequence[Sample], *, by_role: bool = False) -> tuple[Sample, ...]:
    """Samples that share a video or a person with one whose split was decided, in that split.

    Raises:
        InputError: two such splits share one.
    """
    found = list(samples)
    torn = []
    for rows in components(samples):
        own = [samples[row] for row in rows if samples[row].official_split]
        if len({sample.official_split for sample in own}) > 1:
            splits = ", ".join(sorted({sample.official_split for sample in own}))
            torn.append(f"{own[0].sample_id} ({splits})")
        elif own:
            # Where a part of train was made validation, that is ours to move.
            split = min(own, key=lambda sample: sample.sample_id).split
            for row in rows:
                found[row] = replace(samples[row], split=split)
    if torn:
        raise InputError(
            f"splits that folders or roles decide share people, videos or files: {name_rows(torn)}",
            Set("split", "random", effect="deals all images out"),
            *([LeaveOut("test_only")] if by_role else []),
        )
    return tuple(found)
