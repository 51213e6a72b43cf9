"""Malformed images, manifests, lists and configurations: each is read, or refused in a sentence."""

from __future__ import annotations

import copy
import csv
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tests.faults.damage import DAMAGES
from tests.faults.forks import End, call, command
from tests.faults.table import Tally
from tests.faults.world import RUN, World

FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF", "gif": "GIF"}
MODES = ("RGB", "RGBA", "L", "P", "CMYK", "I;16", "1", "F", "LA")

HOSTILE: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**63, 2**64, -(2**63), 10**400, 1e308, -1e308, 1e-320),
    *(float("nan"), float("inf"), "", " ", "x" * 100_000, "\0", "\x1b[2J", "../../../etc/passwd"),
    *("/dev/zero", "~", "{}", "%s%n", "=1+1", "\ud7ff", [], {}, [[]], [None], {"": None}),
)


def count(tally: Tally, what: str, end: End) -> None:
    tally.tried += 1
    if end.how == "failed":
        tally.fail(what, end.said)
    elif end.how == "refused":
        tally.caught += 1
    else:
        tally.recovered += 1


def require_done(end: End) -> None:
    """Of what nobody damaged: what is refused anyhow would show nothing."""
    if end.how != "done":
        raise RuntimeError(f"what is whole is not taken: {end.said}")


# -- Images --------------------------------------------------------------------------------------


def encoded(chance: random.Random, suffix: str) -> bytes:
    pixels = np.frombuffer(chance.randbytes(40 * 30 * 3), np.uint8).reshape(40, 30, 3)
    image = Image.fromarray(pixels)
    mode = chance.choice(MODES)
    data = io.BytesIO()
    try:
        image.convert(mode if mode != "I;16" else "I").convert(mode).save(data, FORMATS[suffix])
    except (OSError, ValueError):
        image.save(data, FORMATS[suffix])
    return data.getvalue()


