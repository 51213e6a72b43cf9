"""One heartbeat a process, and watching those of others.

Nobody's clock is asked: a heartbeat counts up, and whoever watches it notes when, by his own time,
it last changed. Clocks that are wrong mean nothing then, nor do times that a file server writes.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect
from dataclasses import dataclass, replace

from clare.store.claims.owner import Beat, Owner, read_beat
from clare.store.claims.register import Clock, Register, Tag

BEATS = "_alive"
"""The folder of heartbeats."""

_LOOKED_AT = 3
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


@dataclass(frozen=True)
class _Seen:
    """A heartbeat as it was last seen, since when it is so, and whether it was seen to beat."""

    beat: Beat | None
    count: int | None
    changed: float
    looked: float
    beats: bool = False


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

    def begin(self, me: Owner, expire: float, every: float) -> None:
        """Watch from now on, or go on.

        Args:
            me: who watches.
            expire: seconds after which a heartbeat that did not change is nobody's.
            every: seconds for which what was seen counts as fresh.
        """
        self.me, self.expire, self._every = me, expire, every

    def tokens(self) -> set[str]:
        """The tokens of all others that have a heartbeat."""
        return self._register.names(BEATS) - {self.me.token}

    def look(self, token: str, *, fresh: bool = False) -> Beat | None:
        """The heartbeat of another; None where it has none."""
        now = self._clock.now()
        seen = self._seen.get(token)
        if seen is not None and not fresh and now - seen.looked < self._every:
            return seen.beat
        found = self._register.read(f"{BEATS}/{token}")
        beat = None if found is None else read_beat(token, found[0])
        count = None if beat is None else beat.count
        if seen is None:
            seen = _Seen(beat, count, changed=now, looked=now)
        elif beat is not None and seen.count != count:  # one that vanished is no sign of life
            seen = replace(seen, count=count, changed=now, beats=True)
        self._seen[token] = replace(seen, beat=beat, looked=now)
        return beat

    def others_work(self, least: int) -> bool:
        """Whether so many others were seen to beat of late that claim something.

        Few are looked at, so that hundreds may ask; asked again, it may have become clear.
        """
        tokens, found = sorted(self.tokens()), 0
        mine = bisect(tokens, self.me.token)
        for token in [*tokens[mine:], *tokens[:mine]][: _LOOKED_AT * least]:
            beat, seen = self.look(token), self._seen.get(token)
            late = self.unchanged(token) > _LATE_BEATS * self._every
            found += beat is not None and beat.busy and seen is not None and seen.beats and not late
        return found >= least

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
        self.look(token, fresh=True)
        return self.unchanged(token) >= self.expire

    def forget(self, token: str) -> None:
        """Take away the heartbeat of one that is gone."""
        self._seen.pop(token, None)
        found = self._register.read(f"{BEATS}/{token}")
        if found is not None:
            self._register.remove(f"{BEATS}/{token}", found[1])

    def sweep(self) -> None:
        """Forget those whose claims everybody may have taken over by now."""
        for token in [t for t in self._seen if self.unchanged(t) > 2 * self.expire]:
            self.forget(token)
