"""Faults of every kind against the whole: `make faults`. Exit code 1 if one was not caught.

python -m tests.faults --seed 3 --share 0.1 --only kill,damaged
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.faults.forks import warm, warm_models
from tests.faults.table import Tally, print_table

WITHOUT_MODELS = ("store", "images", "manifests", "lists")
"""Kinds that are tried first, while a fork costs little."""

TRIES = {
    "extraction": 60,
    "manifest build": 40,
    "training": 50,
    "sweep": 30,
    "export": 30,
    "store": 800,
    "run": 250,
    "images": 300,
    "manifests": 60,
    "lists": 60,
    "configurations": 180,
    "environment": 120,
}


def check(seed: int, share: float, only: set[str], folder: Path) -> list[Tally]:
    """Try all kinds, or those that are named, and a share of the faults of each."""
    from tests.faults.damage import check_run, check_store
    from tests.faults.environment import check_environment
    from tests.faults.inputs import (
        check_configurations,
        check_images,
        check_lists,
        check_manifests,
    )
    from tests.faults.kills import check_kills, works
    from tests.faults.world import World

    world = World(folder)
    kinds: dict[str, Callable[[World, int, int], Tally]] = {
        work.name: partial(check_kills, work) for work in works(world)
    }
    kinds |= {
        "store": check_store,
        "run": check_run,
        "images": check_images,
        "manifests": check_manifests,
        "lists": check_lists,
        "configurations": check_configurations,
        "environment": check_environment,
    }
    wanted = [name for name in TRIES if not only or name in only]
    order = sorted(wanted, key=lambda name: name not in WITHOUT_MODELS)
    tallies = {}
    for name in order:
        if name not in WITHOUT_MODELS:
            warm_models()
        began = time.monotonic()
        tallies[name] = kinds[name](world, max(1, round(TRIES[name] * share)), seed)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return [tallies[name] for name in wanted]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the tries of each kind")
    parser.add_argument("--only", default="", help=f"comma-separated: {', '.join(TRIES)}")
    given = parser.parse_args()
    warm()
    only = set(filter(None, given.only.split(",")))
    if unknown := sorted(only - TRIES.keys()):
        parser.error(f"there is no kind {', '.join(unknown)}")
    # In memory, where that can be had: what is killed here is a process, and no machine.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        tallies = check(given.seed, given.share, only, Path(folder).resolve())
    print_table(tallies)
    print(f"seed {given.seed}, share {given.share:g}")
    sys.exit(any(one.failed for one in tallies))


if __name__ == "__main__":
    main()