def check_images(world: World, tries: int, seed: int) -> Tally:
    """Damaged images of every format, through all that an extraction does with them."""
    from clare.errors import ImageError
    from clare.pipeline.images.decode import decode_mask, decode_rgb, read_content, read_header

    tally = Tally("malformed images")
    place = world.folder / "images"
    shutil.rmtree(place, ignore_errors=True)
    for number in range(tries):
        chance = random.Random(f"{seed}/{number}")
        place.mkdir()
        suffix = list(FORMATS)[number % len(FORMATS)]
        path, other = place / f"a.{suffix}", place / "b"
        path.write_bytes(encoded(chance, suffix))
        other.write_bytes(encoded(chance, chance.choice(list(FORMATS))))
        damage = DAMAGES[number // len(FORMATS) % len(DAMAGES)]
        for _ in range(chance.choice((1, 1, 3)) if damage in DAMAGES[:5] else 1):
            damage(path, chance, [path, other])

        def look(path: Path = path) -> None:
            data = read_content(path)
            read_header(io.BytesIO(data))
            rgb = decode_rgb(data)
            assert rgb.mode == "RGB"
            try:
                decode_mask(data)
            except ImageError as error:
                assert str(error).startswith("mask ")

        count(tally, f"{damage.__name__} {suffix} (number {number}, seed {seed})", call(look, 20))
        shutil.rmtree(place)
    return tally


# -- Texts ---------------------------------------------------------------------------------------


def places_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything in a plain value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in list(items):
        yield value, key
        if isinstance(one, dict | list):
            yield from places_of(one)


def mutated(value: Any, chance: random.Random) -> Any:
    """A plain value with one to three hostile changes."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(places_of(value)) if isinstance(value, dict | list) else []
        if not places:
            return chance.choice(HOSTILE)
        container, key = chance.choice(places)
        change = chance.randrange(4)
        if change == 0:
            del container[key]
        elif change == 1 and isinstance(container, dict):
            container[chance.choice(("", "x", "\0", "__class__", "a" * 5000))] = container.pop(key)
        elif change == 2:
            nested: Any = container[key]
            for _ in range(chance.choice((1, 3, 90))):
                nested = [nested]
            container[key] = nested
        else:
            container[key] = chance.choice(HOSTILE)
    return value


def mutated_text(text: str, chance: random.Random) -> bytes:
    """A text with a hostile change in its bytes."""
    data = bytearray(text.encode())
    for _ in range(chance.choice((1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        hostile = (
            b"\0",
            b"\xff",
            b'"',
            b"\n",
            b"\r",
            b"[" * 3000,
            b"9" * 5000,
            b",",
            b"&a *a",
            b"",
        )
        new = chance.choice(hostile)
        data[at : at + chance.choice((0, 1, 30))] = new
    return bytes(data)


def check_manifests(world: World, tries: int, seed: int) -> Tally:
    """Manifests with hostile cells, columns and bytes, read and checked."""
    tally = Tally("malformed manifests")
    place = world.folder / "hostile"
    place.mkdir(exist_ok=True)
    text = world.manifest.read_text("utf-8")
    lines = list(csv.reader(text.splitlines()))
    path = place / "toy.csv"
    look = command(
        *("manifest", "check", "toy", "--manifests", place, "--root", world.pictures),
        folder=place,
    )
    path.write_text(text, "utf-8")
    require_done(call(look))
    for number in range(tries):
        chance = random.Random(f"{seed}/{number}")
        if number % 2:
            path.write_bytes(mutated_text(text, chance))
        else:
            with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
                changed = mutated(lines, chance)
                rows = changed if isinstance(changed, list) else [[changed]]
                csv.writer(file).writerows(r if isinstance(r, list) else [r] for r in rows)
        count(tally, f"manifest (number {number}, seed {seed})", call(look))
    return tally


def check_lists(world: World, tries: int, seed: int) -> Tally:
    """Official lists of other forms."""
    from clare.pipeline.datasets.registry import load_registry
    from clare.pipeline.official_lists.json_list import read_list

    frames = [f"FaceForensics++/c23/frames/{n:03d}/{k:03d}.png" for n in range(2) for k in range(2)]
    video = {"label": "FF-real", "frames": frames}
    whole = {"FaceForensics++": {"FF-real": {"train": {"c23": {"000": video}}, "val": {}}}}
    tally = Tally("malformed official lists")
    path = world.folder / "list.json"
    path.write_text(json.dumps(whole), "utf-8")
    require_done(call(lambda: read_list(path, load_registry()) and None))
    for number in range(tries):
        chance = random.Random(f"{seed}/{number}")
        if number % 2:
            path.write_bytes(mutated_text(json.dumps(whole), chance))
        else:
            path.write_text(json.dumps(mutated(whole, chance)), "utf-8")
        end = call(lambda: read_list(path, load_registry()) and None)
        count(tally, f"list (number {number}, seed {seed})", end)
    return tally


def check_configurations(world: World, tries: int, seed: int) -> Tally:
    """Configurations, protocols, registries, `clare.toml`, score files and run records."""
    tally = Tally("hostile configurations")
    place = world.folder / "hostile"
    place.mkdir(exist_ok=True)
    kinds = list(configurations(world, place).items())
    for number in range(tries):
        chance = random.Random(f"{seed}/{number}")
        name, (text, look) = kinds[number % len(kinds)]
        path = _alone(world, place, name)
        if number < len(kinds):
            path.write_text(text, "utf-8")
            require_done(call(look(path)))
            path = _alone(world, place, name)
        parse, dump = _forms(path)
        if number // len(kinds) % 3 == 0 or parse is None:
            path.write_bytes(mutated_text(text, chance))
        else:
            changed = dump(mutated(parse(text), chance))
            path.write_text(changed, "utf-8", errors="surrogatepass")
        count(tally, f"{name} (number {number}, seed {seed})", call(look(path)))
    return tally


def _alone(world: World, place: Path, name: str) -> Path:
    """Where a file belongs in a folder that holds nothing else, but what it needs beside it."""
    for old in place.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    if name != "config.json":
        return place / name
    shutil.copytree(world.run, place / "run")
    return place / "run" / name


def _forms(path: Path) -> tuple[Any, Any]:
    if path.suffix == ".json":
        return json.loads, json.dumps
    if path.suffix == ".yaml":
        return yaml.safe_load, lambda value: yaml.safe_dump(value, allow_unicode=True)
    return None, None


def configurations(
    world: World, place: Path
) -> dict[str, tuple[str, Callable[[Path], Callable[[], Any]]]]:
    """By file name a good text, and the command that reads such a file."""
    from clare.data_manifests import __file__ as data
    from clare.heads.config import PRESETS

    registry = (Path(data).parent / "subsets.yaml").read_text("utf-8")
    protocol = (
        "title: t\ntrain: {fakes: {a: [toy]}, reals: [real]}\ntest: {sets: [{fakes: [toy]}]}\n"
    )
    preset = (PRESETS / "clare.yaml").read_text("utf-8")
    scores = (world.run / "val_predictions.csv").read_text("utf-8")

    def run(*arguments: object) -> Callable[[], Any]:
        return command(*arguments, folder=place)

    train = ("train-head", "--store", world.store, "--out", place / "out", *RUN)
    return {
        "preset.yaml": (preset, lambda path: run(*train, "--config", path)),
        "protocol.yaml": (
            protocol,
            lambda path: run("manifest", "protocols", path),
        ),
        "subsets.yaml": (
            registry,
            lambda path: run("manifest", "status", "--manifests", place),
        ),
        "clare.toml": (
            f'store = "{world.store}"\n[roots]\na = "/x"\n',
            lambda path: run("store", "info"),
        ),
        "scores.csv": (scores, lambda path: run("score", path)),
        "config.json": (
            (world.run / "config.json").read_text("utf-8"),
            lambda path: run("evaluate", path.parent, "--store", world.store, "--device", "cpu"),
        ),
    }
