"""What `clare probe` prints: the best probe of each input, and what adds to what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clare.cli.views.console import console
from clare.cli.views.newer import print_newer
from clare.cli.views.table import table
from clare.heads.probing.record import Probe, ProbeRecord, UntrainedScore, how_said
from clare.heads.probing.said import answers_said, gain_text, interval_text
from clare.wording import counted, duration

SHOWN = 12
"""Inputs in the terminal, and as many scores that need no optimisation; the CSV has all."""


def print_probes(record: ProbeRecord) -> None:
    """Print them."""
    best = record.best()
    shown = [*best.values()][:SHOWN]
    untrained = sorted(record.untrained, key=lambda one: -one.val_auc)[:SHOWN]
    more = f"; the best {len(shown)} of {len(best)} inputs" if len(shown) < len(best) else ""
    console.print(
        table(
            f"AUC of the probe that validation chose for each input{more}",
            ("input", "probe, or how", "validation", *record.tests, "mean"),
            [
                *(_line(one.input, how_said(one), one, record) for one in shown),
                *(_line(one.name, one.how, one, record) for one in untrained),
            ],
            left=2,
        )
    )
    rows = ", ".join(f"{counted(n, 'row')} of {split}" for split, n in record.counts.items())
    reading, fitting = (duration(seconds) for seconds in record.seconds)
    console.print(
        f"{counted(record.fitted, 'probe')} fitted on {rows}: {reading} reading, {fitting} "
        "fitting; 95 % intervals of AUCs on test rows; validation chose norm, kind and strength",
        style="dim",
    )
    for name, meaning in record.meaning.items():
        console.print(f"{name}: {meaning}", style="dim")
    if record.answers:
        console.print(
            table(
                "does it add? gain in AUC, both less one alone",
                ("added", "to", *record.tests, "mean", "mean, rows shuffled"),
                [
                    (
                        one.added,
                        one.base,
                        *(gain_text(one.gains[name].auc) for name in record.tests),
                        gain_text(one.mean.auc),
                        gain_text(one.shuffled),
                    )
                    for one in record.answers
                ],
                left=2,
            )
        )
        for said in answers_said(record.answers):
            console.print(said, highlight=False)
    print_newer(
        {name: record.newer[name] for name in best if name in record.newer}, [*record.tests], SHOWN
    )
    for notice in record.notices:
        console.print(f"note: {notice}", soft_wrap=True, highlight=False)


def as_typed(store: str, head: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a head by the names that options have."""
    plain = {k: v for k, v in head.items() if k not in ("fields", "fusion_settings")}
    decided = plain.pop("classifier_settings")
    fields = head.get("fields", {})
    return {
        "store": store,
        **plain,
        **(
            fields
            if {*fields} in ({"cls"}, {"tokens"})
            else {"train.fields": fields}
            if fields
            else {}
        ),
        **{f"{head['fusion']}.{name}": v for name, v in head.get("fusion_settings", {}).items()},
        **{f"probe.{name}": v for name, v in decided.items()},
    }


def _line(name: str, how: str, one: Probe | UntrainedScore, record: ProbeRecord) -> tuple[str, ...]:
    figures = (*(one.tests[name] for name in record.tests), one.mean)
    return name, how, f"{one.val_auc:.3f}", *map(interval_text, figures)
