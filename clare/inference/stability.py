"""Whether a verdict survives delivery: how that is looked at, and what is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from clare.errors import InputError
from clare.heads.metrics import COVERAGE

Labels = Literal["real", "fake", "both", "neither"]
"""A conformal set: the labels that are not ruled out."""


@dataclass(frozen=True)
class StabilitySettings:
    """How the stability of verdicts is looked at.

    Args:
        delivery_set: a set of deliveries that comes with CLaRE, or a YAML file with one.
        times: how often each image is delivered, by one delivery of the set after the other, each
            time drawn anew. None is 12, or once by each where the set has more.
        turned: a verdict is unsure where it turns in more than this share of them.
        coverage: a verdict is unsure too where the image's conformal set of labels, calibrated on
            the run's validation to hold the true one for this share of reals and of fakes, does
            not hold the verdict alone.

    Raises:
        InputError: a value is out of range.
    """

    delivery_set: str = "platform"
    times: int | None = None
    turned: float = 0.2
    coverage: float = COVERAGE

    def __post_init__(self) -> None:
        if self.times is not None and self.times < 1:
            raise InputError(f"times {self.times} is less than 1")
        if not 0 <= self.turned < 1:
            raise InputError(f"turned {self.turned:g} is no share from 0 to below 1, as 0.2")


@dataclass(frozen=True)
class Redelivered:
    """What a run says of an image that was delivered.

    Args:
        delivery: its name in the set of deliveries.
        seed: of what it drew.
        label: as that of a `Verdict`.
        p_fake: likewise.
        margin: likewise.
        failure: why it can't be used; empty where it can.
    """

    delivery: str
    seed: int
    label: Literal["real", "fake"] | None
    p_fake: float | None
    margin: float | None
    failure: str = ""


@dataclass(frozen=True)
class Stability:
    """Whether a verdict on an image survives its delivery.

    Args:
        redelivered: each delivery of the image.
        agree: share of those that could be judged whose verdict is that on the image itself; None
            where none could.
        labels: the conformal set of the image; None of a run without scores of validation.
        sure: whether the deliveries agree as often as was asked for, and the set holds the verdict
            alone.
    """

    redelivered: tuple[Redelivered, ...] = field(repr=False)
    agree: float | None
    labels: Labels | None
    sure: bool

    @property
    def judged(self) -> int:
        """How many deliveries could be judged."""
        return sum(one.margin is not None for one in self.redelivered)

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest p(fake) of the deliveries; None where none could be judged."""
        found = [one.p_fake for one in self.redelivered if one.p_fake is not None]
        return (min(found), max(found)) if found else None
