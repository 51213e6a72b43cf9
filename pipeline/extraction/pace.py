"""What an extraction takes, from what an image costs in each stage.

Decoding, the models and writing run side by side, so the slowest of the three lanes decides; but
all of them take time of the same cores, so the cores decide where there are few. Either way only
the ratio of what is to be done to what was done is taken from this model: how fast the machine
really is, beside whatever else runs on it, the clock tells.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock

FILES, DECODE, FORWARD, WRITE, READ = "files", "decode", "forward", "write", "read"
"""Kinds of stages; one extractor's are told by `stage_of`, as ``forward:lare``."""

MODELS, CORES = "models", "cores"
"""What stages wait for, beside the lanes of `DECODE` and `WRITE`."""

WARM = 3
"""Micro-batches after the first ones that there is an estimate after."""

SHORTEST, LONGEST = 2.0, 30.0
"""Seconds that pass before the first estimate; after the longer time also with fewer batches."""

WINDOW = 120.0
"""Seconds back that the pace is taken from."""

PARTS = 4
"""That these are looked at in, to say how far the pace goes up and down."""


@dataclass(frozen=True)
class Spent:
    """What a stage took so far, or takes for an image.

    Args:
        images: how many.
        seconds: of its lane, in which one image follows the other.
        cpu: seconds of cores, all threads together.
    """

    images: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.images + other.images, self.seconds + other.seconds, self.cpu + other.cpu)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.images - other.images, self.seconds - other.seconds, self.cpu - other.cpu)

    def scaled(self, images: float) -> Spent:
        """As much, for another number of images."""
        scale = images / self.images if self.images else 0.0
        return Spent(images, scale * self.seconds, scale * self.cpu)


def stage_of(kind: str, extractor: str) -> str:
    """The stage of one extractor: ``forward:lare``."""
    return f"{kind}:{extractor}"


def kind_of(stage: str) -> str:
    """What a stage does, of whichever extractor."""
    return stage.partition(":")[0]


def extractor_of(stage: str) -> str:
    """Whose stage it is; empty where it is that of all."""
    return stage.partition(":")[2]


def lane_of(stage: str) -> str:
    """`DECODE`, `MODELS` or `WRITE`: stages of one lane follow each other."""
    kind = kind_of(stage)
    return MODELS if kind == FORWARD else kind


Mark = tuple[float, int, dict[str, Spent]]
"""A time, the micro-batches until then, and what each stage took."""


def lanes(spent: Mapping[str, Spent], cores: int) -> dict[str, float]:
    """Seconds that each thing which stages wait for is busy; the longest is the extraction's time.

    Args:
        spent: by stage.
        cores: that all stages share.

    Returns:
        `DECODE`, `MODELS`, `WRITE` and `CORES`, to seconds.
    """
    busy = dict.fromkeys((DECODE, MODELS, WRITE), 0.0)
    for stage, one in spent.items():
        busy[lane_of(stage)] += one.seconds
    return {**busy, CORES: sum(one.cpu for one in spent.values()) / cores}


def doubt(batches: float) -> float:
    """By how much an estimate that rests on so many micro-batches may be off, as a factor."""
    return 1 + max(0.1, min(0.5, 1 / math.sqrt(max(batches, 1))))


