"""One heartbeat a process, and watching those of others.

Nobody's clock is asked: a heartbeat counts up, and whoever watches it notes when, by his own time,
it last changed. Clocks that are wrong mean nothing then, nor do times that a file server writes.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect
from dataclasses import dataclass

from clare.store.claims.owner import Beat, Owner, read_beat
from clare.store.claims.register import Clock, Register, Tag

BEATS = "_alive"
"""The folder of heartbeats."""

_LISTS_A_LIFE = 8
"""Lists of all heartbeats in the time after which one is nobody's."""

_LOOKED_AT = 8
"""Heartbeats that one reads who may end, of others whose token comes behind its own."""

_LATE_BEATS = 6
"""Beats after which one that was seen to beat may have ended."""


class Heartbeat:
    """The heartbeat of one process.

    Args:
        register: keeps it.
        owner: the process.
        clock: its time.
    """

    def __init__(self, register: Register, owner: Owner, clock: Clock) -> None:
        self.owner = owner
        self.leases = False
        self.busy = False
        self.last = -math.inf
        self._register = register
        self._clock = clock
        self._count = 0
        self._tag: Tag | None = None
        self._one = threading.Lock()

    def beat(self) -> None:
        """Show that the process is alive; made anew where somebody took it for dead."""
        with self._one:
            now = self._clock.now()
            self._count += 1
            name = f"{BEATS}/{self.owner.token}"
            data = Beat(self.owner, self._count, self.leases, self.busy).to_bytes()
            tag = self._tag
            if tag is not None:
                tag = self._register.replace(name, data, tag)
            if tag is None:
                tag = self._register.create(name, data)
            if tag is None and (found := self._register.read(name)) is not None:
                # Ours all the same: nobody else draws this token, and an answer may be lost.
                tag = self._register.replace(name, data, found[1])
            self._tag = tag
            if tag is not None:
                self.last = now

    def end(self) -> None:
        """Take it away: the process claims nothing any more."""
        with self._one:
            if self._tag is not None:
                self._register.remove(f"{BEATS}/{self.owner.token}", self._tag)
            self._tag, self.last = None, -math.inf


@dataclass
class _Seen:
    """What was seen of another's heartbeat.

    Args:
        changed: when it was last seen to change, or seen at all.
        looked: when it was last read.
        beat: as it was then.
        count: of its beats, as it was last read.
        state: as it was last listed.
        listed: when that was.
        beat_after: a moment after which it certainly beat: the look before the one that saw that.
    """

    changed: float
    looked: float = -math.inf
    beat: Beat | None = None
    count: int | None = None
    state: Tag | None = None
    listed: float = -math.inf
    beat_after: float = -math.inf

    def change(self, before: float, now: float) -> None:
        """It beat between two looks."""
        self.changed, self.beat_after = now, max(before, self.beat_after)


class Watch:
    """What one process has seen of the heartbeats of others.

    Args:
        register: keeps them.
        clock: the time of who watches.
    """

    def __init__(self, register: Register, clock: Clock) -> None:
        self.me = Owner("")
        self.expire = self._every = math.inf
        self._register = register
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._listed = -math.inf

    def begin(self, me: Owner, expire: float, every: float) -> None:
        """Watch from now on, or go on.

        Args:
            me: who watches.
            expire: seconds after which a heartbeat that did not change is nobody's.
            every: seconds for which what was seen counts as fresh.
        """
        self.me, self.expire, self._every = me, expire, every

    def tokens(self) -> set[str]:
        """The tokens of all others that have a heartbeat; whose beats goes on, the list tells."""
        states, now = dict(self._register.states(BEATS)), self._clock.now()
        states.pop(self.me.token, None)
        for token, state in states.items():
            seen = self._seen.setdefault(token, _Seen(now))
            if seen.state not in (None, state):
                seen.change(seen.listed, now)
            seen.state, seen.listed = state, now
        for token in [t for t, seen in self._seen.items() if t not in states]:
            if self._seen[token].count is None:  # it ended, and nobody asked for it
                del self._seen[token]
        self._listed = now
        return set(states)

    def keep_watch(self) -> None:
        """List the heartbeats now and then, so that it is known in time who is gone."""
        if self._clock.now() - self._listed >= self.expire / _LISTS_A_LIFE:
            self.tokens()

    def look(self, token: str, *, fresh: bool = False) -> Beat | None:
        """The heartbeat of another; None where it has none."""
        now = self._clock.now()
        seen = self._seen.setdefault(token, _Seen(now))
        if not fresh and now - seen.looked < self._every:
            return seen.beat
        found = self._register.read(f"{BEATS}/{token}")
        seen.beat = None if found is None else read_beat(token, found[0])
        if seen.beat is not None:
            before, seen.count = seen.count, seen.beat.count
            if before not in (None, seen.count):  # one that vanished is no sign of life
                self._date(seen, now)
        seen.looked = now
        return seen.beat

    def _date(self, seen: _Seen, now: float) -> None:
        """A heart has beaten since it was read last: of late, or before it was listed last?"""
        if seen.state is None or self._listed <= seen.looked:
            seen.change(seen.looked, now)
        else:
            self.tokens()

    def others_stay(self, least: int) -> bool:
        """Whether at least so many others stay longer than this one may, and are certain to live.

        Those stay that claim something, and those whose token comes first: so whoever is the last
        to claim something, or the first of those that wait, never hears that others stay. To see
        that a heart beats takes more than one look: ask again and again.
        """
        tokens = sorted(token for token in self.tokens() if self._lives(token))
        first = bisect(tokens, self.me.token)
        for token in tokens[first : first + _LOOKED_AT]:
            beat = self.look(token)
            first += beat is not None and beat.busy
        return first >= least

    def _lives(self, token: str) -> bool:
        """Whether another is certain to have beaten of late, also for whom slept meanwhile."""
        return self.since(self._seen[token].beat_after) <= _LATE_BEATS * self._every

    def unchanged(self, token: str) -> float:
        """Seconds for which a heartbeat has not changed, as far as was looked."""
        seen = self._seen.get(token)
        return 0.0 if seen is None else self._clock.now() - seen.changed

    def since(self, moment: float) -> float:
        """Seconds from a moment of this clock to now."""
        return self._clock.now() - moment

    def is_gone(self, token: str) -> bool:
        """Whether another has ended, or has not shown itself for so long that it counts as such."""
        beat = self.look(token)
        if beat is not None and beat.owner.has_ended(self.me):
            return True
        if self.unchanged(token) < self.expire:
            return False
        # Once more: what counts as fresh may be as old as the time between two looks.
        self.tokens()
        self.look(token, fresh=True)
        return self.unchanged(token) >= self.expire

    def forget(self, token: str) -> None:
        """Take away the heartbeat of one that is gone."""
        self._seen.pop(token, None)
        found = self._register.read(f"{BEATS}/{token}")
        if found is not None:
            self._register.remove(f"{BEATS}/{token}", found[1])

    def sweep(self) -> None:
        """Forget those that one asked for and whose claims everybody may have taken by now."""
        read = [token for token, seen in self._seen.items() if seen.looked > -math.inf]
        for token in read:
            if self.unchanged(token) > 2 * self.expire:
                self.forget(token)
