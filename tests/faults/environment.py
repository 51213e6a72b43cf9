"""Every command under a machine that refuses: limits on files, a full output, few open files."""

from __future__ import annotations

import random
import shutil

from tests.faults.forks import call, command
from tests.faults.table import Tally
from tests.faults.world import RUN, World


def check_environment(world: World, tries: int, seed: int) -> Tally:
    """What a machine refuses is one sentence, whatever command meets it."""
    tally = Tally("a machine that refuses")
    place = world.folder / "refused"
    pictures, store, run = world.pictures, world.store, world.run
    commands: list[tuple[object, ...]] = [
        world.extraction(place / "store"),
        world.manifest_build(place / "m"),
        ("train-head", "--store", store, "--out", place / "run", *RUN),
        ("sweep", "--store", store, "--out", place / "sweep", *RUN[:-1], "cpu"),
        ("evaluate", place / "copy", "--store", store, "--device", "cpu"),
        ("predict", run, pictures / "fake", "--out", place / "p.csv", "--device", "cpu"),
        ("report", run, "--out", place / "page.html"),
        ("score", run / "val_predictions.csv"),
        ("store", "export", store, "--subset", "toy", "--out", place / "toy.h5"),
        ("store", "info", store),
        ("store", "verify", store),
        ("manifest", "check", world.manifest, "--root", pictures),
        ("draw", place / "drawn", "--count", "8"),
    ]
    for number in range(tries):
        chance = random.Random(f"{seed}/{number}")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        arguments = commands[number % len(commands)]
        if arguments[0] == "evaluate":
            shutil.copytree(run, place / "copy")
        limits, out = {}, "/dev/null"
        kind = number // len(commands) % 3
        if kind == 0:
            limits["FSIZE"] = chance.choice((0, 100, 3000, 30_000, 200_000))
        elif kind == 1:
            out = "/dev/full"
        else:
            limits["NOFILE"] = chance.choice((12, 16, 20, 30))
        end = call(command(*arguments, folder=place, out=out), 120, **limits)
        what = f"{' '.join(map(str, arguments[:2]))} with {limits or out}"
        tally.tried += 1
        if end.how == "failed":
            tally.fail(f"{what} (number {number}, seed {seed})", end.said)
        elif end.how == "refused":
            tally.caught += 1
        else:
            tally.recovered += 1
    shutil.rmtree(place, ignore_errors=True)
    return tally
