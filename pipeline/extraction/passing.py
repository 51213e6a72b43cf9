"""One pass over the shards that lack something: which is next, among many runs, and when it ends.

Runs begin anywhere, and each goes on from there: so where one meets what another has, or has
ended, more of that follows, and it jumps elsewhere. To list the names of all that is ended, or of
all that is claimed, costs as much as many a miss, and is done when as much was missed. A pass ends
when every shard was asked for or found so: what is left then others have.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence

MISSES = 3
"""Shards that others had ended, after which the names of those that are done are listed again."""

NAMES_A_MISS = 250
"""Names whose listing costs as much as one miss: a bucket lists 1,000 a request, and to claim a
shard that is done takes about four."""

LIST_SECONDS = 20.0
"""But not more often than that."""

MOST_HELD = 8
"""Shards that others hold, met since the run last took one, after which it looks which are claimed:
of hundreds of runs that wait for the last shards, each asks for a few."""

SHARDS_A_STAYER = 8
"""Shards of others for which one run waits, in case that these leave them; two stay at least."""


class Pass:
    """The order of one pass.

    Args:
        shards: that lack something.
        anywhere: a place among so many to begin at, 0 where no other run is at work.
        recorded: shards that have a record already.
        clock: seconds from some moment.
    """

    def __init__(
        self,
        shards: Sequence[int],
        anywhere: Callable[[int], int],
        recorded: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left, self._anywhere, self._clock = deque(shards), anywhere, clock
        self._all = recorded + len(shards)
        self._misses = self._held = 0
        self._listed = clock()
        self._jump()

    def __iter__(self) -> Iterator[int]:
        while self._left:
            yield self._left.popleft()

    def took(self) -> None:
        """The last one is this run's."""
        self._held = 0

    def passed(self, *, held: bool) -> None:
        """The last one is another run's.

        Args:
            held: whether it is still at it; else the shard is done.
        """
        self._held += held
        self._misses += not held
        self._jump()

    @property
    def wants_names(self) -> bool:
        """Whether it is worth while to list what others ended."""
        enough = max(MISSES, (self._all - len(self._left)) // NAMES_A_MISS)
        return self._misses >= enough and self._clock() - self._listed > LIST_SECONDS

    def leave_out_ended(self, ended: Collection[int]) -> list[int]:
        """Pass over shards that are done, as their listing says; they come back."""
        self._misses, self._listed = 0, self._clock()
        return self._leave_out(ended)

    @property
    def wants_claims(self) -> bool:
        """Whether it is worth while to list what others hold."""
        return self._held >= MOST_HELD

    def leave_out_held(self, held: Collection[int]) -> list[int]:
        """Pass over shards that others have, as their listing says; they come back."""
        self._held = 0
        return self._leave_out(held)

    def rest(self) -> list[int]:
        """Those that were not asked for."""
        return list(self._left)

    def _leave_out(self, known: Collection[int]) -> list[int]:
        gone = [shard for shard in self._left if shard in known]
        self._left = deque(shard for shard in self._left if shard not in known)
        return gone

    def _jump(self) -> None:
        self._left.rotate(-self._anywhere(len(self._left)))


def may_leave(others_stay: Callable[[int], bool], shards: int) -> bool:
    """Whether a run may end where others have all the rest, since enough of them stay.

    Args:
        others_stay: says whether so many do.
        shards: that others have.
    """
    return others_stay(max(2, -(-shards // SHARDS_A_STAYER)))
