"""What probes say: one line each, the figures of those that were chosen, and what adds to what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clare.bootstrap import Figure
from clare.errors import InputError
from clare.files import write_durably
from clare.heads.evaluation.newer import Newer
from clare.heads.linear.norms import Norm
from clare.heads.linear.solvers import Kind
from clare.own_csv import csv_text
from clare.typed_json import read_json, write_json

RECORD = "probes.json"
LINES = "probes.csv"


@dataclass(frozen=True)
class Probe:
    """One input, one normalisation, one kind of probe, at the strength that validation chose.

    Args:
        input: its name.
        width: of its vectors.
        norm: what is done to them.
        kind: of the probe.
        fraction: share of the training rows.
        seed: that the share was drawn with.
        rows: that it was fitted on.
        strength: of regularisation; None where it has none.
        path: AUC on validation by strength, at the chosen ratio.
        val_auc: AUC on validation, at the chosen strength.
        tests: AUC by test set; with an interval of the probe that validation likes best for its
            input and share.
        mean: over the test sets.
        ratio: of a sum, how much less its last part is regularised than the others: the total
            variance that it is brought to, where they have 1. Chosen on validation; None where it
            has none.
    """

    input: str
    width: int
    norm: Norm
    kind: Kind
    fraction: float
    seed: int
    rows: int
    strength: float | None
    path: Mapping[str, float]
    val_auc: float
    tests: Mapping[str, Figure]
    mean: Figure
    ratio: float | None = None


@dataclass(frozen=True)
class UntrainedScore:
    """A score that needs no optimisation, on the rows that probes are tested on.

    Args:
        name: what it is.
        how: what it does, in a few words, and whether labels of training rows went into it.
        val_auc: AUC on validation rows, which chose the direction where nothing fixes it.
        tests: AUC by test set.
        mean: over the test sets.
    """

    name: str
    how: str
    val_auc: float
    tests: Mapping[str, Figure]
    mean: Figure


@dataclass(frozen=True)
class Gain:
    """A difference of two AUCs on the same rows and resamples.

    Args:
        auc: the difference, its interval paired.
        p: the larger of two, for no gain over the base and for none over the base beside shuffled
            rows; None without resamples.
        holm: the same, corrected for all differences that were asked for (Holm 1979).
    """

    auc: Figure
    p: float | None
    holm: float | None


@dataclass(frozen=True)
class Answer:
    """Whether one input adds to another.

    Args:
        base: what it may add to.
        added: what may add.
        alone: how the base was probed: normalisation and kind, chosen on validation.
        together: how both were.
        gains: by test set, with both less the base alone.
        mean: over the test sets.
        shuffled: the mean gain of the controls, in which the added vectors are other rows'.
    """

    base: str
    added: str
    alone: str
    together: str
    gains: Mapping[str, Gain]
    mean: Gain
    shuffled: Figure


@dataclass(frozen=True)
class ProbeRecord:
    """All of it.

    Args:
        store: path of the store.
        train: subsets that the probes were fitted on.
        reals: subsets whose reals stood beside.
        domains: that rows were of; all if empty.
        counts: rows by split.
        tests: rows by test set.
        meaning: what sets fingerprints of one field apart, by name.
        layers: by name of an input, the layer of the tower; of inputs that are a layer's.
        heads: by name of an input, what makes a head of it: see `head_of`. In records of before
            some sums have none.
        probes: every one.
        fitted: how many were fitted, each strength counted.
        answers: what adds to what.
        shown: names of the inputs that ``alike`` is of.
        alike: linear CKA of each two of them; None of one that does not vary, nothing of too few
            rows.
        alike_rows: training rows that ``alike`` was measured on.
        resamples: of the bootstrap.
        seconds: that reading, and then fitting, took.
        notices: what may surprise.
        command: that asked for it.
        untrained: what tells fakes without optimisation.
        costs: billions of operations an image, by name of an input; of inputs whose extractors kept
            them.
        newer: by name of an input, the figures of its best probe on images that are newer than what
            its towers can have seen; of inputs behind which a tower stands.
        shuffles: controls of each question; None where a record of before does not say.
    """

    store: str
    train: tuple[str, ...]
    reals: tuple[str, ...]
    domains: tuple[str, ...]
    counts: Mapping[str, int]
    tests: Mapping[str, int]
    meaning: Mapping[str, str]
    layers: Mapping[str, int]
    heads: Mapping[str, Mapping[str, Any]]
    probes: tuple[Probe, ...]
    fitted: int
    answers: tuple[Answer, ...]
    shown: tuple[str, ...]
    alike: tuple[tuple[float | None, ...], ...]
    alike_rows: int
    resamples: int
    seconds: tuple[float, float]
    notices: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    untrained: tuple[UntrainedScore, ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    newer: Mapping[str, Newer] = field(default_factory=dict)
    shuffles: int | None = None

    def head_of(self, probe: Probe) -> dict[str, Any] | None:
        """Settings of `clare.train_head` that make a run of a probe; None where the record has
        none.

        Args:
            probe: one of these.
        """
        if probe.input not in self.heads:
            return None
        head = dict(self.heads[probe.input])
        fitted = {"kind": probe.kind, "norm": probe.norm, **head.pop("classifier_settings", {})}
        ratio = {} if probe.ratio is None else {"ratio": probe.ratio}
        strength = {} if probe.strength is None else {"strength": probe.strength}
        share = {"fraction": probe.fraction, "data_seed": probe.seed} if probe.fraction < 1 else {}
        return {
            **head,
            "classifier": "probe",
            "classifier_settings": {**fitted, **strength, **ratio},
            "standardize": False,
            "train": list(self.train),
            **({"reals": list(self.reals)} if self.reals else {}),
            **({"domains": list(self.domains)} if self.domains else {}),
            **share,
        }

    def best(self) -> dict[str, Probe]:
        """Of each input, the probe of the largest share of the rows, the first of its seeds, that
        validation likes best; the best input first. Inputs that nothing was fitted to have none."""
        most = max(self.probes, key=lambda one: one.fraction)  # of equals the first
        found: dict[str, Probe] = {}
        for probe in sorted(self.probes, key=lambda one: -one.val_auc):
            if (probe.fraction, probe.seed) == (most.fraction, most.seed):
                found.setdefault(probe.input, probe)
        return found


def how_said(probe: Probe) -> str:
    """What was done to vectors, the kind of probe, its strength, and the last part's ratio."""
    strength = "" if probe.strength is None else f" {probe.strength:g}"
    ratio = "" if probe.ratio in (None, 1) else f", last part x {probe.ratio:g}"
    return f"{probe.norm}, {probe.kind}{strength}{ratio}"