class Pace:
    """The time that is left, as a range that narrows; told by several threads.

    The first micro-batch of an extractor warms up and is left out.

    Args:
        images: that each extractor has to do.
        rows: that are to be decoded, in whatever unit `add` counts them.
        cores: that all stages share.
        clock: seconds that pass.
    """

    def __init__(
        self,
        images: Mapping[str, int],
        rows: float,
        cores: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._cores = clock, cores
        self._left: dict[str, float] = {DECODE: rows}
        for name, count in images.items():
            self._left |= {stage_of(kind, name): count for kind in (FORWARD, WRITE)}
        self._all, self._ours, self._others = self._to_compute(), 0, 0
        self._batches: dict[str, int] = {}
        self._spent: dict[str, Spent] = {}
        self._marks: deque[Mark] = deque()
        self._lock = Lock()

    def add(self, stage: str, images: float, seconds: float, cpu: float) -> None:
        """Count what a stage did.

        Args:
            stage: `DECODE`, or an extractor's of `FORWARD` or `WRITE`; see `stage_of`.
            images: how many.
            seconds: of the stage's lane.
            cpu: seconds of cores.
        """
        with self._lock:
            self._left[stage] = self._left.get(stage, 0) - images
            is_forward = kind_of(stage) == FORWARD
            is_first = is_forward and stage not in self._batches
            if not is_first:
                before = self._spent.get(stage, Spent())
                self._spent[stage] = before + Spent(images, seconds, cpu)
            if is_forward:
                self._batches[stage] = self._batches.get(stage, 0) + 1
                self._mark(anew=is_first)

    def skip(self, stage: str, images: int) -> None:
        """Leave images out that a stage will not get."""
        with self._lock:
            self._left[stage] = self._left.get(stage, 0) - images

    def share(self, ours: int, others: int) -> None:
        """Count images that this run took, and others that another run has or did.

        Of those that nobody took yet, the runs will take as they did so far.
        """
        with self._lock:
            self._ours += ours
            self._others += others

    def left(self) -> tuple[float, float] | None:
        """The least and the most seconds that it may still take; None as long as nobody knows."""
        with self._lock:
            known = self._recent()
            if known is None:
                return None
            costs, scale, batches = known
            todo = {stage: max(count, 0) for stage, count in self._left.items()}
            sure = {stage: cost.scaled(todo.get(stage, 0)) for stage, cost in costs.items()}
            least = scale * max(lanes(sure, self._cores).values())
            # An extractor that has not begun takes nothing, or as long as the slowest.
            forward = [one for stage, one in costs.items() if kind_of(stage) == FORWARD]
            slowest = max(forward, key=lambda one: one.seconds / one.images)
            unsure = {
                stage: slowest.scaled(count)
                for stage, count in todo.items()
                if kind_of(stage) == FORWARD and stage not in costs
            }
            most = scale * max(lanes({**sure, **unsure}, self._cores).values())
            off, part = doubt(batches), self._own_part()
            return part * least / off, part * most * off

    def an_image(self) -> tuple[float, float, float] | None:
        """Seconds an image of which every stage does its part; None as long as nobody knows.

        Returns:
            Over all of late, and the least and the most of a few parts of that time.
        """
        with self._lock:
            known = self._recent()
            if known is None:
                return None
            costs, scale, _ = known
            each = {stage: cost.scaled(1) for stage, cost in costs.items()}
            an_image = max(lanes(each, self._cores).values())
            marks = list(self._marks)
            steps = range(0, len(marks) - 1, -(-(len(marks) - 1) // PARTS))
            bounds = [marks[step] for step in steps] + [marks[-1]]
            scales = [scale, *filter(None, (self._scale(*two) for two in pairwise(bounds)))]
            return scale * an_image, min(scales) * an_image, max(scales) * an_image

    def _to_compute(self) -> float:
        """Images that no model has had yet, each extractor's counted."""
        return sum(n for stage, n in self._left.items() if kind_of(stage) == FORWARD)

    def _own_part(self) -> float:
        """Of the images that are left, the part that other runs will leave to this one."""
        left = self._to_compute()
        if not self._others or left <= 0:
            return 1.0
        in_hand = max(self._ours - (self._all - left), 0)
        ahead = max(self._all - self._ours - self._others, 0)
        return (in_hand + ahead * self._ours / (self._ours + self._others)) / left

    def _mark(self, *, anew: bool) -> None:
        """Note how far it is; from the beginning where a model has just warmed up."""
        if anew:
            self._marks.clear()
        now = self._clock()
        self._marks.append((now, sum(self._batches.values()), dict(self._spent)))
        while len(self._marks) > WARM + 1 and self._marks[1][0] < now - WINDOW:
            self._marks.popleft()

    def _recent(self) -> tuple[dict[str, Spent], float, int] | None:
        """What stages cost of late, by how much slower they were together, in how many batches."""
        if not self._marks:
            return None
        (began, first, before), (now, last, after) = self._marks[0], self._marks[-1]
        passed, batches = now - began, last - first
        if not batches or passed < SHORTEST or (batches < WARM and passed < LONGEST):
            return None
        done = {stage: one - before.get(stage, Spent()) for stage, one in after.items()}
        if not any(done[stage].images for stage in done if kind_of(stage) == FORWARD):
            return None
        costs = {stage: done[stage] if done[stage].images else after[stage] for stage in after}
        return costs, self._scale(self._marks[0], self._marks[-1]) or 1.0, batches

    def _scale(self, begin: Mark, end: Mark) -> float | None:
        """By how much slower all was than the stages alone account for."""
        done = {stage: one - begin[2].get(stage, Spent()) for stage, one in end[2].items()}
        expected = max(lanes(done, self._cores).values())
        return (end[0] - begin[0]) / expected if expected else None
