"""`clare.probe`: every input, normalisation, kind and strength, on one read of the features."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clare.advice import Name
from clare.bootstrap import USUAL, Resampling
from clare.errors import InputError
from clare.heads.config import TrainConfig
from clare.heads.data.subsets import subsets_of, take_reals
from clare.heads.evaluation.newer import day_of
from clare.heads.evaluation.wanted import Asked, has_label, list_rows, list_wanted
from clare.heads.linear.norms import NORMS, Norm, norm_named
from clare.heads.linear.solvers import STRENGTHS, Kind, kind_named
from clare.heads.probing.alike import LEAST, cka
from clare.heads.probing.answers import answer
from clare.heads.probing.costs import gflops
from clare.heads.probing.heads import head_of
from clare.heads.probing.inputs import ProbeInput
from clare.heads.probing.newer import newer_of
from clare.heads.probing.prober import Fitted, Grid, Prober, best_of
from clare.heads.probing.questions import SHUFFLES, read_question, usual_questions
from clare.heads.probing.record import (
    Probe,
    ProbeRecord,
    UntrainedScore,
    is_probing,
    write_record,
)
from clare.heads.probing.rows import choose_rows, offer_of
from clare.heads.probing.untrained import Untrained, score_untrained
from clare.heads.probing.vectors import Vectors
from clare.progress import StepProgress
from clare.store.feature_store import FeatureStore, open_store

ALIKE = 512
"""Training rows that likeness is measured on."""


def probe(
    store: FeatureStore | Path | str,
    out: Path | str,
    *,
    train: Sequence[str] = (),
    reals: Sequence[str] = (),
    domains: Sequence[str] = (),
    test: Sequence[str] | None = None,
    inputs: Sequence[str] = (),
    norms: Sequence[Norm] = (),
    kinds: Sequence[Kind] = ("ridge", "centroid"),
    strengths: Sequence[float] = STRENGTHS,
    fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    ask: Sequence[str] | None = None,
    features: Sequence[str] = (),
    seen_until: str | None = None,
    resamples: int = USUAL.count,
    seed: int = USUAL.seed,
    progress: StepProgress | None = None,
    command: Sequence[str] = (),
) -> ProbeRecord:
    """Fit linear probes to every cached feature, and say which of them tell fakes from reals.

    A probe is a linear layer on frozen vectors. Its strength of regularisation is chosen by AUC on
    validation rows; test rows choose nothing. Each stored field is read once, whatever is fitted
    to it.

    Args:
        store: the store.
        out: folder that gets ``probes.json`` and ``probes.csv``.
        train: subsets to train on; all if empty.
        reals: subsets whose reals join.
        domains: rows of these domains alone.
        test: subsets to test on; every one that has fakes in the test split if None.
        inputs: what probes read, see `Offer.find`; every field in every pooling if empty.
        norms: what is done to vectors; all that can be, if empty.
        kinds: of probes.
        strengths: of regularisation.
        fractions: shares of the training rows.
        seeds: of shares below 1.
        ask: sentences, see `read_question`; `usual_questions` if None.
        features: beginnings of the digests of the fingerprints that are read; all if empty.
        seen_until: date of the newest image that towers can have seen in their training, of those
            of which nothing is known: see `clare.heads.evaluation.newer`.
        resamples: of the bootstrap.
        seed: of the bootstrap and of the shuffled control.
        progress: called with what is done.
        command: that asked for it; it is recorded.

    Raises:
        InputError: a name is not usable, the splits leak, a class is missing, there are too few
            rows for a normalisation that is named, no input varies over the training rows, or the
            folder holds something else.
        StoreError: a subset or a fingerprint is not there.
        CorruptStoreError: stored bytes are not what was written.
    """
    until = day_of(seen_until)
    opened = store if isinstance(store, FeatureStore) else open_store(Path(store))
    place, how = Path(out), Resampling(resamples, seed)
    _require(strengths, fractions, seeds, kinds, norms)
    if place.exists() and not is_probing(place) and (not place.is_dir() or any(place.iterdir())):
        raise InputError(f"{out} holds something else", Name("another folder", "out"))
    plain = TrainConfig(train=tuple(train), reals=tuple(reals), domains=tuple(domains))
    (config,), notices = take_reals(opened, [plain])
    trained = subsets_of(opened, config)
    for name in trained:
        opened.rows(name)  # says of one that is not there what there is
    asked = Asked(_tests(opened, tuple(domains)) if test is None else test, domains=tuple(domains))
    tests = list_wanted(opened, asked, (config.reals, trained))
    subsets = sorted({*trained, *(subset for subset, _, _ in tests.rows.values())})
    offer = offer_of(opened, subsets, features)
    chosen = list(dict.fromkeys(found for text in inputs for found in offer.find(text)))
    chosen = chosen or list(offer.inputs)
    questions = None if ask is None else [one for text in ask for one in read_question(text, offer)]
    named = [one for question in questions or () for one in (question.base, question.added)]
    parts = list(dict.fromkeys(part for one in [*chosen, *named] for part in one.parts))
    sources = {part.source for part in parts}
    # Mean LaRE stands beside the probes wherever LaRE is read.
    means = [part for one in offer.inputs for part in one.parts if part.pooling == "mean"]
    parts += [p for p in means if p.kind == "lare" and p.source in sources and p not in parts]
    if offer.lare and any(part.is_weighed for part in parts):
        sources.add(offer.lare)
    shares = [(f, s) for f in sorted(fractions) for s in (seeds if f < 1 else seeds[:1])]
    rows = choose_rows(opened, config, asked, sorted(sources), shares)

    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clare-probe-", dir=_beside(place)) as scratch:
        ranking = rows.shares[rows.largest]
        vectors = Vectors(opened, rows.rows, parts, offer.lare, ranking, Path(scratch), progress)
        read = time.monotonic()
        grid = Grid(chosen, norms or NORMS, kinds, sorted({*strengths}), bool(norms))
        prober = Prober(vectors, rows, grid, how, progress)
        fitted = prober.probe(chosen)
        if not fitted:
            raise InputError(
                "no input varies over the training rows: there is nothing to learn",
                Name("other inputs", "inputs"),
            )
        probes = _measured(prober, fitted)
        mine = [one for one in fitted if (one.probe.fraction, one.probe.seed) == rows.largest]
        best = {name: best_of(several) for name, several in _by_input(mine).items()}
        newer = newer_of(opened, chosen, offer.lare, best, rows, prober.sets, how, until)
        if questions is None:
            aucs = {name: one.probe.val_auc for name, one in best.items()}
            questions = usual_questions([one for one in chosen if one.name in aucs], aucs)
        answers, unanswered = answer(prober, questions, fitted, rows.largest)
        few = rows.train[np.unique(np.linspace(0, len(rows.train) - 1, ALIKE).astype(int))]
        alike = cka([prober.vectors_of(one, few) for one in chosen]) if len(few) >= LEAST else []
        heads = {one.name: head_of(one, offer.lare, vectors.widths(one)) for one in chosen}
        untrained, left_out = score_untrained(opened, vectors, rows, parts)
        told = [*notices, *left_out, *offer.notices, *rows.notices]
        told += [*prober.notices, *unanswered]
    record = ProbeRecord(
        store=str(opened.path),
        train=config.train or trained,
        reals=config.reals,
        domains=config.domains,
        counts={
            n: len(p) for n, p in (("train", rows.train), ("val", rows.val), ("test", rows.test))
        },
        tests={name: len(places) for name, places in prober.sets.items()},
        meaning=offer.meaning(),
        layers={one.name: k for one in chosen if (k := _layer(one)) is not None},
        heads=heads,
        probes=tuple(probes),
        untrained=tuple(_untrained(prober, untrained)),
        costs=gflops(opened, chosen, offer.lare),
        fitted=prober.fitted,
        answers=tuple(answers),
        shown=tuple(one.name for one in chosen),
        alike=tuple(map(tuple, alike)),
        alike_rows=len(few),
        resamples=how.count,
        seconds=(read - begun, time.monotonic() - read),
        newer=newer,
        shuffles=SHUFFLES,
        notices=tuple(str(one) for one in told),
        command=tuple(command),
    )
    place.mkdir(parents=True, exist_ok=True)
    write_record(place, record)
    return record


def _measured(prober: Prober, fitted: Sequence[Fitted]) -> list[Probe]:
    """The probes with their AUCs on test rows, and intervals for the best of an input and share."""
    shares: dict[tuple[str, float, int], list[Fitted]] = {}
    for one in fitted:
        shares.setdefault((one.probe.input, one.probe.fraction, one.probe.seed), []).append(one)
    best = [best_of(several) for several in shares.values()]
    plain = prober.measure([one.scores for one in fitted], Resampling(0, 0))
    measured = dict(zip(map(id, fitted), plain, strict=True))
    drawn = prober.measure([one.scores for one in best])
    measured |= dict(zip(map(id, best), drawn, strict=True))
    return [
        replace(
            one.probe,
            tests={name: found.figures["auc"] for name, found in measured[id(one)][0].items()},
            mean=measured[id(one)][1].figures["auc"],
        )
        for one in fitted
    ]


def _untrained(prober: Prober, several: Sequence[Untrained]) -> list[UntrainedScore]:
    measured = prober.measure([one.scores for one in several])
    return [
        UntrainedScore(
            one.name,
            one.how,
            one.val_auc,
            {name: found.figures["auc"] for name, found in sets.items()},
            mean.figures["auc"],
        )
        for one, (sets, mean) in zip(several, measured, strict=True)
    ]


def _by_input(fitted: Sequence[Fitted]) -> dict[str, list[Fitted]]:
    found: dict[str, list[Fitted]] = {}
    for one in fitted:
        found.setdefault(one.probe.input, []).append(one)
    return found


def _require(
    strengths: Sequence[float],
    fractions: Sequence[float],
    seeds: Sequence[int],
    kinds: Sequence[str],
    norms: Sequence[str],
) -> None:
    """Refuse what can't be fitted."""
    if not strengths or not all(0 < one < math.inf for one in strengths):
        raise InputError("a strength of regularisation is above 0", Name("some", "strengths"))
    if not fractions or not all(0 < one <= 1 for one in fractions):
        raise InputError("a share of the rows is above 0 and at most 1", Name("some", "fractions"))
    for setting, values in (("seeds", seeds), ("kinds", kinds)):
        if not values:
            raise InputError(f"there are no {setting}", Name("some", setting))
    for kind in kinds:
        kind_named(kind)
    for norm in norms:
        norm_named(norm)


def _tests(store: FeatureStore, domains: tuple[str, ...]) -> list[str] | None:
    """The subsets with test fakes that have any features; None where there are none."""
    keys = store.extractor_keys()
    return [
        name
        for name in store.subsets()
        if has_label(list_rows(store, name, "test", domains), 1)
        and any(store.layout.is_recorded(key, name) for key in keys)
    ] or None


def _beside(folder: Path) -> Path:
    """Where scratch files go: the nearest folder above that is there."""
    return next(one for one in folder.absolute().parents if one.is_dir())


def _layer(one: ProbeInput) -> int | None:
    """The layer of an input's only part; None where its name tells none."""
    tail = one.parts[0].source.field.rpartition("_")[2]
    return int(tail) if len(one.parts) == 1 and tail.isdecimal() else None
