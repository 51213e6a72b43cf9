"""Ways of doing one thing, timed in turn: what every figure of the benchmarks is made of.

A `Race` runs every way once a round, in a new order each time, so that a slow moment of the
machine meets all of them. A ratio is taken within a round; what is shown is the median over the
rounds, with the lowest and the highest.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

LEAST = 3
"""Rounds that are run whatever they cost, where as many are wanted."""

Way = Callable[[], Mapping[str, float] | None]
"""One turn. Seconds by name where it holds the clock itself, or None: then the race does."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Figure:
    """A median over rounds, with its spread.

    Args:
        name: what it is, within its race.
        unit: ``x`` of a ratio, ``s`` of a time, or that of a rate.
        median: over the rounds.
        low: of the rounds, as are `high` and their number.
        high: see `low`.
        rounds: see `low`.
        aim: the least that is aimed at; None where nothing is.
    """

    name: str
    unit: str
    median: float
    low: float
    high: float
    rounds: int
    aim: float | None = None

    @classmethod
    def of(
        cls, name: str, unit: str, values: Sequence[float], aim: float | None = None
    ) -> Figure | None:
        """The figure of a value a round; None before the first."""
        if not values:
            return None
        middle = statistics.median(values)
        return cls(name, unit, middle, min(values), max(values), len(values), aim)

    def differs(self, other: Figure) -> bool:
        """Whether the rounds of one lie all above, or all below, those of the other."""
        return self.low > other.high or self.high < other.low


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one way is as another.

    Args:
        way: the one in question.
        against: the other.
        aim: the least that is aimed at.
        name: None: made of both.
    """

    way: str
    against: str
    aim: float | None = None
    name: str | None = None

    def __str__(self) -> str:
        return self.name or f"{self.way} against {self.against}"


@dataclass
class Race:
    """Ways side by side.

    Args:
        title: names it among the races of a script.
        ways: each with its turn.
        ratios: what is compared.
        share: of the script's time that the rounds may take.
        rounds: exactly so many, where the work is counted; None: as many as there is time for.
        warm: a first round that is not counted.
        derive: further seconds of a round, from those that were measured.
        rate: work of a turn and its unit, (512, "images/s"): speeds are shown, not seconds.
        wait: called around each turn, until a device is idle.
        facts: what is looked at once, after the last round.

    Attributes:
        seconds: by name, a value for each whole round.
        found: the facts, once the rounds are over.
    """

    title: str
    ways: Mapping[str, Way]
    ratios: Sequence[Ratio] = ()
    share: float = 1.0
    rounds: int | None = None
    warm: bool = True
    derive: Callable[[Mapping[str, float]], Mapping[str, float]] | None = None
    rate: tuple[float, str] | None = None
    wait: Callable[[], object] = lambda: None
    facts: Callable[[], Mapping[str, float]] = dict
    seconds: dict[str, list[float]] = field(default_factory=dict, init=False)
    found: Mapping[str, float] = field(default_factory=dict, init=False)

    def run(
        self,
        rounds: int,
        budget: float,
        told: Callable[[Progress], object],
        clock: Clock = time.perf_counter,
        limit: float = float("inf"),
    ) -> None:
        """Run rounds: at least `LEAST`, or all that are wanted, then as the budget allows.

        Whatever ends it, `seconds` holds the rounds that are whole.

        Args:
            rounds: at most so many, where the race does not count its own.
            budget: seconds for all of them, the warm-up among them.
            told: is told after each round.
            clock: seconds since whenever.
            limit: seconds after which even `LEAST` is cut short.
        """
        wanted = self.rounds or rounds
        least = self.rounds or min(LEAST, rounds)
        order, chance = list(self.ways), random.Random(self.title)
        began = clock()
        if self.warm:
            self._round(order, clock)
        for number in range(1, wanted + 1):
            start = clock()
            chance.shuffle(order)
            found = self._round(order, clock)
            if self.derive is not None:
                found |= self.derive(found)
            for name, seconds in found.items():
                self.seconds.setdefault(name, []).append(seconds)
            now = clock()
            left = (wanted - number) * (now - start)
            if self.rounds is None:
                left = min(left, max(budget - (now - began), 0))
            late = self.rounds is None and now - began >= limit
            ends = late or (number >= least and (number == wanted or left < now - start))
            told(Progress(number, wanted, found, 0 if ends else left))
            if ends:
                break
        self.found = self.facts()

    def _round(self, order: Sequence[str], clock: Clock) -> dict[str, float]:
        found: dict[str, float] = {}
        for name in order:
            self.wait()
            began = clock()
            own = self.ways[name]()
            self.wait()
            found |= {name: clock() - began} if own is None else own
        return found

    def outcome(self) -> Outcome:
        """Its figures, as far as rounds are known."""
        return Outcome(self.title, self._times(), self._ratios(), dict(self.found))

    def _ratios(self) -> list[Figure]:
        found = []
        for one in self.ratios:
            pairs = zip(
                self.seconds.get(one.way, ()), self.seconds.get(one.against, ()), strict=True
            )
            found.append(Figure.of(str(one), "x", [other / own for own, other in pairs], one.aim))
        return [one for one in found if one is not None]

    def _times(self) -> list[Figure]:
        found = [
            Figure.of(name, "s", values)
            if self.rate is None
            else Figure.of(name, self.rate[1], [self.rate[0] / one for one in values])
            for name, values in sorted(self.seconds.items(), key=self._place)
        ]
        return [one for one in found if one is not None]

    def _place(self, item: tuple[str, object]) -> int:
        """The ways' own order, not that of the first round; names of their own come last."""
        names = list(self.ways)
        return names.index(item[0]) if item[0] in names else len(names)


@dataclass(frozen=True)
class Outcome:
    """What a race came to.

    Args:
        title: of the race.
        times: of each way: seconds, or its rate.
        ratios: between them.
        facts: what was looked at once.
    """

    title: str
    times: Sequence[Figure]
    ratios: Sequence[Figure]
    facts: Mapping[str, float]


@dataclass(frozen=True)
class Progress:
    """What is known after a round.

    Args:
        number: of the round, from 1.
        wanted: rounds at most.
        seconds: of this round.
        left: seconds that the race will take yet, about.
    """

    number: int
    wanted: int
    seconds: Mapping[str, float]
    left: float


@dataclass(frozen=True)
class Facts:
    """What is counted, or looked at once: row to column to value.

    Args:
        title: of the table.
        rows: each with the same columns.
    """

    title: str
    rows: Mapping[str, Mapping[str, float]]
