"""The JSON lists of DeepfakeBench and DF40, read as a stream.

``{dataset: {label: {split: [{compression:] {video: {"label": …, "frames": […], "masks": […]}}}}}``,
where only some lists have the level of compressions.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clare.advice import Name, Run, Set
from clare.columns import SPLITS
from clare.errors import InputError
from clare.foreign import LIST, open_bytes
from clare.labels import Labels
from clare.pipeline.datasets.schema import Registry
from clare.pipeline.manifests.prefixes import plain_parts
from clare.wording import name_rows

FORBIDDEN = ("df40_all", "df40all")
"""Names, in lower case, of a list that nobody should measure anything on."""


@dataclass(slots=True)
class ListedVideo:
    """A video, or a single image, of a list.

    Args:
        kind: its label as the list spells it, for example ``pixart_Fake``.
        label: 0 real, 1 fake.
        name: its key in the list.
        frames: paths as listed, by split.
        masks: path of a mask by path of its frame, as far as their names agree.
        unmasked: frames of entries that list masks, but none of the frame's name.
        unframed: masks whose name no frame of their entry has.
    """

    kind: str
    label: int
    name: str
    frames: dict[str, tuple[str, ...]] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    unmasked: list[str] = field(default_factory=list)
    unframed: list[str] = field(default_factory=list)

    def all_frames(self) -> list[str]:
        """Every path once, in the list's order."""
        return list(dict.fromkeys(path for paths in self.frames.values() for path in paths))


@dataclass(frozen=True)
class OfficialList:
    """What a list holds.

    Args:
        name: of its dataset.
        videos: each once, with the splits that it stands in.
        compression: the level that was taken; empty where the list has none.
        other_compressions: levels that were left out.
        nameless: places of entries where a video's name is missing, as DFDC's list has one.
    """

    name: str
    videos: tuple[ListedVideo, ...]
    compression: str
    other_compressions: tuple[str, ...]
    nameless: tuple[str, ...] = ()


def read_list(
    path: Path,
    registry: Registry,
    compression: str | None = None,
    labels: Labels = Labels(),  # noqa: B008 - it is frozen
) -> OfficialList:
    """Read a list.

    Args:
        path: the JSON file.
        registry: knows labels such as FF-DF, which do not say real or fake.
        compression: the level to take where a list has several; c23 by default.
        labels: words for real and fake.

    Raises:
        InputError: it is not such a list, or ``DF40_all``; a label is not known, or is another
            in the key than in the entry; a path has two labels; the compression is not there.
    """
    if path.stem.casefold() in FORBIDDEN:
        raise _unusable(path)
    wanted = compression or "c23"
    videos: dict[tuple[str, str], ListedVideo] = {}
    names: dict[str, None] = {}
    levels: dict[str, None] = {}
    nameless: list[str] = []
    for keys, entry in _entries(path):
        names[keys[0]] = None
        if len(names) > 1:
            raise InputError(f"{path} holds several datasets ({', '.join(names)}): one a file")
        if keys[0].casefold() in FORBIDDEN:
            raise _unusable(path)
        if len(keys) == 3:
            nameless.append(_place(keys))
            continue
        if len(keys) == 5:
            levels[keys[3]] = None
            if keys[3] != wanted:
                continue
        _add(videos, path, keys, entry, registry, labels)
    if not videos:
        if levels:
            raise InputError(
                f"{path} has no {wanted}", *(Set("compression", level) for level in levels)
            )
        raise InputError(f"{path} lists no video")
    _refuse_two_labels(path, videos.values())
    taken = wanted if wanted in levels else ""
    others = tuple(level for level in levels if level != taken)
    return OfficialList(next(iter(names)), tuple(videos.values()), taken, others, tuple(nameless))


def label_of(
    kind: str,
    registry: Registry,
    labels: Labels = Labels(),  # noqa: B008 - it is frozen
) -> int | None:
    """0 or 1 for a label as lists spell it; None for one that says neither, or both.

    Its words say it (``pixart_Real``, ``nature``, ``1_fake``), or the registry does, for labels of
    subsets that hold one side alone (``FF-DF``). A "real" inside says nothing.
    """
    if (label := labels.read(kind)) is not None:
        return label
    for subset in registry.subsets.values():
        begins = () if subset.own_reals else subset.labels
        if kind.casefold() in (one.casefold() for one in begins):
            return int(subset.category != "real")
    return None


def shared_videos(videos: tuple[ListedVideo, ...]) -> list[tuple[str, str, list[ListedVideo]]]:
    """Pairs of splits that have videos in common, as (split, other split, the videos).

    A video is in common if its key stands in both, or if one of its paths does under any key.
    """
    found = []
    for first, second in (("val", "test"), ("train", "test"), ("train", "val")):
        paths = {path for video in videos for path in video.frames.get(second, ())}
        common = [
            video
            for video in videos
            if first in video.frames
            and (second in video.frames or not paths.isdisjoint(video.frames[first]))
        ]
        if common:
            found.append((first, second, common))
    return found


