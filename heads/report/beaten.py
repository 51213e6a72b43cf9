"""What a tested run beats of what needs no training, in sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from clare.bootstrap import Figure
from clare.heads.evaluation.baseline_names import title_of
from clare.heads.evaluation.record import Baselines, Beaten
from clare.heads.report.formatting import decimal, span
from clare.wording import listed


def against_baselines(measured: Baselines | None, subset: str) -> Beaten:
    """Whether a run beats each measured baseline of a subset; see `Baselines.verdict`."""
    hardest = measured.hardest(subset) if measured else None
    return measured.verdict(subset, hardest) if measured and hardest else "unknown"


def baselines_said(counts: Collection[int], each: str = "each of ") -> str:
    """How many baselines are spoken of: those that were measured, whatever others there are.

    Args:
        counts: of the baselines measured, by subset or by run; at least one.
        each: what stands before the number.
    """
    least, most = min(counts), max(counts)
    if most == 1:
        return "the one baseline that was measured"
    return (
        f"{each}the {most if least == most else f'{least} to {most}'} baselines that were measured"
    )


def beaten_said(measured: Baselines | None, rows: Mapping[str, int], figure: str) -> str | None:
    """What a run beats, and what it does not, in a sentence.

    Args:
        measured: the baselines.
        rows: of each subset that is spoken of, those that the run's figure is of.
        figure: what the figure is called.

    Returns:
        None where no baseline was measured on any of these subsets.
    """
    verdicts = {name: against_baselines(measured, name) for name in rows}
    if measured is None or set(verdicts.values()) <= {"unknown"}:
        return None
    if len(rows) == 1:
        ((subset, count),) = rows.items()
        return _beside_one(measured, subset, count, figure)
    judged = {name: verdict for name, verdict in verdicts.items() if verdict != "unknown"}
    beaten = sum(verdict == "yes" for verdict in judged.values())
    lost: dict[str, list[str]] = defaultdict(list)
    for name in rows:
        for baseline in measured.known(name):
            if measured.verdict(name, baseline) in ("no", "not clearly"):
                lost[title_of(baseline)].append(name)
    together: dict[str, list[str]] = defaultdict(list)
    for title, names in lost.items():
        every = len(names) == len(rows) > 2
        together[f"all {len(rows)}" if every else few(names)].append(title)
    but = "; ".join(f"{listed(titles)} on {where}" for where, titles in together.items())
    unknown = [name for name in verdicts if name not in judged]
    each = baselines_said([measured.measured(name) for name in judged])
    return (
        f"It clearly beats {each} (what needs no training) on {beaten} of {len(judged)}"
        f"{f', which was not measured on {few(unknown)}' if unknown else ''}"
        f"{f'; what it does not clearly beat is {but}' if lost else ''}."
    )


def _beside_one(measured: Baselines, subset: str, rows: int, figure: str) -> str:
    known = measured.known(subset)
    beaten = {name: measured.verdict(subset, name) for name in known}
    named = {n: f"{title_of(n)} ({figure} {decimal(value)})" for n, value in known.items()}
    by = {name: _by(measured.lead(subset, name), rows) for name in known}
    counts = [measured.measured(subset)]
    lost = listed(named[name] for name in known if beaten[name] == "no")
    above = [f"{named[name]} {by[name]}" for name in known if beaten[name] == "not clearly"]
    parts = [f"does not beat {lost}"] if "no" in beaten.values() else []
    parts += [f"is above {listed(above)}, but not clearly"] if above else []
    if parts:
        of = baselines_said(counts, "")
        return f"Of {of} (what needs no training), it {', and '.join(parts)}."
    each, name = baselines_said(counts), measured.hardest(subset) or ""
    which = "; the hardest, " if counts[0] > 1 else ": "
    return f"It clearly beats {each} (what needs no training){which}{named[name]}, {by[name]}."


def _by(lead: Figure | None, rows: int) -> str:
    """How far a run is above a baseline, and on how many rows where not on all."""
    if lead is None:
        return "by an unknown lead"
    ends = f"paired 95 % interval {span(lead, 3)}" if span(lead) else "no interval"
    on = "" if lead.n == rows else f", on the {lead.n:,} rows of {rows:,} that have it"
    return f"by {decimal(lead.value)} ({ends}{on})"


def few(names: Sequence[str]) -> str:
    """Subsets by name; of many only how many."""
    return listed(names) if len(names) < 5 else f"{len(names)} subsets"
