"""The commands that made what a page shows, as they were recorded."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from clare.advice import Notice
from clare.errors import CorruptStoreError
from clare.heads.report.blocks import Block, Code, Text
from clare.heads.report.run_results import Finding
from clare.heads.report.stores import Part
from clare.wording import listed


def commands(findings: Sequence[Finding], parts: Sequence[Part], own: Sequence[str]) -> list[Block]:
    """The commands in the order of their work: extraction, training, evaluation, the page.

    Args:
        findings: the runs.
        parts: the stores that they read.
        own: the command that makes the page; empty where it was none.
    """
    said: list[tuple[str, ...]] = []
    damage: list[CorruptStoreError] = []
    for source, _ in parts:
        try:
            said += [one.command for one in source.store.commands()]
        except CorruptStoreError as error:
            damage.append(error)
    said += [one.record.command for one in findings]
    tests = [one.test for one in findings if one.test is not None]
    said += [command for test in tests for command in (*test.commands_before, test.command)]
    said += [one.as_df40.command for one in findings if one.as_df40 is not None]
    lines = [shlex.join(words) for words in dict.fromkeys([*said, tuple(own)]) if words]
    blocks: list[Block] = [Text(Notice(error.what, *error.advice), "note") for error in damage]
    if lines:
        blocks += [Text("What is on this page was made by these commands."), Code(lines)]
    if silent := [one.name for one in findings if not one.record.command]:
        are = "were" if len(silent) > 1 else "was"
        blocks.append(
            Text(
                f"{listed(silent)} {are} made from Python, or before commands were recorded; the "
                "settings are below.",
                "note",
            )
        )
    return blocks
