"""Work that is killed at random moments and begun again ends as work that nobody disturbed."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.forks import begin, call, command, kill
from tests.faults.table import Tally
from tests.faults.world import RUN, World

Contents = dict[str, bytes]
KILLS_A_ROUND = 5


@dataclass(frozen=True)
class Work:
    """Work that can be killed.

    Args:
        name: in the table.
        arguments: of the command line that does it in a folder.
        result: what must be the same in the end.
    """

    name: str
    arguments: Callable[[Path], Sequence[object]]
    result: Callable[[Path], Contents]


def all_files(folder: Path) -> Contents:
    """Every file but locks, and the curves, whose bytes matplotlib does not promise."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and "locks" not in path.parts
        and path.suffix not in (".lock", ".png", ".log")
    }


def predictions(folder: Path) -> Contents:
    """The detectors of all runs and their scores; what is left half-written shows too."""
    kept = ("best.safetensors", "val_predictions.csv")
    return {
        name: data for name, data in all_files(folder).items() if name.endswith((*kept, ".partial"))
    }


def works(world: World) -> list[Work]:
    sweep = ("--fusion", "cls", "--classifier", "linear,coop", "--epochs", "2", "--device", "cpu")
    return [
        Work("extraction", lambda at: world.extraction(at / "store"), all_files),
        Work("manifest build", lambda at: world.manifest_build(at / "m"), all_files),
        Work(
            "training",
            lambda at: ("train-head", "--store", world.store, "--out", at / "run", *RUN),
            predictions,
        ),
        Work(
            "sweep",
            lambda at: ("sweep", "--store", world.store, "--out", at / "sweep", *sweep),
            predictions,
        ),
        Work(
            "export",
            lambda at: (
                *("store", "export", world.store),
                *("--subset", "toy", "--out", at / "toy.h5"),
            ),
            lambda at: dict.fromkeys(all_files(at), b""),
        ),
    ]


def check_kills(work: Work, world: World, tries: int, seed: int) -> Tally:
    """Kill work over and over, and compare what comes of it with undisturbed work."""
    tally = Tally(f"kill -9 of {work.name}")
    place, chance = world.folder / "work", random.Random(seed)  # one: commands are noted as given
    place.mkdir()
    do = command(*work.arguments(place), folder=world.folder)
    began = time.monotonic()
    end = call(do, 300)
    seconds = time.monotonic() - began
    assert end.how == "done" and end.value == 0, end
    wanted = work.result(place)
    while tally.tried < tries:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        kills = min(KILLS_A_ROUND, tries - tally.tried)
        moments = [chance.uniform(0, seconds) for _ in range(kills)]
        for moment in moments:
            child = begin(do)
            time.sleep(moment)
            kill(child)
        tally.tried += kills
        what = f"after {', '.join(f'{moment:.3f}' for moment in moments)} s (seed {seed})"
        end = call(do, 300)
        # A run that a kill reached in its last moment is finished, and says so.
        if end.how == "failed" or (end.how == "refused" and "finished" not in end.said):
            tally.fail(what, end.said)
            continue
        found = work.result(place)
        if found != wanted:
            differing = [n for n in {*found, *wanted} if found.get(n) != wanted.get(n)]
            tally.fail(what, f"not as undisturbed: {sorted(differing)[:4]}")
        else:
            tally.recovered += kills
    shutil.rmtree(place, ignore_errors=True)
    return tally
