"""How files are written that a claim is about, by a process that may be overtaken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from clare.files import PARTIAL, Fence
from clare.store.claims.folder_register import link
from clare.store.claims.owner import Owner


class Claiming(Protocol):
    """What a fence has to know of a process's claims."""

    @property
    def owner(self) -> Owner:
        """The process, under the token of its present claims."""
        ...

    @property
    def by_leases(self) -> bool:
        """Whether a claim may be lost to others."""
        ...

    def require(self, name: str, number: int) -> None:
        """See that a claim is still this process's own."""
        ...


class ClaimFence(Fence):
    """Files of a claim that is a lock are renamed, as ever; see `Fence`.

    With leases each process has a partial file of its own name. It looks at its lease directly
    before a file gets its name, and once more behind that: who was held up in between has put his
    file in the place of another's, and knows it.

    Args:
        claims: of this process.
        name: of the claim.
        number: of the claim.
    """

    def __init__(self, claims: Claiming, name: str, number: int) -> None:
        self._claims = claims
        self._of = name, number

    def partial(self, path: Path) -> Path:
        """A file of the process's own where another may be writing too."""
        if not self._claims.by_leases:
            return super().partial(path)
        return path.with_name(f"{path.name}.{self._claims.owner.token}{PARTIAL}")

    def require(self) -> None:
        """See that the claim was not taken over."""
        self._claims.require(*self._of)

    def publish(self, temporary: Path, path: Path) -> None:
        """Give a whole file its name, before which and behind which the claim is looked at."""
        self.require()
        if not self._claims.by_leases:
            super().publish(temporary, path)
            return
        try:
            if os.path.lexists(path):
                temporary.replace(path)
            elif link(temporary, path):
                temporary.unlink()
            else:
                self.require()
                temporary.replace(path)  # what was there is of one who is gone
        except FileNotFoundError as error:
            self.require()
            raise error
        self.require()