def write_record(folder: Path, record: ProbeRecord) -> None:
    """Write the record, and its probes as CSV."""
    tests = list(record.tests)
    head = ["input", "width", "norm", "kind", "fraction", "seed", "rows", "strength"]
    head += ["ratio", "val_auc"]
    ends = ("", "_low", "_high")
    columns = [*head, *(f"{t}_auc{end}" for t in [*tests, "mean"] for end in ends)]

    def figures(one: Probe | UntrainedScore) -> list[float | None]:
        several = (*(one.tests[t] for t in tests), one.mean)
        return [value for figure in several for value in (figure.value, figure.low, figure.high)]

    lines: list[list[Any]] = [
        [*(getattr(probe, name) for name in head), *figures(probe)] for probe in record.probes
    ]
    for one in record.untrained:
        known = {"input": one.name, "kind": "untrained", "val_auc": one.val_auc}
        lines.append([*(known.get(name) for name in head), *figures(one)])
    write_json(folder / RECORD, record)
    write_durably(folder / LINES, csv_text([columns, *lines]).encode())


def is_probing(folder: Path) -> bool:
    """Whether a folder holds probes."""
    return (folder / RECORD).is_file()


def read_record(folder: Path) -> ProbeRecord:
    """What `write_record` wrote.

    Raises:
        InputError: there is none, or it is damaged.
    """
    if not is_probing(folder):
        raise InputError(f"{folder} holds no probes: `{RECORD}` is missing")
    return read_json(folder / RECORD, ProbeRecord)


def ordered(names: Sequence[str], layers: Mapping[str, int]) -> list[str]:
    """Names by their layer, those of none first; numbers in them count as numbers."""

    def place(name: str) -> tuple[int, list[tuple[str, int]]]:
        pieces = re.findall(r"(\D*)(\d*)", name)
        return layers.get(name, -1), [(text, int(digits or -1)) for text, digits in pieces]

    return sorted(names, key=place)
