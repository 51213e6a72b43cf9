"""Heads of several sweeps against each other: means over seeds, and paired differences.

All heads judge the same test rows, and all runs have the same settings but for their head and seed.
Intervals are over people and seeds, both drawn again; those of a difference draw the same people
and seeds for both heads.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clare.bootstrap import Resampling, interval
from clare.heads.evaluation.record import PREDICTIONS
from clare.heads.metrics.measure import measure_draws
from clare.heads.metrics.predictions import evaluation_sets, read_predictions
from clare.heads.runs.record import RunRecord, read_record

RESAMPLES = 1000

VARIED = (
    "fusion",
    "fusion_settings",
    "classifier",
    "scope",
    "timestep",
    "draws",
    "shuffle_labels",
    "seed",
)
"""Settings in which runs may differ."""

USUAL = "t = 200, 4 draws, own noise"


@dataclass(frozen=True, order=True)
class Head:
    """What runs of several seeds have in common.

    Args:
        fusion: with its query, where it has a choice.
        classifier: its name.
        scope: ``full`` or ``as-published``.
        lare: how the map that it reads was measured; empty without one.
        shuffled: whether it learned from shuffled labels.
    """

    fusion: str
    classifier: str
    scope: str
    lare: str
    shuffled: bool


@dataclass(frozen=True)
class Figures:
    """AUC of a head's runs on one set.

    Args:
        seeds: (S,) of the runs, sorted.
        values: (S,) by seed.
        draws: (S, R) the same on resampled people, the same ones for every run.
    """

    seeds: tuple[int, ...]
    values: np.ndarray
    draws: np.ndarray


def main() -> None:
    """Write heads.json: every head's AUC by test set, and the differences that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweeps", type=Path, nargs="+", help="folders of `clare sweep --evaluate`")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    options = parser.parse_args()
    heads = read_heads(options.sweeps)
    rows = [
        asdict(head) | {"set": name} | summary(found)
        for head, sets in sorted(heads.items())
        for name, found in sets.items()
    ]
    differences = [
        {"what": what, "set": name} | asdict(head) | difference(heads[base][name], found)
        for head, sets in sorted(heads.items())
        for what, base in bases(head).items()
        if base in heads and not head.shuffled
        for name, found in sets.items()
    ]
    record = {"heads": rows, "differences": differences}
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{len(rows)} means and {len(differences)} differences in {options.out}")


def read_heads(sweeps: Sequence[Path]) -> Mapping[Head, dict[str, Figures]]:
    """Figures by head and test set, of all tested runs."""
    shared: dict[str, Any] = {}
    runs: dict[Head, dict[str, dict[int, Any]]] = defaultdict(lambda: defaultdict(dict))
    for file in sorted(file for sweep in sweeps for file in sweep.glob(f"*/{PREDICTIONS}")):
        record = read_record(file.parent)
        config = record.config
        kept = {name: value for name, value in config.to_json().items() if name not in VARIED}
        if kept != (shared := shared or kept):
            other = ", ".join(name for name in kept if kept[name] != shared[name])
            raise SystemExit(f"{file.parent} differs from the others in more: {other}")
        detector = config.detector
        query = (
            detector.fusion_settings.get("query", "all") if detector.fusion == "cross_attn" else ""
        )
        head = Head(
            f"{detector.fusion} {query}".strip(),
            detector.classifier,
            config.scope,
            reading(record),
            config.shuffle_labels,
        )
        rows = read_predictions(file)
        for name, places in evaluation_sets(rows, config.reals).items():
            measured = measure_draws(rows.take(places), None, Resampling(RESAMPLES))
            if config.seed in runs[head][name]:
                raise SystemExit(f"{file.parent}: another run is of {head} and seed {config.seed}")
            runs[head][name][config.seed] = (measured.values["auc"], measured.draws["auc"])
    return {
        head: {
            name: Figures(
                tuple(sorted(found)),
                *(np.array([found[seed][k] for seed in sorted(found)]) for k in (0, 1)),
            )
            for name, found in sets.items()
        }
        for head, sets in runs.items()
    }


def reading(record: RunRecord) -> str:
    """Step, draws and noise of the map that a run reads."""
    if "lare" not in record.extractors:
        return ""
    settings = record.extractors["lare"].fingerprint.settings
    step = settings["timesteps"][record.config.detector.timestep]
    draws = record.config.detector.draws or settings["draws"]
    noise = "shared" if settings.get("noise") == "shared" else "own"
    return f"t = {step}, {draws} draw{'s' if draws > 1 else ''}, {noise} noise"


def bases(head: Head) -> dict[str, Head]:
    """What a head is held against, by what the difference says."""
    found = {}
    if head.scope == "full" and head.fusion != "cls":
        found["full training, less as published"] = replace(head, scope="as-published")
    if head.fusion != "cls":
        found["less CLIP alone"] = replace(head, fusion="cls", lare="")
    if head.fusion not in ("cls", "lare"):
        found["less LaRE alone"] = replace(head, fusion="lare")
    if head.lare not in ("", USUAL):
        found[f"less {USUAL}"] = replace(head, lare=USUAL)
    four = f"{head.lare.partition(',')[0]}, 4 draws, own noise"
    if head.lare not in ("", four):
        found["less 4 draws of own noise at its step"] = replace(head, lare=four)
    if head.fusion == "cross_attn all":
        found["all queries, less their mean"] = replace(head, fusion="cross_attn mean")
    return found


def summary(found: Figures) -> dict[str, Any]:
    """Mean over seeds with its interval, and the deviation over seeds."""
    low, high = interval(mean_of_drawn(found.draws))
    value = found.values.mean()
    spread = found.values.std(ddof=1) if len(found.seeds) > 1 else None
    return {"auc": value, "low": low, "high": high, "over_seeds": spread, "n": len(found.seeds)}


def difference(base: Figures, found: Figures) -> dict[str, Any]:
    """Mean over seeds of the paired difference, with its interval."""
    if base.seeds != found.seeds:
        raise SystemExit(f"seeds {base.seeds} can't be paired with seeds {found.seeds}")
    low, high = interval(mean_of_drawn(found.draws - base.draws))
    return {"difference": (found.values - base.values).mean(), "low": low, "high": high}


def mean_of_drawn(draws: np.ndarray) -> np.ndarray:
    """Of figures (S, R) on resampled people, the mean (R,) over seeds drawn anew each time."""
    chosen = np.random.default_rng(0).integers(len(draws), size=draws.shape)
    drawn: np.ndarray = np.take_along_axis(draws, chosen, 0).mean(0)
    return drawn


if __name__ == "__main__":
    main()
