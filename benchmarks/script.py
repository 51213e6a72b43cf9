"""A benchmark from its command line to its tables.

A script names its sizes, yields its races one after another, and calls `main`:

    @dataclass(frozen=True)
    class Sizes:
        rows: int = 2048                                 # becomes --rows

    def parts(sizes: Sizes, folder: Path) -> Parts:
        ...                                              # set-up, outside of any clock
        yield Race("load", {"ours": ours, "plain": plain}, [Ratio("ours", "plain", aim=2)])

    SCRIPT = Script("loading", __doc__, parts, Sizes(), toy=Sizes(64), full=Sizes(100_000))

    if __name__ == "__main__":
        main(SCRIPT)

Each round is printed as it comes, with the time left. Ctrl-C ends it with the tables of what is
known so far. The figures of whole races are appended to `benchmarks/results.jsonl`, and what
changed since the last run on this machine is said.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results import FILE, changes, here, make_lines, read_lines, write_lines
from benchmarks.rounds import Clock, Facts, Figure, Outcome, Progress, Race
from clare.wording import counted, duration

SECONDS = {
    "store": 70,
    "extraction": 65,
    "fusion": 45,
    "prompts": 55,
    "decoders": 60,
    "faces": 25,
    "training": 80,
    "tuning": 45,
    "inference": 50,
    "discovery": 15,
    "pairs": 24,
}
"""What `make bench` runs, each with the seconds it may take on two idle cores, imports apart."""

FULL = 10
"""Times as long as this `--full` may take."""

ROUNDS = 7

Parts = Generator[Race | Facts, None, None]


@dataclass(frozen=True)
class Script:
    """One benchmark.

    Args:
        name: of its file.
        about: its docstring, the help.
        parts: makes its races in turn, from sizes and a scratch folder.
        usual: sizes of `make bench`, a dataclass whose fields become options.
        toy: sizes of a test: seconds.
        full: sizes of `--full`.
        rounds: at most so many.
        seconds: that its rounds may take, of a script that `make bench` leaves out.
    """

    name: str
    about: str | None
    parts: Callable[[Any, Path], Parts]
    usual: Any
    toy: Any
    full: Any
    rounds: int = ROUNDS
    seconds: float = 60


def main(script: Script, words: Sequence[str] | None = None) -> None:
    """Run a script as its command line says; exits with 130 when interrupted."""
    options = _parser(script).parse_args(words)
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    try:
        run(script, options)
    except KeyboardInterrupt:
        sys.exit(130)


def run(script: Script, options: argparse.Namespace, clock: Clock = time.perf_counter) -> None:
    """All races of a script, then the tables: whatever ends it, what is known so far."""
    given = {f.name: getattr(options, f.name) for f in fields(script.usual)}
    chosen = script.full if options.full else script.toy if options.toy else script.usual
    sizes = type(chosen)(**{k: getattr(chosen, k) if v is None else v for k, v in given.items()})
    budget = options.budget
    if budget is None:
        budget = SECONDS.get(script.name, script.seconds) * (FULL if options.full else 1)
    told = Console(stderr=True, highlight=False)
    folder, began = options.folder, clock()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    seen: list[Outcome | Facts] = []
    race: Race | None = None
    ended: BaseException | None = None
    try:
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix="clare-bench-") as scratch,
            closing(script.parts(sizes, Path(scratch))) as parts,
        ):
            for part in parts:
                if isinstance(part, Race):
                    race = part
                    gone = clock() - began
                    _race(script.name, race, options.rounds, (budget, gone), told, clock)
                    race = None
                else:
                    _tell_facts(script.name, part, told)
                seen.append(part if isinstance(part, Facts) else part.outcome())
    except (KeyboardInterrupt, Exception) as error:
        ended = error
        what = "interrupted" if isinstance(error, KeyboardInterrupt) else "it failed"
        told.print(f"{what}: this is what is known so far")
    place, settings = here(), {**asdict(sizes), "threads": options.threads}
    before = read_lines(options.results)
    lines = [one for part in seen for one in make_lines(script.name, part, settings, place)]
    write_lines(lines, options.results)  # of whole races
    if race is not None:
        seen.append(race.outcome())
    if options.json:
        every = [one for part in seen for one in make_lines(script.name, part, settings, place)]
        print(json.dumps([asdict(line) for line in every], indent=2))
    else:
        console = Console(highlight=False)
        shown = ", ".join(f"{name} {value}" for name, value in settings.items() if value)
        console.print(f"{script.name}: {place['machine']}; {shown}; {duration(clock() - began)}")
        for found in seen:
            show(found, console)
        for sentence in changes(before, lines):
            console.print(f"changed: {sentence}")
    if ended is not None:
        raise ended


def _race(
    name: str,
    race: Race,
    rounds: int,
    time_and_gone: tuple[float, float],
    told: Console,
    clock: Clock,
) -> None:
    """One race, a line for each round, at most one a second."""
    (budget, gone), began, last = time_and_gone, clock(), [-1.0]

    def tell(progress: Progress) -> None:
        now = clock() - began
        if progress.left and last[0] >= 0 and now - last[0] < 1:
            return
        last[0] = now
        spent = progress.seconds
        aimed = [one for one in race.ratios if one.aim] or race.ratios[:1]
        ratios = [f"{one} {spent[one.against] / spent[one.way]:.3g}x" for one in aimed]
        times = [f"{way} {_seconds(own)}" for way, own in spent.items()]
        left = max(progress.left, budget - gone - now)
        told.print(
            f"{name}, {race.title}, round {progress.number} of {progress.wanted}: "
            f"{'; '.join(ratios or times)} (at most {duration(left)} left)",
            soft_wrap=True,
        )

    told.print(f"{name}, {race.title} …")
    race.run(rounds, race.share * budget, tell, clock, max(budget - gone, 0))


def _tell_facts(name: str, facts: Facts, told: Console) -> None:
    for row, values in facts.rows.items():
        shown = ", ".join(f"{column} {value:.3g}" for column, value in values.items())
        told.print(f"{name}, {facts.title}: {row}: {shown}", soft_wrap=True)


def show(part: Outcome | Facts, console: Console) -> None:
    """A race's, or facts', tables."""
    if isinstance(part, Facts):
        columns = list(next(iter(part.rows.values()), {}))
        table = _table(part.title, "", *columns)
        for name, values in part.rows.items():
            table.add_row(name, *(f"{values[c]:.3g}" if c in values else "" for c in columns))
        console.print(table)
        return
    if not part.times:
        return
    title = f"{part.title}, {counted(part.times[0].rounds, 'round')}"
    table = _table(title, "way", "median", "lowest", "highest")
    for figure in part.times:
        table.add_row(figure.name, *(_value(figure.unit, one) for one in _spread(figure)))
    console.print(table)
    if part.ratios:
        table = _table("", "how many times as fast", "median", "lowest", "highest", "aim")
        for figure in part.ratios:
            aim = "" if figure.aim is None else f">= {figure.aim:.3g}x"
            table.add_row(figure.name, *(f"{one:.3g}x" for one in _spread(figure)), aim)
        console.print(table)
    for name, value in part.facts.items():
        console.print(f"{name}: {value:.3g}")


def _spread(figure: Figure) -> tuple[float, float, float]:
    return figure.median, figure.low, figure.high


def _value(unit: str, value: float) -> str:
    if unit == "s":
        return _seconds(value)
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def _seconds(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def waiter(device: str) -> Callable[[], object]:
    """What waits until a device is idle; of a CPU, nothing."""
    import torch

    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title or None, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _parser(script: Script) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{script.name}",
        description=script.about,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--full", action="store_true", help="the long form")
    how.add_argument("--toy", action="store_true", help="seconds: whether it runs, not how fast")
    for one in fields(script.usual):
        usual, full = getattr(script.usual, one.name), getattr(script.full, one.name)
        parser.add_argument(
            f"--{one.name.replace('_', '-')}",
            type=type(usual),
            help=f"default {usual}" + (f", --full {full}" if full != usual else ""),
        )
    parser.add_argument("--rounds", type=int, default=script.rounds, help="at most; %(default)s")
    parser.add_argument("--budget", type=float, help="seconds that the rounds may take in all")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 leaves it")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument("--results", type=Path, default=FILE, help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser
