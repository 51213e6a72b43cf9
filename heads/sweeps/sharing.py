"""A sweep that several processes share: tasks of an array, or hosts on one disk.

Each takes some runs at a time that nobody has, by claims in the sweep's folder. Who finds that all
the rest is with others who live ends, and gives his place back; the tables are written by each in
turn, so that whoever ends last writes them whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clare.advice import Notice
from clare.bootstrap import Figures
from clare.errors import LostClaimError
from clare.files import write_durably
from clare.foreign import read_bytes
from clare.heads.config import Machine, TrainConfig
from clare.heads.runs.lock import RunsHeldError
from clare.heads.runs.record import Epoch, Validation, is_finished
from clare.heads.sweeps.stacks import Runs, Supply
from clare.heads.sweeps.table import failures_of
from clare.heads.training.trainer import Observer, Plan, train_runs
from clare.slurm import array_task
from clare.store.claims.claims import claims_of
from clare.store.feature_store import FeatureStore
from clare.wording import counted

CLAIMS = ".clare-claims"
"""The folder of claims in that of a sweep."""

TABLES = ".clare-tables"
"""The folder of claims of its tables and tests: who has one of these trains nothing."""

FAILED = ".clare-failed"
"""The file of a run's folder that tells one failure of it from the next, whatever their words."""

FIRST_LOOK_SECONDS = 0.5
"""How soon is looked again whether others ended what they claim by locks."""

_SURE_BEATS = 2
"""Beats for which others are seen to stay before one ends: until then what they show is old."""

_TABLES = "tables"


class Sharing:
    """One process's part of a sweep; `clare.heads.sweeps.sweep.run_sweep` trains through it.

    Args:
        out: the sweep's folder.
        processes: how many share the sweep: each takes so large a part of its runs at a time.
        evaluate: tests a run as soon as it is trained.
        notice: told what the user should know.
    """

    def __init__(
        self,
        out: Path,
        processes: int,
        evaluate: Callable[[Path], Figures] | None = None,
        notice: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        self._out, self._claims = out, claims_of(out.resolve() / CLAIMS)
        self._writing = claims_of(out.resolve() / TABLES)
        self._processes, self._evaluate, self._notice = processes, evaluate, notice
        self._mine: set[Path] = set()
        self._has_left = False
        self._failed_before: dict[Path, bytes] = {}
        self.others: set[Path] = set()
        """Folders of runs that are other processes' to train, test and write down."""
        self.claimed: set[Path] = set()
        """Those of them that were claimed when the tables were last begun."""
        self.note: Callable[[dict[Path, str | None]], object] = lambda failures: None
        """Writes the tables, with why runs failed that this process has trained so far."""

    @contextmanager
    def tables(self) -> Iterator[None]:
        """One process at a time reads what all have done, and writes the tables."""
        with self._writing.exclusive(_TABLES):
            # Who has left is not to be met again: others would wait for him.
            free = set() if self._has_left else self._claim(self.others)
            self._release(free)
            self.claimed = self.others - free
            for folder in free:
                # What a process had that has written its tables, or died, is anybody's.
                if is_finished(folder) and self._writing.take(_claim_of(folder)):
                    self._writing.release(_claim_of(folder))
                    self.others.discard(folder)
            yield

    def test(self, folders: Collection[Path], evaluate: Callable[[Path], object]) -> None:
        """Test finished runs before the tables are written, each by who claims it first."""
        for folder in folders:
            if folder not in self.others and self._writing.take(_claim_of(folder)):
                try:
                    evaluate(folder)
                finally:
                    self._writing.release(_claim_of(folder))
            else:
                self.others.add(folder)

    def close(self) -> None:
        """Let the runs go that this process has trained; its tables are written."""
        self._give_back(list(self._mine))

    def __call__(
        self,
        configs: Sequence[TrainConfig],
        store: FeatureStore,
        folders: Sequence[Path],
        machine: Machine | None = None,
        observer: Observer | None = None,
        command: Sequence[str] = (),
    ) -> list[str | None]:
        """As `train_runs`, of the runs that others leave; `others` has the rest.

        Raises:
            InputError: as there.
            StopAskedError: a scheduler asked for the end, and runs are left.
        """
        observer, self.others = observer or Observer(), set(folders)
        failures: dict[Path, str | None] = dict.fromkeys(folders)
        self._failed_before = {folder: _failure_of(folder) for folder in folders}

        def train(runs: Runs) -> dict[Path, str | None]:
            watched = _Watched(observer, self._require)
            found = train_runs(runs.configs, store, runs.folders, machine, watched, command)
            failed = dict(zip(runs.folders, found, strict=True))
            for folder in (one for one, why in failed.items() if why is not None):
                write_durably(folder / FAILED, secrets.token_hex(8).encode())
            return failed

        left, waited, seen = self._from_its_own_place(Supply(configs, folders)), 0.0, 0.0
        while left:
            before = _count(left)
            left = [theirs for runs in left if (theirs := self._do(runs, train, failures)).folders]
            if left and _count(left) == before:
                if self._mine:  # who waits for others must not look as if it had work left
                    self.note(failures)
                    self.close()
                stay = self._claims.others_stay(1)
                if stay and seen > _SURE_BEATS * self._claims.beat_seconds:
                    break
                observer.busy("other processes have the last runs: seeing whether they live")
                waited = self._claims.next_look(waited, FIRST_LOOK_SECONDS)
                self._claims.wait(waited)
                seen = seen + waited if stay else 0.0
        if left:
            # Whoever still waits must not take this process for one that stays, and leave too.
            self._has_left = True
            self._claims.leave()
            told = f"{counted(_count(left), 'run')} of this sweep: other processes train them"
            self._notice(Notice(f"{told}, and the last to end writes the whole tables"))
        return [failures[folder] for folder in folders]

    def _from_its_own_place(self, supply: Supply) -> list[Runs]:
        """The stacks in order, from one that other tasks of an array don't begin with."""
        stacks: list[Runs] = []
        while (runs := supply(self._processes)) is not None:
            stacks.append(runs)
        first = array_task() % max(1, len(stacks))
        return stacks[first:] + stacks[:first]

    def _do(
        self,
        runs: Runs,
        train: Callable[[Runs], dict[Path, str | None]],
        failures: dict[Path, str | None],
    ) -> Runs:
        """Train and test what nobody has of some runs; the others come back."""
        mine, theirs = self._take(runs)
        while mine.folders:
            try:
                found = train(mine)
            except RunsHeldError as error:  # one who shares nothing has it; the others are free
                self._give_back([error.folder])
                mine, held = _parted(mine, {error.folder})
                theirs = _joined(theirs, held)
                continue
            except LostClaimError:  # it slept
                self._give_back(mine.folders)
                return _joined(theirs, mine)
            failures.update(found)
            self.others -= found.keys()
            for folder in mine.folders:
                if self._evaluate is not None and found[folder] is None:
                    self._evaluate(folder)
            break
        return theirs

    def _take(self, runs: Runs) -> tuple[Runs, Runs]:
        """Claim what nobody has: it, and the rest; what is done already is in neither."""
        taken = self._claim(runs.folders)
        done = {folder for folder in runs.folders if is_finished(folder)}
        told = failures_of(self._out)
        done |= {one for one in taken if one.name in told and self.has_failed_anew(one)}
        self._release(taken & done)
        self._mine |= taken - done
        theirs, mine = _parted(_parted(runs, done)[0], taken)
        return mine, theirs

    def has_failed_anew(self, folder: Path) -> bool:
        """Whether a run was trained since this process began, and failed."""
        return _failure_of(folder) != self._failed_before.get(folder, b"")

    def _claim(self, folders: Collection[Path]) -> set[Path]:
        """Claim runs; those that nobody else has."""
        return {folder for folder in folders if self._claims.take(_claim_of(folder))}

    def _release(self, folders: Collection[Path]) -> None:
        for folder in folders:
            self._claims.release(_claim_of(folder))

    def _give_back(self, folders: Collection[Path]) -> None:
        self._mine -= set(folders)
        self._release(folders)

    def _require(self, folder: Path) -> None:
        self._claims.require(_claim_of(folder), 0)


class _Watched(Observer):
    """An observer of runs that may be taken over while this process sleeps: each epoch looks."""

    def __init__(self, told: Observer, require: Callable[[Path], None]) -> None:
        self._told, self._require = told, require

    def busy(self, what: str) -> None:
        """Something that takes a while is about to begin."""
        self._told.busy(what)

    def loading(self, done: int, total: int) -> None:
        """Bytes of features are in memory."""
        self._told.loading(done, total)

    def planned(self, plan: Plan) -> None:
        """Everything is known, and nothing is read yet."""
        self._told.planned(plan)

    def waited(self, seconds: float) -> None:
        """A batch was not at hand."""
        self._told.waited(seconds)

    def trained(self, done: int, total: int) -> None:
        """Samples were learnt from."""
        self._told.trained(done, total)

    def finishing(self, run: Path) -> None:
        """A run's folder is about to be closed."""
        self._require(run)
        self._told.finishing(run)

    def finished(self, run: Path, result: Validation) -> None:
        """A run is done."""
        self._told.finished(run, result)

    def epoch(self, run: Path, record: Epoch) -> None:
        """An epoch of a run is done."""
        self._require(run)
        self._told.epoch(run, record)


def _failure_of(folder: Path) -> bytes:
    """What tells a run's latest failure from others; empty where there is none."""
    path = folder / FAILED
    return read_bytes(path) if path.is_file() else b""


def _claim_of(folder: Path) -> str:
    return f"runs/{folder.name}"


def _count(left: Sequence[Runs]) -> int:
    return sum(len(runs.folders) for runs in left)


def _parted(runs: Runs, folders: Collection[Path]) -> tuple[Runs, Runs]:
    """Runs whose folders are not among some, and those whose are."""
    both = list(zip(runs.configs, runs.folders, strict=True))
    without, among = (
        [one for one in both if (one[1] in folders) is them] for them in (False, True)
    )
    return _runs(without), _runs(among)


def _joined(first: Runs, second: Runs) -> Runs:
    return Runs(first.configs + second.configs, first.folders + second.folders)


def _runs(found: Sequence[tuple[TrainConfig, Path]]) -> Runs:
    return Runs(tuple(config for config, _ in found), tuple(folder for _, folder in found))
