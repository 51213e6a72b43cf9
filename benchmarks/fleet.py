"""Hundreds of workers on one store, preempted at random: what their coordination costs.

    python -m benchmarks.fleet

A simulation. The leases, heartbeats and the watching of others are the real ones; clock, network
and register are not: the register counts requests and bytes, and each request takes so many seconds
of its worker's time. A worker opens the store, lists what is done, takes shard after shard as the
loop of `clare extract` does, and dies after an exponentially distributed time; another begins in
its place a minute later. One that finds all the rest with others gives its place back, as a task of
an array does. Hearts beat late or not at all, and workers freeze, some past their lease.

A shard is done twice if its values were computed to the end more than once. Coordination is the
time of all requests that an undisturbed worker on its own would not need: everything but the files
and the record of a shard. Waiting is the share of workers' time in which all the rest is with
others. Each size of fleet has equally many rows a worker, the largest as many as asked for. No
lookup of the images and no loading of models is counted.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.rounds import Facts
from benchmarks.script import Parts, Script, main
from clare.pipeline.extraction.passing import Pass, may_leave
from clare.store.claims.heartbeats import Heartbeat, Watch
from clare.store.claims.leases import Leases
from clare.store.claims.owner import Owner
from clare.store.claims.register import Clock, Register, Tag
from clare.store.claims.terms import BEATS_A_LIFE, EXPIRE, next_look
from clare.store.spec import SHARD_ROWS

BEAT = EXPIRE / BEATS_A_LIFE
IN_HAND = 3  # shards that a worker holds: decoded, computed, written
AGAIN = 60.0  # seconds until a preempted worker is replaced
NAMES = 1000  # that one request lists
NAME_BYTES, RECORD_BYTES, LINES_BYTES = 40, 1500, 30_000
MOST_SECONDS = 7 * 86400.0


@dataclass(frozen=True)
class Sizes:
    rows: int = 2_000_000
    workers: str = "8,64,512"
    shard_seconds: float = 20.0
    fields: int = 3
    life_minutes: float = 20.0
    request_ms: float = 10.0
    lost_beats: float = 0.05
    frozen: float = 0.01
    seed: int = 1


@dataclass
class Network:
    """The register that all workers share, and what it was asked for."""

    entries: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    folders: dict[str, set[str]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    states: Iterator[int] = field(default_factory=lambda: itertools.count(1))


class Line(Register):
    """One worker's line to the register: see `clare.store.claims.register.Register`."""

    def __init__(self, network: Network, seconds: float) -> None:
        self.spent = 0.0
        self._network = network
        self._seconds = seconds

    def ask(self, what: str, size: int = 0, times: int = 1) -> None:
        self.spent += self._seconds * times
        self._network.requests[what] += times
        self._network.bytes += size

    def names(self, folder: str) -> set[str]:
        return set(self.states(folder))

    def states(self, folder: str) -> dict[str, Tag]:
        found = self._network.folders.get(folder, set())
        self.ask("list", NAME_BYTES * len(found), 1 + len(found) // NAMES)
        return {name: self._network.entries[f"{folder}/{name}"][1] for name in found}

    def read(self, name: str) -> tuple[bytes, Tag] | None:
        found = self._network.entries.get(name)
        self.ask("read", len(found[0]) if found else 0)
        return found

    def create(self, name: str, data: bytes) -> Tag | None:
        self.ask("create", len(data))
        return None if name in self._network.entries else self._put(name, data)

    def replace(self, name: str, data: bytes, tag: Tag) -> Tag | None:
        self.ask("replace", len(data))
        found = self._network.entries.get(name)
        return self._put(name, data) if found is not None and found[1] == tag else None

    def remove(self, name: str, tag: Tag) -> None:
        self.ask("remove")
        found = self._network.entries.get(name)
        if found is not None and found[1] == tag:
            del self._network.entries[name]
            folder, _, last = name.rpartition("/")
            self._network.folders[folder].discard(last)

    def _put(self, name: str, data: bytes) -> Tag:
        folder, _, last = name.rpartition("/")
        self._network.folders.setdefault(folder, set()).add(last)
        self._network.entries[name] = data, next(self._network.states)
        return self._network.entries[name][1]


class Fleet:
    """Workers, their clock, and what became of the shards."""

    def __init__(self, sizes: Sizes, workers: int, shards: int) -> None:
        self.sizes, self.workers, self.shards = sizes, workers, shards
        self.chance = random.Random(sizes.seed)
        self.network = Network()
        self.now = self.coordination = self.work = self.idle = 0.0
        self.computed: Counter[int] = Counter()
        self.recorded: dict[int, tuple[int, str]] = {}
        self.left = set(range(shards))
        self.mixed = self.deaths = 0
        self._events: list[tuple[float, int, Worker, str]] = []
        self._order = itertools.count()

    def at(self, seconds: float, worker: Worker, what: str) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), worker, what))

    def run(self) -> dict[str, float]:
        for _ in range(self.workers):
            self.begin(self.chance.uniform(0, AGAIN))
        while self._events and len(self.recorded) < self.shards and self.now < MOST_SECONDS:
            self.now, _, worker, what = heapq.heappop(self._events)
            if not (worker.dead or worker.left):
                worker.step(what)
        shards = max(self.shards, 1)
        asked = sum(self.network.requests.values())
        twice = sum(count - 1 for count in self.computed.values())
        return {
            "shards": self.shards,
            "hours": self.now / 3600,
            "preempted": self.deaths,
            "rows lost": SHARD_ROWS * (self.shards - len(self.recorded) + self.mixed),
            "done twice, %": 100 * twice / shards,
            "coordination, %": 100 * self.coordination / (self.coordination + self.work),
            "waiting, %": 100 * self.idle / (self.idle + self.coordination + self.work),
            "requests a shard": asked / shards,
            "KB a shard": self.network.bytes / shards / 1000,
        }

    def begin(self, seconds: float) -> None:
        worker = Worker(self)
        life = self.chance.expovariate(1 / (60 * self.sizes.life_minutes))
        self.at(seconds, worker, "open")
        self.at(seconds + life, worker, "die")


