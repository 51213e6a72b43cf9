"""Workers of a Dask cluster kept busy with items of work, whatever becomes of single workers.

An item can be repeated without harm, since what is done already is found where it was kept: so an
item whose worker died is given again, to whoever is there. Results are taken as they come: one that
stayed with its worker would be lost with it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, Self, TypeVar

from clare.advice import Notice
from clare.cluster.connect import LANES, RESOURCE, Connected, workers_of
from clare.errors import ClareError, InputError
from clare.stopping import patience
from clare.wording import duration

POLL_SECONDS = 0.5
"""How often workers are counted, and signals looked at."""

LONELY_SECONDS, AGAIN_SECONDS = 60.0, 600.0
"""After how long without a worker that is said, and after how long once more."""

REFUSED_SECONDS = 15.0
"""For how long no job may be taken: others are submitted meanwhile, and again."""

MOST_GIVEN = 6
"""Times that an item is given without anything of it getting done; each outlasts three deaths."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkersLostError(ClareError):
    """Every worker that an item was given to died over it."""


class DismissedError(ClareError):
    """A worker was given an item after the crew had been dismissed."""


def kit_here(name: str) -> Any:
    """Asked on a worker: its kit, under the name of its crew.

    Raises:
        DismissedError: it is gone.
    """
    from distributed import get_worker

    kit = get_worker().plugins.get(name)
    if kit is None:
        raise DismissedError("the work was to end before this began")
    return kit


@dataclass
class _Given(Generic[Item]):
    """An item that a worker has, and how often it was given without getting anywhere."""

    item: Item
    times: int = 1


