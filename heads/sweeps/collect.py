"""What a sweep has come to so far: its tables, written anew from what the folder holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from clare.bootstrap import Figures
from clare.heads.config import TrainConfig
from clare.heads.runs.record import is_finished
from clare.heads.sweeps.figures import figure_lines, write_figures
from clare.heads.sweeps.others import runs_beside
from clare.heads.sweeps.sharing import Sharing
from clare.heads.sweeps.table import Axes, Result, read_results, result_line, write_tables

Evaluate = Callable[[Path], Figures]
"""The figures of a finished run on test rows; none where it could not be tested."""


def lines_of(out: Path) -> dict[str, dict[str, str]]:
    """The lines of ``results.csv`` by run, as they stand there."""
    return {line["run"]: line for line in read_results(out)}


@dataclass(frozen=True)
class Tables:
    """The tables of a sweep.

    Args:
        out: its folder.
        configs: of the runs that are asked for, by name.
        axes: of the sweep.
        before: lines of ``results.csv`` by run, as they stood when the sweep began.
        finished: folders of runs that were finished then.
        sharing: through which the runs are shared with other processes, if they are.
    """

    out: Path
    configs: Mapping[str, TrainConfig]
    axes: Axes
    before: Mapping[str, Mapping[str, str]]
    finished: Mapping[Path, TrainConfig]
    sharing: Sharing | None

    def write(
        self, failures: Mapping[Path, str | None], test: Evaluate | None = None
    ) -> list[Result]:
        """Write them, with what other processes have done meanwhile.

        Args:
            failures: why runs failed, by folder.
            test: measures finished runs; figures of earlier tests stay if left out.
        """
        with nullcontext() if self.sharing is None else self.sharing.tables():
            now = lines_of(self.out)
            runs = runs_beside(self.out, self.configs, self.axes, now) | dict(self.configs)
            found = (self._line(name, one, now, failures, test) for name, one in runs.items())
            lines = [line for line in found if line]
            write_figures(self.out, figure_lines(self.out, lines, self.axes))
            return write_tables(self.out, lines, self.axes)

    def _line(
        self,
        name: str,
        config: TrainConfig,
        now: Mapping[str, Mapping[str, str]],
        failures: Mapping[Path, str | None],
        test: Evaluate | None,
    ) -> Result:
        """The line of a run; empty where nothing is known of it yet."""
        folder, before = self.out / name, now.get(name, {})
        sharing = self.sharing
        with_others = sharing is not None and folder in sharing.others
        # Of runs that this process did not train the table tells why they failed.
        told = with_others or name not in self.configs
        failure = (before.get("failure") or None) if told else failures.get(folder)
        if sharing is not None and folder in sharing.claimed:  # another may train it anew
            failure = failure if sharing.has_failed_anew(folder) else None
        if not is_finished(folder) and not failure:
            return {}
        if test is not None and not failure and not with_others:
            return result_line(folder, config, self.axes, failure, test(folder))
        line = result_line(folder, config, self.axes, failure, {})
        # What was tested before stays so, unless the run was trained anew since.
        stays = folder in self.finished or before != self.before.get(name)
        return line | (_test_cells(before) if stays else {})


def _test_cells(line: Mapping[str, str]) -> Result:
    return {
        name: int(cell) if cell.isdigit() else float(cell)
        for name, cell in line.items()
        if name.startswith("test_") and cell
    }
