"""All benchmarks that one sits through, one after another.

    python -m benchmarks [NAME …] [--full]

Ten minutes on two idle cores; `--full` takes larger sizes and more time. Each script runs in a
process of its own. At the end: every ratio beside its aim, and what changed since the last run on
this machine. Ctrl-C ends with what is known so far.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from benchmarks.results import FILE, Line, changes, read_lines
from benchmarks.script import FULL, SECONDS
from clare.wording import duration, listed


def main() -> int:
    """Run them; 1 where one failed, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=listed(SECONDS))
    parser.add_argument("--full", action="store_true", help="the long form")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - SECONDS.keys()):
        parser.error(f"there is no {listed(unknown)}; there are {listed(SECONDS)}")
    console, began = Console(highlight=False), time.perf_counter()
    before, failed, interrupted = read_lines(FILE), [], False
    names = [name for name in SECONDS if not options.names or name in options.names]
    for number, name in enumerate(names):
        left = sum(SECONDS[one] for one in names[number:]) * (FULL if options.full else 1)
        console.rule(f"{name}, {number + 1} of {len(names)}: at most {duration(left)} left")
        words = [sys.executable, "-m", f"benchmarks.{name}", *["--full"] * options.full]
        child = subprocess.Popen(words)
        try:
            code = child.wait()
        except KeyboardInterrupt:  # the terminal told the child too, which prints what it knows
            code = child.wait()
            interrupted = True
        interrupted |= code == 130
        if interrupted:
            break
        if code:
            failed.append(name)
    lines = read_lines(FILE)[len(before) :]
    _show(lines, before, console)
    console.print(f"{duration(time.perf_counter() - began)}; figures are kept in {FILE}")
    if failed:
        console.print(f"failed: {listed(failed)}")
    return 130 if interrupted else int(bool(failed))


def _show(lines: list[Line], before: list[Line], console: Console) -> None:
    table = Table("script", "race", "how many times as fast", title="ratios", title_justify="left")
    for column in ("median", "spread", "aim", ""):
        table.add_column(column, justify="right")
    for line in lines:
        one = line.figure
        if one.unit == "x":
            aim, met = "", ""
            if one.aim is not None:
                aim, met = f">= {one.aim:.3g}x", "met" if one.median >= one.aim else "missed"
            spread = f"{one.low:.3g} to {one.high:.3g}"
            table.add_row(line.script, line.race, one.name, f"{one.median:.3g}x", spread, aim, met)
    if table.row_count:
        console.print(table)
    if not {line.key for line in before} & {line.key for line in lines}:
        console.print("no earlier run on this machine to compare with")
        return
    found = changes(before, lines)
    console.print("since the last run on this machine:" if found else "no figure changed")
    for sentence in found:
        console.print(f"- {sentence}")


if __name__ == "__main__":
    sys.exit(main())
