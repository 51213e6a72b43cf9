"""Deliveries: what happens to an image between its making and a detector, in named sets.

A set is a YAML file with ``title``, ``source``, ``notes`` and ``deliveries``, which gives each its
chain of steps as a text::

    deliveries:
      jpeg_75: jpeg 75
      platform: resize 0.5-1, jpeg 70-90, jpeg 70-90

A step is a kind and a number, or a range that a number is drawn from:

- ``jpeg QUALITY``: encoded, 4:2:0, and decoded;
- ``blur SIGMA``, in pixels; ``blur SIGMA kernel SIZE`` takes a kernel of so many pixels;
- ``scipy_blur SIGMA``: as CNNDetection and UnivFD blur, see `ScipyBlur`;
- ``resize FACTOR``, ``short_side PIXELS``: scaled; after them the name of a filter of Pillow
  (bicubic unless said), and ``back`` to return to the size before;
- ``noise SIGMA``: normal noise, of values from 0 to 1;
- ``crop SHARE``: the middle part, of so much of either side.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import Crop, Scale, Size, Step
from clare.augmentation.photometry import Jpeg, KernelBlur, Noise, ScipyBlur
from clare.augmentation.recipe import View
from clare.errors import InputError
from clare.foreign import read_value
from clare.names import is_plain
from clare.settings import build_settings

CLEAN = "clean"
"""The image itself, in tables of deliveries; no delivery is called so."""

FILTERS = {one.name.lower(): one for one in Image.Resampling}

_NUMBER = r"(\d{1,5}(?:\.\d{0,6})?|\.\d{1,6})"
_STEP = re.compile(rf"([a-z_]+) {_NUMBER}(?:-{_NUMBER})?((?: \S+)*)")
_MOST_PIXELS = 1 << 26
"""Of an image that a step makes larger."""
_MOST_STEPS = 32


@dataclass(frozen=True)
class PlannedStep:
    """A step of a delivery before its number is drawn.

    Args:
        kind: one of those above.
        low: the number, or the least.
        high: the most; the same where there is nothing to draw.
        resample: the filter of a step that scales.
        back: whether such a step returns to the size before.
        kernel: side of a blur's kernel in pixels; None takes four sigmas on either side.
    """

    kind: str
    low: float
    high: float
    resample: str = "bicubic"
    back: bool = False
    kernel: int | None = None

    def draw(self, dice: Dice, size: Size) -> list[Step]:
        """What is done to an image of this size, with everything drawn.

        Raises:
            ValueError: the image would become too large.
        """
        kind = _KINDS[self.kind]
        number = self.low
        if self.low != self.high:
            number = (
                dice.whole(int(self.low), int(self.high))
                if kind.whole
                else dice.uniform(self.low, self.high)
            )
        return kind.make(self, dice, number, size)

    @property
    def draws(self) -> bool:
        """Whether anything of it is drawn."""
        return self.low != self.high or _KINDS[self.kind].random

    def __str__(self) -> str:
        """The step as a set says it, always in the same way."""
        upper = f"-{self.high:.15g}" if self.high != self.low else ""
        more = [self.resample, *(["back"] if self.back else [])] if self._scales else []
        more += [] if self.kernel is None else [f"kernel {self.kernel}"]
        return " ".join([self.kind, f"{self.low:.15g}{upper}", *more])

    @property
    def _scales(self) -> bool:
        return _KINDS[self.kind].scales


@dataclass(frozen=True)
class Delivery:
    """One way of an image to a detector: a chain of steps.

    Args:
        name: a plain word. It seeds what is drawn.
        steps: in their order; at least one.

    Raises:
        InputError: the name is not plain, or stands for the image itself.
    """

    name: str
    steps: tuple[PlannedStep, ...]

    def __post_init__(self) -> None:
        if not is_delivery(self.name):
            raise InputError(
                f"{str(self.name)[:80]!r} can't name a delivery: use letters, digits, '.', '_' and "
                f"'-', a letter or digit first, and not {CLEAN!r}"
            )

    @classmethod
    def of(cls, name: str, text: str) -> Delivery:
        """A delivery from the text of its steps.

        Raises:
            InputError: a step is not known, its number is out of bounds, or there are many.
        """
        parts = text.split(",")
        if len(parts) > _MOST_STEPS:
            raise InputError(f"delivery {name} has {len(parts)} steps, more than {_MOST_STEPS}")
        return cls(name, tuple(_parse(name, part.strip()) for part in parts))

    @property
    def text(self) -> str:
        """Its steps as `of` reads them: equal texts give equal pixels under one name."""
        return ", ".join(map(str, self.steps))

    @property
    def draws(self) -> bool:
        """Whether anything is drawn, so that another seed gives other pixels."""
        return any(step.draws for step in self.steps)

    def view(self, content: str, size: Size, seed: int = 0) -> View:
        """What it does to one image; the same for the same image, whatever stands beside it.

        Args:
            content: hash of the image's bytes, or what stands for images that are damaged alike.
            size: width and height of the image, in pixels.
            seed: of all that is drawn.

        Raises:
            ValueError: the image would become too large.
        """
        key = f"clare delivery\n{seed}\n{content}\n{self.name}"
        return View(tuple(self.draw(Dice(hashlib.sha256(key.encode()).digest()), size)))

    def draw(self, dice: Dice, size: Size) -> list[Step]:
        """Its steps for an image of this size, in their order, with everything drawn.

        Raises:
            ValueError: the image would become too large.
        """
        drawn: list[Step] = []
        for planned in self.steps:
            made = planned.draw(dice, size)
            for step in made:
                _, size = step.follow(size)
            drawn += made
        return drawn


def is_delivery(name: object) -> bool:
    """Whether a delivery may be called so: a plain word, and not the one for the image itself."""
    return is_plain(name) and name != CLEAN


@dataclass(frozen=True)
class DeliverySet:
    """Deliveries of one file.

    Args:
        name: of the file.
        title: what it is, in a line.
        source: whose it is.
        notes: what is not as its authors have it.
        deliveries: in the file's order.
    """

    name: str
    title: str
    source: str
    notes: tuple[str, ...]
    deliveries: tuple[Delivery, ...]

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self.deliveries)

    def __len__(self) -> int:
        return len(self.deliveries)

    def __getitem__(self, name: str) -> Delivery:
        """The delivery of a name.

        Raises:
            InputError: there is none.
        """
        for one in self.deliveries:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.deliveries)
        raise InputError(f"deliveries {self.name} have no {name!r}; they have {known}")

    @property
    def text(self) -> str:
        """All of them as one text: equal texts give equal pixels."""
        return "\n".join(f"{one.name}: {one.text}" for one in self.deliveries)


def list_sets() -> list[str]:
    """Names of the sets that come with CLaRE."""
    found = files("clare.data_manifests").joinpath("deliveries").iterdir()
    return sorted(one.name.removesuffix(".yaml") for one in found if one.name.endswith(".yaml"))


def read_set(name: str | Path) -> DeliverySet:
    """Read a set of deliveries and check it.

    Args:
        name: of one that comes with CLaRE, or the path of a YAML file.

    Raises:
        InputError: there is none of this name, or it is not of the form above.
    """
    own = str(name).endswith((".yaml", ".yml"))
    ours = files("clare.data_manifests").joinpath("deliveries", f"{name}.yaml")
    path = Path(name) if own else Path(str(ours))
    if not (own or str(name) in list_sets()):
        raise InputError(
            f"no deliveries {str(name)!r}: give the path of a YAML file, or one of "
            f"{', '.join(list_sets())}"
        )
    found = read_value(path, "deliveries")
    where = f"deliveries {name}"
    if not isinstance(found, dict) or not isinstance(chains := found.get("deliveries"), dict):
        raise InputError(f"{where} are not a mapping with deliveries, each a name and its steps")
    if not chains:
        raise InputError(f"{where} have none")
    head = build_settings(where, _Head, {k: v for k, v in found.items() if k != "deliveries"})
    for one, text in chains.items():
        if not (isinstance(one, str) and isinstance(text, str)):
            raise InputError(f"{where}: {str(one)[:80]!r} is not a name with a text of steps")
    return DeliverySet(
        name=path.stem,
        title=head.title,
        source=head.source,
        notes=head.notes,
        deliveries=tuple(Delivery.of(one, text) for one, text in chains.items()),
    )


@dataclass(frozen=True)
class _Head:
    title: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Kind:
    """What a kind of step may be.

    Args:
        number: what its number is called.
        least: that it may be.
        most: likewise.
        make: the steps for a drawn number and a size.
        whole: whether it is a whole number.
        scales: whether a filter, and ``back``, may follow.
        kernel: whether ``kernel SIZE`` may.
        random: whether it draws more than its number.
    """

    number: str
    least: float
    most: float
    make: Callable[[PlannedStep, Dice, float, Size], list[Step]]
    whole: bool = False
    scales: bool = False
    kernel: bool = False
    random: bool = False

    def fault(self, low: float, high: float) -> str:
        """What keeps numbers from being its own; empty where nothing does."""
        if self.whole and not (low.is_integer() and high.is_integer()):
            return "takes whole numbers"
        if not self.least <= low <= high <= self.most:
            return f"takes {self.number} from {self.least:g} to {self.most:g}, the lower first"
        return ""


def _jpeg(planned: PlannedStep, dice: Dice, number: float, size: Size) -> list[Step]:
    return [Jpeg(int(number))]


def _blur(planned: PlannedStep, dice: Dice, number: float, size: Size) -> list[Step]:
    side = planned.kernel or 2 * ceil(4 * number) + 1
    return [KernelBlur(side, side, number)]


def _scipy_blur(planned: PlannedStep, dice: Dice, number: float, size: Size) -> list[Step]:
    return [ScipyBlur(number)]


def _noise(planned: PlannedStep, dice: Dice, number: float, size: Size) -> list[Step]:
    return [Noise.draw(dice, number * 255)]


def _resize(planned: PlannedStep, dice: Dice, number: float, size: Size) -> list[Step]:
    width, height = (max(1, round(side * number)) for side in size)
    return _scaled(planned, size, (width, height))


def _short_side(planned: PlannedStep, dice: Dice, number: float, size: Size) -> list[Step]:
    width, height = (max(1, int(number * side / min(size))) for side in size)
    return _scaled(planned, size, (width, height))


def _scaled(planned: PlannedStep, size: Size, new: Size) -> list[Step]:
    if new[0] * new[1] > max(_MOST_PIXELS, size[0] * size[1]):
        raise ValueError(f"{planned} would make {new[0]}x{new[1]} pixels of it")
    resample = FILTERS[planned.resample]
    return [Scale(new, resample), *([Scale(size, resample)] if planned.back else [])]


def _crop(planned: PlannedStep, dice: Dice, number: float, size: Size) -> list[Step]:
    width, height = (max(1, round(side * number)) for side in size)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return [Crop((left, top, left + width, top + height))]


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "jpeg": _Kind("a quality", 1, 100, _jpeg, whole=True),
        "blur": _Kind("a sigma in pixels", 0.01, 100, _blur, kernel=True),
        "scipy_blur": _Kind("a sigma in pixels", 0.01, 100, _scipy_blur),
        "resize": _Kind("a factor", 0.001, 8, _resize, scales=True),
        "short_side": _Kind("pixels", 1, 8192, _short_side, whole=True, scales=True),
        "noise": _Kind("a sigma", 0.0001, 1, _noise, random=True),
        "crop": _Kind("a share", 0.01, 1, _crop),
    }
)


def _parse(name: str, text: str) -> PlannedStep:
    where = f"delivery {name}"
    found = _STEP.fullmatch(text)
    kind = None if found is None else _KINDS.get(found[1])
    if found is None or kind is None:
        known = ", ".join(f"{one} {made.number.split()[-1]}" for one, made in _KINDS.items())
        raise InputError(
            f"{where}: {text[:80]!r} is no step, which is a kind and a number: {known}"
        )
    low = float(found[2])
    high = low if found[3] is None else float(found[3])
    if fault := kind.fault(low, high):
        raise InputError(f"{where}: {text[:80]!r}: {found[1]} {fault}")
    more: dict[str, Any] = {}
    words = iter(found[4].split())
    for word in words:
        if kind.scales and word in FILTERS and "resample" not in more:
            more["resample"] = word
        elif kind.scales and word == "back" and "back" not in more:
            more["back"] = True
        elif kind.kernel and word == "kernel" and "kernel" not in more:
            more["kernel"] = _kernel(next(words, ""), where)
        else:
            may = f"a filter ({', '.join(sorted(FILTERS))}) and back" if kind.scales else ""
            may = "kernel SIZE" if kind.kernel else may
            raise InputError(
                f"{where}: {word[:80]!r} can't follow {found[1]}: {may or 'nothing'} can"
            )
    return PlannedStep(found[1], low, high, **more)


def _kernel(text: str, where: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text) or int(text) % 2 == 0:
        raise InputError(f"{where}: a kernel of {text or 'nothing'} is not an odd number of pixels")
    return int(text)
