"""What a probe reads: fields of a store, each as one vector an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clare.advice import Name, Notice, Run
from clare.errors import InputError
from clare.heads.layers.pooling import POOLINGS, Pooling
from clare.heads.runs.record import extractor_record
from clare.models.known import named
from clare.store.feature_store import FeatureStore
from clare.store.spec import Fingerprint, differences, field_of, split_field
from clare.wording import listed

AND = "+"
"""Between the parts of an input."""

_DIGESTS = frozenset({"weights", "config"})
"""Differences of fingerprints that tell a person nothing where models have names."""


@dataclass(frozen=True, order=True)
class Source:
    """A field of one fingerprint.

    Args:
        field: its name.
        extractor: that wrote it.
        digest: of the extractor's fingerprint.
    """

    field: str
    extractor: str
    digest: str


@dataclass(frozen=True, order=True)
class Part:
    """One vector an image.

    Args:
        name: as it is typed: ``clip_cls``, ``clip_tokens_5:mean``, ``lare:grid@200``.
        source: the field.
        pooling: its name; empty of a field that is a vector.
        step: which of LaRE's steps, counted from 0.
    """

    name: str
    source: Source
    pooling: str = ""
    step: int = 0

    @property
    def kind(self) -> str:
        """What its field is, see `POOLINGS`; empty of a vector."""
        return ("lare" if self.source.field == "lare" else "tokens") if self.pooling else ""

    @property
    def is_weighed(self) -> bool:
        """Whether LaRE decides how much each of its tokens counts."""
        return self.how is not None and self.how.weighed

    @property
    def is_ranked(self) -> bool:
        """Whether its tokens are ranked along a direction, which labels gave."""
        return self.how is not None and self.how.ranked

    @property
    def how(self) -> Pooling | None:
        """How values become its vectors; None where they are."""
        return POOLINGS[self.kind][self.pooling] if self.pooling else None


@dataclass(frozen=True, order=True)
class ProbeInput:
    """What one probe reads.

    Args:
        parts: side by side.
        shuffled: number of a shuffle, from 1: the last part is that of other rows, the control of
            what it adds. 0 where it is the row's own.
    """

    parts: tuple[Part, ...]
    shuffled: int = 0

    @property
    def name(self) -> str:
        """Its parts' names."""
        names = [part.name for part in self.parts]
        return AND.join(names) + (f", shuffle {self.shuffled}" if self.shuffled else "")

    @property
    def is_mixed(self) -> bool:
        """Whether it holds something of two fields."""
        return len(self.parts) > 1 or self.parts[0].is_weighed

    def beside(self, other: ProbeInput, *, shuffled: int = 0) -> ProbeInput:
        """This one with another beside it."""
        new = [part for part in other.parts if part not in self.parts]
        return replace(self, parts=(*self.parts, *new), shuffled=shuffled)


class Offer:
    """The inputs that a store offers.

    Args:
        store: the store.
        sources: the fields of the fingerprints that are read, in the order in which they are said.
        notices: what is left out.

    Attributes:
        inputs: every field by itself, in every pooling that fits it.
        lare: the field that weighs tokens; None where there is none.
    """

    def __init__(
        self, store: FeatureStore, sources: Sequence[Source], notices: Sequence[Notice] = ()
    ) -> None:
        self.notices = tuple(notices)
        self._store = store
        self.sources = tuple(sources)
        self._several = {
            one.field for one in sources if sum(one.field == other.field for other in sources) > 1
        }
        own = [one for one in sources if one.field == "lare"]
        self.lare = own[0] if len(own) == 1 else None
        self.inputs = tuple(ProbeInput((part,)) for one in sources for part in self._parts(one))

    def find(self, text: str) -> tuple[ProbeInput, ...]:
        """The inputs of a name: ``clip_tokens_5`` is meant in each of its poolings.

        Args:
            text: FIELD, FIELD:POOLING or FIELD:POOLING@STEP; several with ``+`` between them.

        Raises:
            InputError: there is none of that name.
        """
        found: list[ProbeInput] = []
        names = [name.strip() for name in text.split(AND)]
        if not all(names) or len(set(names)) < len(names):
            raise InputError(f"{text!r} is no sum of different inputs", Name("fields", "inputs"))
        for number, one in enumerate(names):
            fitting = [own for own in self.inputs if _fits(own.name, one)]
            if not fitting:
                raise InputError(
                    f"there is no input {one!r} for a probe: there are "
                    f"{listed([own.name for own in self.inputs])}",
                    Run("store.info", (self._store.path,), effect="tells what fields there are"),
                )
            if number:
                # A field stands for its poolings, of which one may be there already.
                new = [(a, b) for a in found for b in fitting if not {*b.parts} <= {*a.parts}]
                found = [a.beside(b) for a, b in new]
            else:
                found = fitting
        if not found:
            raise InputError(f"{text!r} is no sum of different inputs", Name("fields", "inputs"))
        return tuple(found)

    def meaning(self) -> dict[str, str]:
        """What sets fingerprints of one field apart, by the name of each: their models first.

        Digests of weights and configurations are told where the models' names are the same.
        """
        found: dict[str, str] = {}
        for field in self._several:
            own = [one for one in self.sources if one.field == field]
            records = [extractor_record(self._store, f"{o.extractor}-{o.digest}") for o in own]
            apart = differences([one.fingerprint for one in records])
            models = [named(one.origin) for one in records]
            silent = _DIGESTS if len({*models}) == len(models) else frozenset()
            for one, model in zip(own, models, strict=True):
                told = [f"{k} {v}" for k, v in apart[one.digest].items() if k not in silent]
                found[self._name(one)] = ", ".join([*([model] if silent else []), *told])
        return found

    def _name(self, source: Source) -> str:
        several = source.field in self._several
        return field_of(source.field, source.digest) if several else source.field

    def _parts(self, source: Source) -> list[Part]:
        fingerprint, fields = self._store.extractor(f"{source.extractor}-{source.digest}")
        shape = fields[source.field].shape
        name, axes = self._name(source), len(shape)
        if axes == 1:
            return [Part(name, source)]
        poolings = POOLINGS["lare" if source.field == "lare" else "tokens"]
        fitting = [
            pooling
            for pooling, how in poolings.items()
            if how.axes == axes
            and not (how.weighed and (self.lare is None or not is_square(shape[0])))
        ]
        steps = _steps(fingerprint, shape[0]) if source.field == "lare" else ("",)
        return [
            Part(f"{name}:{pooling}{said}", source, pooling, number)
            for number, said in enumerate(steps)
            for pooling in fitting
        ]


def is_square(positions: int) -> bool:
    """Whether tokens form a square, over which LaRE can be laid."""
    return math.isqrt(positions) ** 2 == positions


def _fits(name: str, asked: str) -> bool:
    """Whether an input has a name, or is one of those that it stands for."""
    own, _, pooling = name.partition(":")
    (field, digest), wanted = split_field(asked.partition(":")[0]), asked.partition(":")[2]
    of, its = split_field(own)
    if of != field or not its.startswith(digest):
        return False
    return not wanted or pooling == wanted or pooling.startswith(f"{wanted}@")


def _steps(fingerprint: Fingerprint, count: int) -> tuple[str, ...]:
    """What each of LaRE's steps adds to a name; nothing where there is only one."""
    if count == 1:
        return ("",)
    steps = fingerprint.settings.get("timesteps")
    named = steps if isinstance(steps, list) and len(steps) == count else range(count)
    return tuple(f"@{step}" for step in named)
