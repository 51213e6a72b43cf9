"""Some frames of each video: evenly spaced ones, or the first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from clare.protocol import Sampling
from clare.store.row import Row


def clip_of(row: Row) -> str:
    """The clip that an image is one of several frames of; empty where it is none.

    A video; or else, where frames are numbered, the folder of the row's id: generators of whole
    images keep a folder for each real video, though their images are no frames of a video.
    """
    columns = row.columns
    if columns.get("video_id"):
        return str(columns["video_id"])
    if columns.get("frame_idx") is None:
        return ""
    # A row that shared its id with another has its root and path behind its own id.
    place = f"@{columns.get('root', '')}/{columns.get('path', '')}"
    return row.sample_id.removesuffix(place).rpartition("/")[0]


def choose_frames(rows: Sequence[Row], frames: int | None, sampling: Sampling) -> list[int]:
    """Places of the rows that are kept, in the order they had.

    Frames of a clip are told apart by label too, for a face swap may keep its video's name, and by
    their delivery. They are in the order of their numbers, and of their ids where they have none.
    Rows of no clip are kept.

    Args:
        rows: of one view.
        frames: kept of each clip at most; all if None.
        sampling: ``even``: the first, the last and evenly spaced ones between them, one alone is
            the first; ``first_n``: the first ones.
    """
    if frames is None:
        return list(range(len(rows)))
    kept: list[int] = []
    clips: dict[tuple[str, str, int, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        clip = clip_of(row)
        if clip:
            own = (row.columns.get("subset", ""), clip, row.columns["label"])
            clips[*own, str(row.columns.get("delivery") or "")].append(place)
        else:
            kept.append(place)
    for places in clips.values():
        places.sort(key=lambda place: (_number(rows[place]), rows[place].sample_id))
        kept += _some(places, frames, sampling)
    return sorted(kept)


def _some(places: list[int], frames: int, sampling: Sampling) -> list[int]:
    if len(places) <= frames or sampling == "first_n":
        return places[:frames]
    # Rounded half up: numpy rounds half to even, which would space them unevenly.
    spaced = np.floor(np.linspace(0, len(places) - 1, frames) + 0.5).astype(int)
    return [places[number] for number in spaced]


def _number(row: Row) -> int:
    return int(row.columns.get("frame_idx") or 0)
