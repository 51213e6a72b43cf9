"""The commands that filled a store: one sealed line each, oldest first."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from clare.files import remove_partials, write_durably
from clare.store.layout import STORE_CLAIM, Layout
from clare.store.records import checking, read_file, seal, unseal
from clare.typed_json import convert


@dataclass(frozen=True)
class StoreCommand:
    """A command that brought features into a store.

    Args:
        command: its words, as they were typed.
        subsets: that it worked on.
        extractors: keys of the extractors that it ran.
    """

    command: tuple[str, ...]
    subsets: tuple[str, ...]
    extractors: tuple[str, ...]


def read_commands(layout: Layout) -> list[StoreCommand]:
    """The commands that filled a store; see `FeatureStore.commands`."""
    path = layout.commands
    if not path.exists() and not path.is_symlink():
        return []
    lines = read_file(path).splitlines(keepends=True)
    with checking(path):
        return [convert(unseal(line), StoreCommand) for line in lines]


def add_command(layout: Layout, command: StoreCommand) -> None:
    """Note a command, durably, unless it is noted already."""
    with layout.claims.exclusive(STORE_CLAIM) as fence:
        layout.renew_file(layout.commands)
        known = read_commands(layout)
        if command not in known:
            remove_partials(layout.root, layout.commands.name)
            lines = (seal(asdict(one)) for one in [*known, command])
            write_durably(layout.commands, *lines, fence=fence)


def join_commands(first: bytes, second: bytes) -> bytes:
    """A log of the commands of two, each once, those of the first before.

    Raises:
        ValueError: one is damaged.
    """
    lines = dict.fromkeys(line for log in (first, second) for line in log.splitlines(keepends=True))
    for line in lines:
        unseal(line)
    return b"".join(lines)