def _entries(path: Path) -> Iterator[tuple[list[str], dict[str, str | list[str]]]]:
    """(keys above it, entry) of every innermost mapping with a label or frames."""
    import ijson

    keys: list[str] = []
    maps: list[dict[str, str | list[str]]] = []
    array: list[str] | None = None
    try:
        with open_bytes(path, LIST) as file:
            if file.read(len(BOM_UTF8)) != BOM_UTF8:
                file.seek(0)
            for event, value in ijson.basic_parse(file):
                if event == "start_map" and array is None:
                    keys.append("")
                    maps.append({})
                elif event == "map_key":
                    keys[-1] = value
                elif event == "end_map":
                    keys.pop()
                    entry = maps.pop()
                    if entry:
                        yield _checked(path, list(keys)), entry
                elif event == "start_array" and array is None and maps:
                    maps[-1][keys[-1]] = array = []
                elif event == "end_array":
                    array = None
                elif event == "string" and array is not None:
                    array.append(value)
                elif event == "string" and maps:
                    maps[-1][keys[-1]] = value
                elif event in ("number", "boolean") and array is None and keys[-1:] == ["label"]:
                    maps[-1]["label"] = str(value)
                elif array is not None:
                    raise _malformed(path, f"{_place(keys)} lists more than names of files")
                elif not maps:
                    raise _malformed(path, "it begins with no mapping")
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from error
    except (ijson.JSONError, ValueError) as error:
        raise InputError(f"{path} is not JSON: {' '.join(str(error).split())[:120]}") from error


def _checked(path: Path, keys: list[str]) -> list[str]:
    if not 3 <= len(keys) <= 5:
        raise _malformed(path, f"{_place(keys)} is too {'high' if len(keys) < 3 else 'deep'}")
    if keys[2] not in SPLITS:
        raise _malformed(path, f"{_place(keys[:3])} is where a split belongs")
    return keys


def _place(keys: Sequence[str]) -> str:
    return " > ".join(map(repr, keys)) or "its top"


def _malformed(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} is not a list of DeepfakeBench or DF40: {why}; those are dataset, label, split "
        "(train, val, test), perhaps compression, video, and its label and frames"
    )


def _add(
    videos: dict[tuple[str, str], ListedVideo],
    path: Path,
    keys: list[str],
    entry: dict[str, str | list[str]],
    registry: Registry,
    labels: Labels,
) -> None:
    _, key, split, *_, name = keys
    said = entry.get("label", key)
    frames, masks = entry.get("frames", []), entry.get("masks", [])
    if not isinstance(said, str) or isinstance(frames, str) or isinstance(masks, str):
        raise _malformed(path, f"{_place(keys)} has no label and lists of files")
    label, above = label_of(said, registry, labels), label_of(key, registry, labels)
    if label is None:
        raise InputError(
            f"{path}: label {said!r} of {name} says neither real nor fake, or both",
            Name("it", "real_label"),
            Name("it", "fake_label"),
        )
    if above is not None and above != label:
        raise InputError(f"{path}: {name} is {said!r} below {key!r}: one file has one label")
    # A bare number says no more than its key does.
    kind = key if said.replace(".", "").isdecimal() else said
    video = videos.setdefault((kind, name), ListedVideo(kind, label, name))
    video.frames[split] = (*video.frames.get(split, ()), *frames)
    if masks:
        joined = _by_name(frames, masks)
        used = set(joined.values())
        video.masks |= joined
        video.unmasked += [frame for frame in frames if frame not in joined]
        video.unframed += [mask for mask in masks if mask not in used]


def _by_name(frames: Sequence[str], masks: Sequence[str]) -> dict[str, str]:
    """The mask of each frame: the one of its name, where folders tell files of one name apart.

    The lists were made by listing two folders, each in an order of its own, so that a mask's place
    in its list says nothing.
    """
    joined: dict[str, str] = {}
    for depth in (2, 1):  # with the folder, then without
        named = _unique(masks, depth)
        joined = {f: named[k] for k, f in _unique(frames, depth).items() if k in named} | joined
    return joined


def _unique(paths: Sequence[str], depth: int) -> dict[tuple[str, ...], str]:
    """Paths by their last parts, without the suffix; of those that have no such parts alone."""
    found: dict[tuple[str, ...], set[str]] = {}
    for path in paths:
        *folders, name = plain_parts(path) or [""]
        stem = name.rpartition(".")[0] or name
        found.setdefault((*folders, stem)[-depth:], set()).add(path)
    return {key: some.pop() for key, some in found.items() if len(some) == 1}


def _refuse_two_labels(path: Path, videos: Iterable[ListedVideo]) -> None:
    labels: dict[str, int] = {}
    both = [
        frame
        for video in videos
        for frame in video.all_frames()
        if labels.setdefault(frame, video.label) != video.label
    ]
    if both:
        raise InputError(f"{path}: listed as real and as fake: {name_rows(both)}")


def _unusable(path: Path) -> InputError:
    return InputError(
        f"{path.name} can't be used: its test split is empty, test-only methods stand in its train "
        "split, and thousands of its training images show people of FaceForensics++'s test split",
        Run("manifest.build", settings={"dataset": "df40"}, effect="makes the subsets from disk"),
    )
