"""The few operations that leases are made of, whatever keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

Tag = int | str
"""What tells one state of an entry from the next."""


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

    def create(self, name: str, data: bytes) -> Tag | None:
        """Make an entry; None where there is one."""
        ...

    def replace(self, name: str, data: bytes, tag: Tag) -> Tag | None:
        """Change an entry that is still in this state; None where it is not."""
        ...

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
