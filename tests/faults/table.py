"""What was tried, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tally:
    """Of one kind of fault.

    Args:
        kind: its name.
        tried: faults.
        caught: told in a sentence, or found by a check.
        recovered: mended, or of no effect: what was asked for came out as without the fault.
        failed: what went wrong, with what repeats it.
    """

    kind: str
    tried: int = 0
    caught: int = 0
    recovered: int = 0
    failed: list[str] = field(default_factory=list)

    def fail(self, what: str, said: str) -> None:
        """Note a failure; of a traceback its last lines."""
        last = " | ".join(said.strip().splitlines()[-3:])
        self.failed.append(f"{self.kind}: {what}: {last[:400]}")


def print_table(tallies: list[Tally]) -> None:
    print(f"{'kind':32}{'tried':>8}{'caught':>8}{'recovered':>11}{'failed':>8}")
    for one in tallies:
        print(f"{one.kind:32}{one.tried:>8}{one.caught:>8}{one.recovered:>11}{len(one.failed):>8}")
    for one in tallies:
        for line in one.failed:
            print(line)
