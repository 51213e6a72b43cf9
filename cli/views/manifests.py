"""What `clare manifest` shows: the build, the status table, findings, and protocols."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from clare.advice import Notice
from clare.cli.views.console import console, messages
from clare.cli.views.table import table
from clare.cli.wording import worded
from clare.pipeline.checks.status import list_status
from clare.protocol import Protocol, Training, list_protocols, read_protocol
from clare.wording import counted, name_rows

if TYPE_CHECKING:
    from clare.pipeline.checks.check import Finding
    from clare.pipeline.checks.status import SubsetStatus
    from clare.pipeline.datasets.build import BuiltDataset

SPLITS = ("train", "val", "test", "none")
SHOWN_SUBSETS = 6
"""Subsets that are shown one by one without being asked for."""


def show_status(found: Sequence[SubsetStatus], *, in_full: bool) -> None:
    """How many subsets are there, and what of them asks for a decision.

    Args:
        found: the subsets; absent ones of which nothing is known share one line.
        in_full: show the table of subsets, and every remark, however many there are.
    """
    listed = [one for one in found if one.state != "absent" or one.notices]
    if in_full or len(listed) <= SHOWN_SUBSETS:
        _show_subsets(listed)
        remarks = _remarks(listed)
        hidden = 0
    else:
        for state in ("ok", "partial"):
            if names := [one.id for one in found if one.state == state]:
                console.print(f"{len(names)} {state}: {name_rows(names)}", soft_wrap=True)
        counts = {split: sum(one.rows(split) for one in listed) for split in SPLITS}
        said = ", ".join(f"{number:,} {split}" for split, number in counts.items() if number)
        total = counted(sum(counts.values()), "row")
        console.print(f"{total}: {said.replace('none', 'without a split')}", soft_wrap=True)
        remarks = _remarks(listed, advised=True)
        hidden = len(_remarks(listed)) - len(remarks)
    for remark, names in remarks.items():
        console.print(f"{', '.join(names)}: {remark}", soft_wrap=True)
    absent = [one.id for one in found if one.state == "absent" and not one.notices]
    if absent:
        named = ", ".join(absent) if in_full else name_rows(absent)
        console.print(f"{len(absent)} absent: {named}", soft_wrap=True)
    if hidden:
        messages.print(
            f"{counted(hidden, 'remark')} and the rows of each subset: give --list", soft_wrap=True
        )


def _show_subsets(listed: Sequence[SubsetStatus]) -> None:
    rows = [
        (
            one.id,
            one.state,
            "\n".join(f"{domain} {number:,}" for domain, number in one.domains().items()),
            one.reals or "-",
            *(f"{one.rows(split):,}" for split in SPLITS),
        )
        for one in listed
    ]
    if rows:
        columns = ("subset", "state", "domains", "reals", "train", "val", "test", "no split")
        console.print(table(None, columns, rows, left=4))


def _remarks(listed: Sequence[SubsetStatus], *, advised: bool = False) -> dict[str, list[str]]:
    """The subsets that each remark is about; only of remarks that ask for something, if so."""
    remarks: dict[str, list[str]] = {}
    for one in listed:
        pools = (pool for pool, there in one.pools.items() if not there)
        missing = (Notice(f"reals {pool} are not built") for pool in pools)
        for remark in (*one.notices, *missing):
            if remark.advice or not advised:
                remarks.setdefault(worded(remark), []).append(one.id)
    return remarks


def show_build(
    built: BuiltDataset,
    refused: Mapping[str, str],
    dataset: str,
    manifests: Path,
    *,
    in_full: bool,
) -> None:
    """The status of what was built, and how many files became no row; in full by folder."""
    status = list_status(manifests)
    show_status([one for one in status if one.id in built.subsets], in_full=in_full)
    for name, reason in refused.items():
        console.print(f"{name}: not written: {reason}", soft_wrap=True)
    left = built.leftovers
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(left.ignored.items()))
    if kinds:
        console.print(f"left out by design: {kinds}", soft_wrap=True)
    if left.unmatched:
        where = f"; all in {manifests / dataset}.unmatched.txt" if built.complete else ""
        console.print(
            f"{counted(len(left.unmatched), 'file')} matched nothing{where}", soft_wrap=True
        )
        for line in _by_folder(left.unmatched) if in_full else ():
            console.print(f"  {line}", soft_wrap=True)
    written = len(built.subsets) - len(refused)
    console.print(
        f"{manifests}: {counted(written, 'manifest')}, {counted(built.rows, 'row')}", soft_wrap=True
    )


def show_findings(findings: Sequence[Finding]) -> None:
    """One line a finding, its first rows named and the others counted."""
    for finding in findings:
        kind = ("FAILED ", "red") if finding.gate else "warning"
        rows = f": {name_rows(finding.rows)}" if finding.rows else ""
        notice = worded(Notice(finding.what, *finding.advice))
        said = f" {finding.subset}: {notice}{rows}"
        console.print(Text.assemble(kind, said), soft_wrap=True)
    gates = sum(finding.gate for finding in findings)
    console.print(f"{counted(gates, 'gate')} failed, {counted(len(findings) - gates, 'warning')}")


def _by_folder(unmatched: Iterable[tuple[str, str, str]]) -> list[str]:
    groups: Counter[tuple[str, str, str]] = Counter()
    for root, path, reason in unmatched:
        groups[root, path.rpartition("/")[0] or ".", reason] += 1
    return [
        f"{root}: {folder}: {counted(number, 'file')}, {reason}"
        for (root, folder, reason), number in groups.most_common()
    ]


def show_protocols() -> None:
    """A line for each protocol that comes with CLaRE."""
    found = [read_protocol(name) for name in list_protocols()]
    rows = [(one.name, len(one.targets) or "-", one.title, _ways(one)) for one in found]
    console.print(table(None, ("protocol", "tests", "what it is", "trained as"), rows, left=4))


def show_protocol(name: str) -> None:
    """One protocol whole."""
    found = read_protocol(name)
    console.print(f"{found.title}\nsource: {found.source or 'not said'}", soft_wrap=True)
    for note in found.notes:
        console.print(f"note: {note}", soft_wrap=True)
    for key, training in found.trainings.items():
        way = found.name + (f"/{key}" if key else "")
        console.print(f"train {way}: {_training(training)}", soft_wrap=True)
    sets: dict[str, list[str]] = defaultdict(list)
    for target in found.targets:
        reals = ", ".join(target.reals) or "its own reals"
        beside = ", in no mean" if target.beside else ""
        sets[f"{target.split}, beside {reals}{beside}"].append(target.name)
    for how, names in sets.items():
        console.print(f"{how}: {', '.join(names)}", soft_wrap=True)
    if found.targets:
        console.print(f"tests take {_frames(found.frames, found.sampling)}")


def _ways(protocol: Protocol) -> str:
    if not protocol.trainings:
        return "tests alone"
    return " ".join(f"/{key}" for key in protocol.trainings if key) or "one training"


def _training(training: Training) -> str:
    reals = f"; reals of {', '.join(training.reals)}" if training.reals else ""
    domains = f"; domain {', '.join(training.domains)}" if training.domains else ""
    frames = _frames(training.frames, training.sampling)
    return f"{', '.join(training.fakes)}{reals}{domains}; {frames}"


def _frames(frames: int | None, sampling: str) -> str:
    return f"{frames} frames a video, {sampling}" if frames else "all frames"
