"""The few operations that leases are made of, whatever keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

Tag = int | str
"""What tells one state of an entry from the next."""

_REQUESTS = 16
"""At a time."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Register(Protocol):
    """Small entries by name, each changed by whoever knows its latest state.

    A name is a path with slashes. Of several that create an entry, or replace the same state of
    one, exactly one succeeds; what it wrote is read by everybody from then on.
    """

    def names(self, folder: str) -> set[str]:
        """The last parts of the names of the entries in a folder; none where there is no such."""
        ...

    def states(self, folder: str) -> Mapping[str, Tag]:
        """The same names, each with what tells one state of the entry from the next.

        It comes with the list, and is none that `replace` takes.
        """
        ...

    def read(self, name: str) -> tuple[bytes, Tag] | None:
        """An entry and its state; None where there is none."""
        ...

    def read_several(self, names: Sequence[str]) -> list[tuple[bytes, Tag] | None]:
        """`read` of each, several requests at a time."""
        return each_of(self.read, names)

    def create(self, name: str, data: bytes) -> Tag | None:
        """Make an entry; None where there is one."""
        ...

    def replace(self, name: str, data: bytes, tag: Tag) -> Tag | None:
        """Change an entry that is still in this state; None where it is not."""
        ...

    def write_several(self, data: bytes, tags: Mapping[str, Tag | None]) -> dict[str, Tag]:
        """`replace` each entry of which a state is known, and `create` the others, with one text.

        Returns:
            The new states of those that were written.
        """

        def write(name: str) -> Tag | None:
            tag = tags[name]
            return self.create(name, data) if tag is None else self.replace(name, data, tag)

        written = zip(tags, each_of(write, list(tags)), strict=True)
        return {name: tag for name, tag in written if tag is not None}

    def remove(self, name: str, tag: Tag) -> None:
        """Take an entry away if it is still in this state."""
        ...


class ListedRegister(Register, Protocol):
    """A register that can be looked through, as nobody needs to who only claims."""

    def all_names(self, folder: str) -> list[str]:
        """The names of the entries in a folder and in those in it, sorted."""
        ...


@dataclass(frozen=True)
class Clock:
    """This process's own time, of which nobody else knows.

    Args:
        now: seconds from some moment, never put back.
        sleep: lets so many seconds pass.
    """

    now: Callable[[], float]
    sleep: Callable[[float], None]


def each_of(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """The results of requests that have nothing to do with each other, several at a time."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(work, items))
