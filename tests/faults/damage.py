"""Damage to every file of a store and of a run: nothing wrong is served, nothing crashes."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from clare.heads.runs.record import VAL_METRICS
from tests.faults.forks import End, call, command, end
from tests.faults.table import Tally
from tests.faults.world import World, served

Damage = Callable[[Path, random.Random, list[Path]], None]


def flip(path: Path, chance: random.Random, files: list[Path]) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path: Path, chance: random.Random, files: list[Path]) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(max(len(data), 1))])


def zero(path: Path, chance: random.Random, files: list[Path]) -> None:
    data = bytearray(path.read_bytes())
    start = chance.randrange(max(len(data), 1))
    data[start : start + 64] = bytes(len(data[start : start + 64]))
    path.write_bytes(data)


def grow(path: Path, chance: random.Random, files: list[Path]) -> None:
    path.write_bytes(path.read_bytes() + chance.randbytes(17))


def swap(path: Path, chance: random.Random, files: list[Path]) -> None:
    other = chance.choice([one for one in files if one != path])
    path.write_bytes(other.read_bytes())


def delete(path: Path, chance: random.Random, files: list[Path]) -> None:
    path.unlink()


def dead_link(path: Path, chance: random.Random, files: list[Path]) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def device(path: Path, chance: random.Random, files: list[Path]) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder(path: Path, chance: random.Random, files: list[Path]) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path, chance: random.Random, files: list[Path]) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: tuple[Damage, ...] = (
    *(flip, cut, zero, grow, swap, delete, dead_link, device, folder, pipe),
)


def files_of(place: Path) -> list[Path]:
    found = (path for path in place.rglob("*") if path.is_file())
    return sorted(path for path in found if "locks" not in path.relative_to(place).parts)


def damaged(source: Path, target: Path, number: int, seed: int) -> str:
    """Copy a place and damage one file of the copy; files and damages take turns.

    Returns:
        What was done.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
    chance = random.Random(f"{seed}/{number}")
    files = files_of(target)
    path = files[number % len(files)]
    damage = DAMAGES[(number // len(files) + number) % len(DAMAGES)]
    damage(path, chance, files)
    return f"{damage.__name__} {path.relative_to(target)} (number {number}, seed {seed})"


def check_store(world: World, tries: int, seed: int) -> Tally:
    """Damage a store: each value that it still serves is right, `verify` names what is wrong and
    `--repair` mends it."""
    from clare.store.maintenance.repair import repair_store
    from clare.store.maintenance.verify import verify_store

    tally = Tally("damaged files of a store")
    store = world.store  # made here: what a fork makes, only that fork knows of
    whole = call(lambda: served(store)).value
    copy = world.folder / "damaged-store"

    def verify() -> list[str]:
        return [f"{one.where}: {one.what}" for one in verify_store(copy)]

    def repair() -> None:
        repair_store(copy, verify_store(copy))

    for number in range(tries):
        what = damaged(store, copy, number, seed)
        tally.tried += 1
        ended = call(lambda: [vars(end(one)) for one in (lambda: served(copy), verify)])
        if ended.how == "failed":
            tally.fail(f"reading or verify after {what}", ended.said)
            continue
        read, checked = (End(**one) for one in ended.value)
        given = read.value or {}
        wrong = [name for name, value in given.items() if whole.get(name) != value]
        if read.how == "failed" or wrong:
            tally.fail(f"reading after {what}", read.said or f"wrong: {wrong[:3]}")
            continue
        lost = read.how == "refused" or given != whole
        if checked.how == "failed" or (lost and checked.how == "done" and not checked.value):
            tally.fail(f"verify after {what}", checked.said or "it finds nothing")
            continue
        if not lost and not checked.value and checked.how == "done":
            tally.recovered += 1
            continue
        tally.caught += 1
        if checked.how == "refused":
            continue
        ended = call(lambda: [vars(end(one)) for one in (repair, verify)])
        if ended.how == "failed":
            tally.fail(f"repair after {what}", ended.said)
            continue
        repaired, again = (End(**one) for one in ended.value)
        if repaired.how == "failed" or again.how != "done" or again.value:
            tally.fail(f"repair after {what}", repaired.said or again.said or str(again.value))
    shutil.rmtree(copy, ignore_errors=True)
    return tally


def check_run(world: World, tries: int, seed: int) -> Tally:
    """Damage a run: what reads it says what is wrong, or gives the same verdicts as before."""
    from clare.heads.report.write import report
    from clare.heads.runs.run import open_run

    tally = Tally("damaged files of a run")
    copy = world.folder / "damaged-run"

    def opened() -> list[object]:
        import torch

        run = open_run(copy, world.store)
        values = torch.cat([v.flatten().double() for v in run.detector.state_dict().values()])
        return [values.sum().item(), values.abs().sum().item(), run.threshold, str(run.record)]

    def page() -> None:
        report([copy], world.folder / "page.html", store=world.store)

    shutil.copytree(world.run, copy)
    before = call(opened)
    assert before.how == "done", before.said
    for number in range(tries):
        what = damaged(world.run, copy, number, seed)
        tally.tried += 1
        ends = [call(opened), call(page)]
        if number % 5 == 0 and not (copy / VAL_METRICS).is_dir():
            (copy / VAL_METRICS).unlink(missing_ok=True)  # as if it had not come to its end
            resume = ("train-head", "--resume", copy, "--device", "cpu")
            ends.append(call(command(*resume, folder=world.folder)))
        bad = [end.said for end in ends if end.how == "failed"]
        if bad:
            tally.fail(f"after {what}", bad[0])
        # Its JSON files are plain text, which may be written otherwise: a place of the store, say.
        elif ends[0].how == "done" and ends[0].value != before.value and ".json" not in what:
            tally.fail(f"after {what}", "another detector, threshold or record was opened")
        elif any(end.how == "refused" for end in ends):
            tally.caught += 1
        else:
            tally.recovered += 1
    shutil.rmtree(copy, ignore_errors=True)
    return tally
