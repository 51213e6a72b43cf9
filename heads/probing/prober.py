"""Fits probes, chooses their strengths on validation, and scores test rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from clare.advice import Notice
from clare.bootstrap import Figure, Resampling
from clare.errors import InputError
from clare.heads.linear.moments import Moments, Pieces, Values
from clare.heads.linear.norms import Norm, linear_map
from clare.heads.linear.solvers import Kind, Linear, fit, fit_ratios
from clare.heads.metrics.measure import Measured, mean_of, measure_aucs
from clare.heads.metrics.predictions import evaluation_sets
from clare.heads.probing.choosing import auc, clearly_best
from clare.heads.probing.inputs import ProbeInput
from clare.heads.probing.record import Probe
from clare.heads.probing.rows import ProbeRows
from clare.heads.probing.vectors import Vectors
from clare.progress import StepProgress
from clare.wording import listed

NAMED = 4
"""Inputs whose names are told where something is left out for them."""

RATIOS = (1.0, 0.1, 10.0, 0.01, 100.0)
"""Of a sum's last part to the others, nearest to 1 first: how much less it is regularised."""


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


@dataclass(frozen=True)
class _Path:
    """The probes of all strengths."""

    norm: Norm
    kind: Kind
    ratio: float | None
    found: Linear


@dataclass(frozen=True)
class _Choice:
    """One of a path: its place there, that among all paths, and the AUCs of the path."""

    path: _Path
    place: int
    column: int
    aucs: Sequence[float]

    @property
    def auc(self) -> float:
        """On validation."""
        return self.aucs[self.place]

    def probe(self, one: ProbeInput, moments: Moments, share: tuple[float, int]) -> Probe:
        """What is told of it, before it is tested."""
        path, strengths = self.path, self.path.found.strengths
        return Probe(
            input=one.name,
            width=len(moments.cross),
            norm=path.norm,
            kind=path.kind,
            fraction=share[0],
            seed=share[1],
            rows=moments.rows,
            strength=strengths[self.place] if strengths else None,
            ratio=path.ratio,
            path={f"{s:g}": auc for s, auc in zip(strengths, self.aucs, strict=bool(strengths))},
            val_auc=self.auc,
            tests={},
            mean=Figure(None, None, None, 0),
        )


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
        self.sets = evaluation_sets(rows.tested)
        self.fitted = 0
        self._first: tuple[object, Values] | None = None
        self._left_out: dict[tuple[Norm, str], list[str]] = {}

    @property
    def notices(self) -> list[Notice]:
        """What was left out, and why."""
        return [
            Notice(f"{norm} is left out for {_named(names)}: {why}")
            for (norm, why), names in self._left_out.items()
        ]

    @cached_property
    def _exchanged(self) -> list[NDArray[np.int64]]:
        return self._rows.exchanged(self._how.seed)

    def probe(
        self,
        inputs: Sequence[ProbeInput],
        *,
        shares: Sequence[tuple[float, int]] | None = None,
        like: Probe | None = None,
    ) -> list[Fitted]:
        """Every probe of some inputs.

        Args:
            inputs: what they read.
            shares: of the training rows; all if None.
            like: fitted with this one's norm, kind, strength and ratio, and no others.

        Raises:
            InputError: an input can't have a normalisation that was asked for by name.
        """
        every = [*self._rows.shares] if shares is None else shares
        found = []
        for number, one in enumerate(inputs):
            if self._progress is not None:
                self._progress(f"fitting {one.name}", number, len(inputs))
            # Where tokens are ranked, labels of the largest share decided how.
            ranked = any(part.is_ranked for part in one.parts)
            wanted = [share for share in every if not ranked or share == self._rows.largest]
            for unit in (False, True):
                allowed = self._grid.norms if like is None else [like.norm]
                norms = [norm for norm in allowed if (norm == "l2") == unit]
                if norms:
                    moments = self._moments(one, unit, wanted)
                    found += [self._fit(one, unit, norms, moments[k], k, like) for k in wanted]
        return [fitted for some in found for fitted in some]

    def measure(
        self, several: Sequence[Values], how: Resampling | None = None
    ) -> list[tuple[dict[str, Measured], Measured]]:
        """The AUC of each on each test set, and in the mean, on the same resamples.

        Args:
            several: scores (n,) of the test rows.
            how: the bootstrap; the usual one if None.
        """
        how = self._how if how is None else how

        def told(done: int) -> None:
            if self._progress is not None and how.count:
                self._progress("resampling", done, len(several))

        found = measure_aucs(several, self._rows.tested, self.sets, how, told)
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

    def _moments(
        self, one: ProbeInput, unit: bool, shares: Sequence[tuple[float, int]]
    ) -> dict[tuple[float, int], Moments]:
        """Of each share of the training rows; what lies in a smaller one is not read again."""
        found: dict[tuple[float, int], Moments] = {}
        before: tuple[float, int] | None = None
        for share in sorted(shares, key=lambda share: share[::-1]):
            mine = self._rows.shares[share]
            inner = None if before is None else self._rows.shares[before]
            nested = inner is not None and bool(np.isin(inner, mine).all())
            rest = np.setdiff1d(mine, inner) if nested and inner is not None else mine
            parts = [found[before]] if nested and before is not None else []
            if len(rest):
                known = self._known(one, rest, unit) if len(shares) == 1 else None
                parts.append(Moments.of(self._targets(one, rest, unit=unit), known))
            found[share], before = reduce(Moments.beside, parts), share
        return found

    def _known(self, one: ProbeInput, places: NDArray[np.int64], unit: bool) -> Values | None:
        """The scatter of what stands before a shuffled last part: it is that of every shuffle."""
        if not one.shuffled:
            return None
        first = ProbeInput(one.parts[:-1])
        key = first, unit, places.tobytes()
        if self._first is None or self._first[0] != key:
            self._first = key, Moments.of(self._targets(first, places, unit=unit)).scatter
        return self._first[1]

    def _fit(
        self,
        one: ProbeInput,
        unit: bool,
        norms: Sequence[Norm],
        moments: Moments,
        share: tuple[float, int],
        like: Probe | None,
    ) -> list[Fitted]:
        """Every norm and kind of one input and share, at the strengths that validation likes."""
        rows = self._rows
        pieces = self._targets(one, rows.shares[share], unit=unit)
        paths = self._paths(one, norms, moments, pieces, like)
        if not paths:
            return []
        every = np.concatenate([path.found.weights for path in paths], 1)
        offsets = np.concatenate([path.found.bias for path in paths])
        self.fitted += every.shape[1]
        val = self._scores(one, rows.val, every, offsets, unit=unit)
        y = rows.y[rows.val]
        aucs = [auc(column, y) for column in val.T]
        several: dict[tuple[Norm, Kind], list[_Choice]] = {}
        start = 0
        for path in paths:
            mine = aucs[start : start + len(path.found.bias)]
            # Among equals the strongest: the simplest probe.
            place = max(range(len(mine)), key=lambda k: (mine[k], k))
            chosen = _Choice(path, place, start + place, mine)
            several.setdefault((path.norm, path.kind), []).append(chosen)
            start += len(mine)
        best = [self._best_ratio(choices, val) for choices in several.values()]
        columns = [chosen.column for chosen in best]
        scores = self._scores(one, rows.test, every[:, columns], offsets[columns], unit=unit)
        return [
            Fitted(chosen.probe(one, moments, share), column)
            for chosen, column in zip(best, scores.T, strict=True)
        ]

    def _best_ratio(self, choices: Sequence[_Choice], val: Values) -> _Choice:
        """That of ratio 1, the first; or the best of those that are clearly better."""
        if len(choices) == 1:
            return choices[0]
        columns, aucs = [one.column for one in choices], [one.auc for one in choices]
        rows = self._rows
        place = clearly_best(val[:, columns], aucs, rows.y[rows.val], rows.clusters[rows.val])
        return choices[place]

    def _paths(
        self,
        one: ProbeInput,
        norms: Sequence[Norm],
        moments: Moments,
        pieces: Pieces,
        like: Probe | None,
    ) -> list[_Path]:
        """All strengths of each norm, kind and ratio."""
        grid, widths, paths = self._grid, self._vectors.widths(one), []
        kinds = grid.kinds if like is None else [like.kind]
        strengths = grid.strengths if like is None or like.strength is None else [like.strength]
        for norm in norms:
            has_ratio = len(widths) > 1 and norm != "whiten"
            ratios = RATIOS if has_ratio else RATIOS[:1]
            if like is not None and like.ratio is not None:
                ratios = (like.ratio,)
            try:
                maps = [linear_map(moments, norm, widths, ratio) for ratio in ratios]
            except InputError as error:
                if grid.named:
                    raise InputError(
                        f"{one.name} can't be probed with {norm}: {error.what}", *error.advice
                    ) from error
                left = self._left_out.setdefault((norm, error.what), [])
                if not one.shuffled and one.name not in left:
                    left.append(one.name)
                continue
            for kind in kinds:
                if kind == "ridge" and len(ratios) > 1:
                    fitted = fit_ratios(moments, maps[0], strengths, ratios, widths[-1])
                else:
                    fitted = [fit(kind, moments, one, strengths, pieces) for one in maps]
                told = ratios if has_ratio else [None]
                paths += [_Path(norm, kind, r, f) for r, f in zip(told, fitted, strict=True)]
        return paths

    def _pieces(
        self, one: ProbeInput, places: NDArray[np.int64], *, unit: bool
    ) -> Iterator[Values]:
        exchanged = self._exchanged if one.shuffled else ()
        return self._vectors.pieces(one, places, unit=unit, exchanged=exchanged)

    def _targets(self, one: ProbeInput, places: NDArray[np.int64], *, unit: bool) -> Pieces:
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
        found, start = np.empty((len(places), len(bias))), 0
        for values in self._pieces(one, places, unit=unit):
            np.matmul(values, weights, out=found[start : start + len(values)])
            start += len(values)
        found += bias
        return found


def _named(names: Sequence[str]) -> str:
    return listed(names) if len(names) <= NAMED else f"{len(names)} inputs"


def best_of(fitted: Sequence[Fitted]) -> Fitted:
    """The probe that validation likes best."""
    return max(fitted, key=lambda one: one.probe.val_auc)
