"""How `clare store info` and `clare store stats` look in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from clare.cli.views.console import console
from clare.cli.views.table import table
from clare.models.backbones import remark_on
from clare.store.claims.listing import Claimant
from clare.store.transfer import Carried
from clare.wording import counted, duration, size

SHOWN_FAILURES = 10


def print_info(store: Path, found: Mapping[str, Any]) -> None:
    """Print what `clare.store.info.store_info` found."""
    if not found["subsets"]:
        console.print(f"{store}: no rows yet")
    for name, subset in found["subsets"].items():
        labels = subset["labels"]
        counts = f": {subset['rows']} rows, {labels.get('0', 0)} real, {labels.get('1', 0)} fake"
        if made := subset.get("created"):
            of = "" if made["rows"] == subset["rows"] else f"{made['rows']} of them "
            since = f"{made['first']} to" if made["first"] else "by"
            counts += f"; {of}made {since} {made['last']}"
        console.print(Text.assemble("\n", (name, "bold"), counts))
        features = [
            (extractor, feature)
            for extractor, several in subset["features"].items()
            for feature in several
        ]
        columns = ("feature", "fields", "complete", "failed", "pending", "size")
        console.print(table(None, columns, [_feature_row(*f) for f in features], left=2))
        backbones = {feature["settings"].get("backbone") for _, feature in features}
        for remark in filter(None, map(remark_on, sorted(backbones - {None}))):
            console.print(remark, style="yellow")
        for extractor, feature in features:
            _print_failures(extractor, feature["failures"])
    for extractor, digests in found["differences"].items():
        several = ": several settings stand beside each other"
        console.print(Text.assemble("\n", (extractor, "bold"), several))
        settings = sorted({name for values in digests.values() for name in values})
        rows = [(digest, *(v.get(s) for s in settings)) for digest, v in digests.items()]
        console.print(table(None, ("fingerprint", *settings), rows, left=len(settings) + 1))


def print_claims(store: Path, claimants: Sequence[Claimant]) -> None:
    """Print what `clare.store.claims.listing.list_claims` found."""
    if not claimants:
        console.print(f"{store}: nobody works on it")
        return
    rows = []
    for one in claimants:
        owner = one.owner
        since = datetime.fromtimestamp(owner.since).astimezone().strftime("%d %b %H:%M")
        told = f"silent for {duration(one.watched)}" if one.state == "silent" else one.state
        what = ", ".join(f"{name}: {_ranges(numbers)}" for name, numbers in one.claims.items())
        where = (owner.host or "?", owner.pid or "?", owner.job or "-")
        rows.append((owner.token[:8], *where, since if owner.since else "?", told, what or "-"))
    columns = ("process", "host", "pid", "job", "since", "state", "works on")
    console.print(table(None, columns, rows, left=len(columns)))


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers, those that follow one another as first-last."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def print_statistics(found: Mapping[str, Any]) -> None:
    """Print what `clare.store.statistics.store_statistics` found, one line a field.

    Means and deviations from the least channel's to the greatest's; outliers and NaN as a share of
    all values.
    """
    columns = ("field", "rows", "channels", "mean", "deviation", "outliers", "NaN")
    for subset, features in found.items():
        for key, fields in features.items():
            rows = [
                (name, values["rows"], len(values["mean"]), *_over_channels(values))
                for name, values in fields.items()
            ]
            console.print(table(f"\n{subset}, {key}", columns, rows))


def _over_channels(values: Mapping[str, Any]) -> tuple[str, ...]:
    ranges = []
    for measure in ("mean", "deviation"):
        known = [value for value in values[measure] if value is not None]
        ranges.append(f"{min(known):.3g} … {max(known):.3g}" if known else "-")
    counts = values["n"]
    outliers = sum((s or 0) * n for s, n in zip(values["outlier_share"], counts, strict=True))
    absent = sum(values["nan_share"]) / max(len(counts), 1)
    return (*ranges, f"{100 * outliers / max(sum(counts), 1):.3g} %", f"{100 * absent:.3g} %")


def _feature_row(extractor: str, feature: Mapping[str, Any]) -> tuple[Any, ...]:
    fields = "\n".join(
        f"{name} {'x'.join(map(str, spec['shape']))} {spec['dtype']}"
        for name, spec in feature["fields"].items()
    )
    counts = (feature[count] for count in ("complete", "failed", "pending"))
    return (f"{extractor}\n{feature['fingerprint']}", fields, *counts, size(feature["bytes"]))


def _print_failures(extractor: str, failures: Mapping[str, str]) -> None:
    if not failures:
        return
    kinds = Counter(reason.partition(":")[0] for reason in failures.values())
    summary = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    console.print(f"{extractor}: {len(failures)} failed ({summary})")
    for sample, reason in list(failures.items())[:SHOWN_FAILURES]:
        console.print(f"  {sample}: {reason}", soft_wrap=True)
    if len(failures) > SHOWN_FAILURES:
        console.print(f"  … and {len(failures) - SHOWN_FAILURES} more: --json lists them all")


def print_carried(place: Path | str, found: Carried) -> None:
    """Print what `clare.store.transfer` carried to a place."""
    shards, kept = counted(found.shards, "shard"), counted(found.kept, "shard")
    there = f"; {kept} were there" if found.kept else ""
    if found.left:
        there += f"; {counted(found.left, 'shard')} left to others who work on them"
    console.print(f"{place}: {shards} carried, {size(found.bytes)}{there}", soft_wrap=True)
