"""Fits probes, chooses their strengths on validation, and scores test rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clare.advice import Notice
from clare.bootstrap import Figure, Resampling
from clare.errors import InputError
from clare.heads.linear.moments import Moments, Values
from clare.heads.linear.norms import Norm, linear_map
from clare.heads.linear.solvers import Kind, fit
from clare.heads.metrics.measure import Measured, mean_of
from clare.heads.metrics.predictions import evaluation_sets
from clare.heads.probing.inputs import ProbeInput
from clare.heads.probing.record import Probe
from clare.heads.probing.rows import ProbeRows
from clare.heads.probing.vectors import Vectors
from clare.progress import StepProgress
from clare.ranks import Ranks
from clare.shortcuts import auc_draws
from clare.wording import listed

TOGETHER = 32
"""Probes whose scores are resampled at a time."""


@dataclass(frozen=True)
class Grid:
    """What is probed.

    Args:
        inputs: what probes read.
        norms: what is done to vectors.
        kinds: of probes.
        strengths: of regularisation, rising; validation chooses.
        named: whether the normalisations were asked for by name: then one that an input can't
            have is refused, and not left out.
    """

    inputs: Sequence[ProbeInput]
    norms: Sequence[Norm]
    kinds: Sequence[Kind]
    strengths: Sequence[float]
    named: bool = False


@dataclass(frozen=True)
class Fitted:
    """A probe with its scores of the test rows (n,)."""

    probe: Probe
    scores: Values


class Prober:
    """Fits probes on some rows, chooses strengths on validation and scores test rows.

    Args:
        vectors: of all rows.
        rows: which of them train, choose and test.
        grid: what is probed.
        how: the bootstrap.
        progress: called with what is done.
    """

    def __init__(
        self,
        vectors: Vectors,
        rows: ProbeRows,
        grid: Grid,
        how: Resampling,
        progress: StepProgress | None = None,
    ) -> None:
        self._vectors, self._rows = vectors, rows
        self._grid, self._how, self._progress = grid, how, progress
        self._exchanged = rows.exchanged(how.seed)
        self.sets = evaluation_sets(rows.tested)
        self.fitted = 0
        self._left_out: dict[tuple[Norm, str], list[str]] = {}

    @property
    def notices(self) -> list[Notice]:
        """What was left out, and why."""
        return [
            Notice(f"{norm} is left out for {listed(names)}: {why}")
            for (norm, why), names in self._left_out.items()
        ]

    def probe(
        self, inputs: Sequence[ProbeInput], *, shares: Sequence[tuple[float, int]] | None = None
    ) -> list[Fitted]:
        """Every probe of some inputs; of some shares alone, where they are named.

        Raises:
            InputError: an input can't have a normalisation that was asked for by name.
        """
        wanted = [*self._rows.shares] if shares is None else shares
        found = []
        for number, one in enumerate(inputs):
            if self._progress is not None:
                self._progress(f"fitting {one.name}", number, len(inputs))
            for unit in (False, True):
                norms = [norm for norm in self._grid.norms if (norm == "l2") == unit]
                if norms:
                    found += [self._fit(one, unit, norms, share) for share in wanted]
        return [fitted for some in found for fitted in some]

    def measure(
        self, several: Sequence[Fitted], how: Resampling | None = None
    ) -> list[tuple[dict[str, Measured], Measured]]:
        """The AUC of each on each test set, and in the mean, on the same resamples.

        Args:
            several: the probes.
            how: the bootstrap; the usual one if None.
        """
        how = self._how if how is None else how
        found: list[dict[str, Measured]] = [{} for _ in several]
        for start in range(0, len(several), TOGETHER):
            if self._progress is not None and how.count:
                self._progress("resampling", start, len(several))
            some = several[start : start + TOGETHER]
            names = [str(start + number) for number in range(len(some))]
            for name, places in self.sets.items():
                rows = self._rows.tested.take(places)
                facts = {n: one.scores[places] for n, one in zip(names, some, strict=True)}
                drawn = auc_draws(facts, rows.label, rows.cluster, how, rising=names)
                for n, (auc, draws) in drawn.items():
                    kept = {"auc": draws} if len(draws) else {}
                    found[int(n)][name] = Measured(len(rows), {"auc": auc}, kept)
        return [(one, mean_of([*one.values()])) for one in found]

    def vectors_of(self, one: ProbeInput, places: NDArray[np.int64]) -> Values:
        """(n, d) of some rows, centred; parts side by side have a total variance of 1 each."""
        found = []
        for part in one.parts:
            vectors = np.concatenate([*self._pieces(ProbeInput((part,)), places, unit=False)])
            vectors -= vectors.mean(0)
            total = np.sqrt((vectors**2).sum() / len(vectors)) if len(one.parts) > 1 else 1
            found.append(vectors / (total or 1))
        return np.concatenate(found, 1)

    def _fit(
        self, one: ProbeInput, unit: bool, norms: Sequence[Norm], share: tuple[float, int]
    ) -> list[Fitted]:
        grid, rows = self._grid, self._rows
        train, fraction, seed = rows.shares[share], *share
        pieces = self._targets(one, train, unit=unit)
        moments = Moments.of(pieces)
        jobs: list[tuple[Norm, Kind, tuple[float | None, ...]]] = []
        weights, bias = [], []
        width = len(moments.mean)
        for norm in norms:
            try:
                linear = linear_map(moments, norm, self._vectors.widths(one))
            except InputError as error:
                if grid.named:
                    raise InputError(
                        f"{one.name} can't be probed with {norm}: {error.what}", *error.advice
                    ) from error
                left = self._left_out.setdefault((norm, error.what), [])
                if not one.shuffled and one.name not in left:
                    left.append(one.name)
                continue
            for kind in grid.kinds:
                found = fit(kind, moments, linear, grid.strengths, pieces)
                jobs.append((norm, kind, found.strengths or (None,)))
                weights.append(found.weights)
                bias.append(found.bias)
        if not jobs:
            return []
        every, offsets = np.concatenate(weights, 1), np.concatenate(bias)
        self.fitted += every.shape[1]
        val = self._scores(one, rows.val, every, offsets, unit=unit)
        aucs = [_auc(column, rows.y[rows.val]) for column in val.T]
        chosen, told = [], []
        start = 0
        for _, _, strengths in jobs:
            mine = aucs[start : start + len(strengths)]
            # Among equals the strongest: the simplest probe.
            best = max(range(len(mine)), key=lambda k: (mine[k], k))
            chosen.append(start + best)
            told.append((strengths[best], mine))
            start += len(strengths)
        scores = self._scores(one, rows.test, every[:, chosen], offsets[chosen], unit=unit)
        nothing = Figure(None, None, None, 0)
        return [
            Fitted(
                Probe(
                    one.name,
                    width,
                    norm,
                    kind,
                    fraction,
                    seed,
                    len(train),
                    strength,
                    {
                        f"{s:g}": auc
                        for s, auc in zip(strengths, path, strict=True)
                        if s is not None
                    },
                    aucs[place],
                    {},
                    nothing,
                ),
                column,
            )
            for (norm, kind, strengths), (strength, path), place, column in zip(
                jobs, told, chosen, scores.T, strict=True
            )
        ]

    def _pieces(
        self, one: ProbeInput, places: NDArray[np.int64], *, unit: bool
    ) -> Iterator[Values]:
        return self._vectors.pieces(one, places, unit=unit, exchanged=self._exchanged)

    def _targets(
        self, one: ProbeInput, places: NDArray[np.int64], *, unit: bool
    ) -> Callable[[], Iterator[tuple[Values, Values]]]:
        """Vectors with their targets, piece by piece, as often as it is called."""

        def pieces() -> Iterator[tuple[Values, Values]]:
            start = 0
            for values in self._pieces(one, places, unit=unit):
                yield values, self._rows.y[places[start : start + len(values)]]
                start += len(values)

        return pieces

    def _scores(
        self,
        one: ProbeInput,
        places: NDArray[np.int64],
        weights: Values,
        bias: Values,
        *,
        unit: bool,
    ) -> Values:
        """(n, K)."""
        pieces = self._pieces(one, places, unit=unit)
        return np.concatenate([values @ weights + bias for values in pieces])


def best_of(fitted: Sequence[Fitted]) -> Fitted:
    """The probe that validation likes best."""
    return max(fitted, key=lambda one: one.probe.val_auc)


def _auc(scores: Values, y: Values) -> float:
    """Share of pairs in the right order, ties half."""
    real, fake = np.sort(scores[y < 0])[::-1], np.sort(scores[y > 0])[::-1]
    ranks = Ranks.of(real, fake)
    ends = np.arange(1, len(fake) + 1) if ranks.ends is None else ranks.ends
    groups = np.diff(ends, prepend=0)
    wrong = (groups * (ranks.above + ranks.beside)).sum() / 2
    return float(1 - wrong / (len(real) * len(fake)))