class Crew(Generic[Item, Result]):
    """The workers of a cluster, with what all of them know.

    Args:
        cluster: that is connected to.
        kit: a `distributed.WorkerPlugin`, which each worker gets, also one that comes later; its
            ``teardown`` ends the worker's work after what is in hand.
        name: of the kit, and of the topic of what workers tell.
        notice: told what the user should know.
        together: items that a worker has at a time, from 1 to `LANES`.

    Attributes:
        deaths: how often an item came back because its workers were lost.
    """

    def __init__(
        self,
        cluster: Connected,
        kit: Any,
        name: str,
        notice: Callable[[Notice], None],
        *,
        together: int = LANES,
    ) -> None:
        self._cluster, self._kit, self._name, self._notice = cluster, kit, name, notice
        self._together = together
        self._heard: SimpleQueue[Any] = SimpleQueue()
        self._seen, self._said = time.monotonic(), -AGAIN_SECONDS
        self._is_ready, self._numbered = False, 0
        self.deaths = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()

    def run(
        self,
        function: Callable[[str, Item], Result],
        supply: Callable[[int], Item | None],
        take: Callable[[Item, Result], None],
        *,
        heard: Callable[[Any], None] = lambda told: None,
        progressed: Callable[[Item], bool] = lambda item: False,
    ) -> None:
        """Have all items done.

        Args:
            function: done on a worker, with the kit's name there and an item.
            supply: the next item, given how many can be worked on at a time; None where none is
                left.
            take: is given each item's result.
            heard: is given what workers tell.
            progressed: whether some of an item was done since it was given last.

        Raises:
            WorkersLostError: an item is the end of every worker.
            InputError: no worker will ever come.
            StopAskedError: a scheduler asked for the end, and items are left.
            Exception: what the function raised.
        """
        flying: dict[Any, _Given[Item]] = {}
        lost: deque[_Given[Item]] = deque()
        with patience() as stop:
            while True:
                stop.check()
                if stop.asked:
                    self.dismiss()
                    left = bool(lost)
                else:
                    left = self._hand_out(function, supply, flying, lost)
                if not flying and not left:
                    if stop.asked and supply(1) is not None:
                        stop.end()
                    return
                if not flying:
                    stop.end()
                    time.sleep(POLL_SECONDS)
                for future in self._ended(list(flying)):
                    self._settle(future, flying.pop(future), take, progressed, lost)
                while not self._heard.empty():
                    heard(self._heard.get())

    def ask(self, function: Callable[[str, Any], Any]) -> Any:
        """The result of something that any one worker does."""
        todo, found = deque(["any"]), deque[Any]()
        self.run(
            function,
            lambda lanes: todo.popleft() if todo else None,  # type: ignore[arg-type,return-value]
            lambda item, result: found.append(result),
        )
        return found[0]

    def dismiss(self) -> None:
        """Let workers end what is in hand, and forget what they were given."""
        if self._is_ready and self._cluster.client.status == "running":
            self._is_ready = False
            with suppress(OSError, RuntimeError, ValueError):
                self._cluster.client.unregister_worker_plugin(self._name)

    def _hand_out(
        self,
        function: Callable[[str, Item], Result],
        supply: Callable[[int], Item | None],
        flying: dict[Any, _Given[Item]],
        lost: deque[_Given[Item]],
    ) -> bool:
        """Keep every lane busy; of no worker one item waits for the first that comes.

        Returns:
            Whether items are left that nobody has.
        """
        client = self._cluster.client
        workers = workers_of(client)
        self._look_for(workers)
        if not self._is_connected():
            return True
        lanes, resources = _lanes(workers, self._together)
        while len(flying) < lanes:
            given = lost.popleft() if lost else None
            if given is None:
                item = supply(lanes)
                if item is None:
                    break
                given = _Given(item)
            self._numbered += 1
            key = f"{self._name}-{self._numbered}"
            flying[
                client.submit(
                    function, self._name, given.item, key=key, pure=False, resources=resources
                )
            ] = given
        return bool(lost)

    def _is_connected(self) -> bool:
        """Whether a scheduler is there, with what all workers need; a new one knows nothing."""
        if self._cluster.client.status == "closed" and not self._cluster.connect_again():
            return False
        client = self._cluster.client
        if not self._is_ready and client.status == "running":
            client.register_plugin(self._kit, name=self._name)
            client.subscribe_topic(self._name, lambda event: self._heard.put(event[1]))
            self._is_ready = True
        return self._is_ready

    def _ended(self, flying: list[Any]) -> list[Any]:
        """Those that ended, waiting a moment for the first."""
        from distributed import wait

        if not flying:
            return []
        with suppress(CancelledError, TimeoutError):
            wait(flying, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
        return [future for future in flying if future.status != "pending"]

    def _settle(
        self,
        future: Any,
        given: _Given[Item],
        take: Callable[[Item, Result], None],
        progressed: Callable[[Item], bool],
        lost: deque[_Given[Item]],
    ) -> None:
        """Take an item's result, or have it given again."""
        from distributed import KilledWorker

        if future.status == "finished":
            result = future.result()
            future.release()
            take(given.item, result)
            return
        error = future.exception() if future.status == "error" else None
        if isinstance(error, DismissedError) and not self._is_ready:
            lost.append(given)
            return
        if error is not None and not isinstance(error, KilledWorker):
            raise error
        self.deaths += 1
        if error is None:  # the scheduler is gone, and whichever comes next knows nothing
            self._is_ready = False
        else:
            given.times = 1 if progressed(given.item) else given.times + 1
        if given.times > MOST_GIVEN:
            raise WorkersLostError(
                f"workers died over the same work, however often it was given ({error})",
                "see what they said",
                "give them more memory",
            )
        lost.append(given)

    def _look_for(self, workers: Mapping[str, Any]) -> None:
        """Say where no worker is there for long, instead of waiting in silence.

        Raises:
            InputError: none will come.
        """
        now = time.monotonic()
        if workers:
            self._seen, self._said = now, -AGAIN_SECONDS
        elif now - self._seen > REFUSED_SECONDS and (refusal := self._cluster.refusal()):
            raise InputError(f"{self._cluster.name}: its jobs are refused ({refusal})")
        elif now - self._seen > LONELY_SECONDS and now - self._said > AGAIN_SECONDS:
            self._said = now
            told = f"{self._cluster.name} has had no worker for {duration(now - self._seen)}"
            self._notice(Notice(told, self._cluster.starts))


def _lanes(
    workers: Mapping[str, Mapping[str, Any]], together: int
) -> tuple[int, dict[str, float] | None]:
    """How many items workers take together, and what each needs of a worker.

    Of a GPU an item may need a part, so that the next one is read while the models have the first.
    """
    for name, part in (("GPU", 1 / together), (RESOURCE, LANES / together)):
        each = [float(one.get("resources", {}).get(name, 0)) for one in workers.values()]
        if any(each):
            return int(sum(each) / part), {name: part}
    return max(1, sum(min(together, one["nthreads"]) for one in workers.values())), None