class Worker:
    """One process: its steps take time, in which others take theirs."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.dead, self.left, self.awake = fleet, False, False, 0.0
        self.token = f"{fleet.chance.getrandbits(64):016x}"
        self.line = Line(fleet.network, fleet.sizes.request_ms / 1000)
        clock = Clock(lambda: fleet.now + self.line.spent, lambda seconds: None)
        me = Owner(self.token, host=self.token, machine=self.token)
        self.heart = Heartbeat(self.line, me, clock)
        watch = Watch(self.line, clock)
        watch.begin(me, EXPIRE, BEAT)
        self.leases = Leases(self.line, self.heart, watch)
        self.in_hand: list[int] = []
        self.watch = watch
        self.order = Pass([], self.anywhere)
        self.done = 0  # of the records, in the order in which they were written, that it has seen
        self.poll = 0.0

    def step(self, what: str) -> None:
        if what != "die" and self.fleet.now < self.awake:
            self.fleet.at(self.awake - self.fleet.now, self, what)
            return
        self.line.spent = 0.0
        getattr(self, what)()

    def pay(self, seconds: float = 0.0) -> float:
        """What the requests of a step took, counted as coordination but for the shard's own."""
        self.fleet.coordination += self.line.spent - seconds
        self.fleet.work += seconds
        return self.line.spent

    def die(self) -> None:
        self.dead = True
        self.fleet.deaths += 1
        self.fleet.begin(AGAIN)

    def open(self) -> None:
        self.line.ask("open", 5000, times=6)  # marker, how to claim, extractors, assets, arrays
        self.heart.beat()
        self.fleet.at(BEAT, self, "beat")
        self.fleet.at(self.pay(), self, "look")

    def beat(self) -> None:
        if self.left:
            return
        if self.fleet.chance.random() >= self.fleet.sizes.lost_beats:
            self.heart.busy = bool(self.in_hand)
            self.heart.beat()
            self.watch.keep_watch()
            self.pay()
        self.fleet.at(BEAT * self.fleet.chance.uniform(0.8, 1.6), self, "beat")

    def anywhere(self, count: int) -> int:
        return self.fleet.chance.randrange(max(count, 1))

    def list_records(self) -> None:
        """See the names of all records."""
        self.done = len(self.fleet.recorded)
        self.line.ask("list", NAME_BYTES * self.done, 1 + self.done // NAMES)

    def look(self) -> None:
        """A pass begins: what is not done, from a place of its own."""
        self.list_records()
        shards = sorted(self.fleet.left - set(self.in_hand))
        self.order = Pass(shards, self.anywhere, self.done, lambda: self.fleet.now)
        self.fleet.at(self.pay(), self, "take")

    def take(self) -> None:
        """Fill the hand, then compute; of nothing at all, wait, or give one's place back."""
        for shard in self.order if len(self.in_hand) < IN_HAND else ():
            if self._claim(shard):
                self.order.took()
                self.in_hand.append(shard)
            else:
                self.order.passed(held=shard not in self.fleet.recorded)
                if self.order.wants_names:
                    self.list_records()
                    self.order.leave_out_ended(self.fleet.recorded)
                if self.order.wants_claims:
                    self.order.leave_out_held(self.leases.claimed("noise", self.order.rest()))
            if len(self.in_hand) == IN_HAND or self.line.spent > 1.0:
                break
        if self.in_hand:
            self.poll = 0.0
            self.fleet.at(self.pay() + self._seconds(), self, "write")
        elif self.line.spent > 1.0:
            self.fleet.at(self.pay(), self, "take")
        elif self.poll and may_leave(self.watch.others_stay, len(self.fleet.left)):
            self.left = True
            self.heart.end()
            self.pay()
        else:
            self.poll = next_look(self.poll, BEAT)
            self.fleet.idle += self.poll
            self.fleet.at(self.pay() + self.poll, self, "look")

    def _claim(self, shard: int) -> bool:
        name = f"noise/{shard:06d}"
        if not self.leases.take(name):
            return False
        self.line.ask("read", RECORD_BYTES)  # the record, looked at once more
        if shard in self.fleet.recorded:
            self.leases.release(name)
            return False
        self.line.ask("read", LINES_BYTES, times=2)  # the lines of its rows
        return True

    def _seconds(self) -> float:
        """Of computing a shard; now and then the whole worker freezes, some for minutes."""
        seconds = self.fleet.sizes.shard_seconds * self.fleet.chance.uniform(0.8, 1.25)
        self.fleet.work += seconds
        if self.fleet.chance.random() < self.fleet.sizes.frozen:
            self.awake = self.fleet.now + seconds + self.fleet.chance.expovariate(1 / 120)
        return seconds

    def write(self) -> None:
        """Every field's file, then the record; each is looked at before and behind, as it is."""
        shard = self.in_hand.pop(0)
        name, own = f"noise/{shard:06d}", 0.0
        self.fleet.computed[shard] += 1
        for _ in range(self.fleet.sizes.fields + 1):
            if not self.leases.holds(name):
                break
            before = self.line.spent
            self.line.ask("put")
            own += self.line.spent - before
            if not self.leases.holds(name):
                break
        else:
            self.fleet.left.discard(shard)
            record = len(self.fleet.recorded), self.token
            if self.fleet.recorded.setdefault(shard, record)[1] != self.token:
                self.fleet.mixed += 1
        self.leases.release(name)
        self.fleet.at(self.pay(own), self, "take")


def parts(sizes: Sizes, folder: Path) -> Parts:
    fleets = sorted(int(number) for number in sizes.workers.split(","))
    table = {}
    for workers in fleets:
        shards = -(-sizes.rows * workers // (fleets[-1] * SHARD_ROWS))
        table[f"{workers} workers"] = Fleet(sizes, workers, shards).run()
    yield Facts("fleet", table)


SCRIPT = Script(
    "fleet", __doc__, parts, Sizes(), toy=Sizes(rows=20_000, workers="4,16"), full=Sizes()
)

if __name__ == "__main__":
    main(SCRIPT)
