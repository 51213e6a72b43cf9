"""What of the registered subsets is there: ok, partial or absent, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clare.errors import ManifestError
from clare.pipeline.datasets.build import read_facts
from clare.pipeline.datasets.schema import Registry, Subset
from clare.pipeline.manifests.csv_io import find_manifest, read_rows
from clare.pipeline.manifests.sample import Sample
from clare.wording import counted


@dataclass(frozen=True)
class SubsetStatus:
    """One subset, as its manifest and the record beside it show it.

    Args:
        id: name of the subset.
        state: ``ok``, ``partial`` or ``absent``.
        counts: rows as [domain][split or "none"]["real" or "fake"].
        reals: ``own`` where they lie with the fakes; else whether all its pools are built:
            ``there`` or ``absent``; empty for a pool itself.
        pools: whether a manifest is there, by pool of reals.
        remarks: what is missing, and what deserves a look.
    """

    id: str
    state: str
    counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    reals: str
    pools: Mapping[str, bool]
    remarks: tuple[str, ...]

    def rows(self, split: str) -> int:
        """Rows of a split ("none" for those without one)."""
        return sum(sum(by_split.get(split, {}).values()) for by_split in self.counts.values())

    def domains(self) -> dict[str, int]:
        """Rows by domain."""
        return {
            domain or "-": sum(sum(sides.values()) for sides in by_split.values())
            for domain, by_split in self.counts.items()
        }


def list_status(registry: Registry, folder: Path) -> list[SubsetStatus]:
    """The status of every registered subset, then of the folder's other manifests."""
    others = {path.name.partition(".csv")[0] for path in folder.glob("*.csv*") if path.is_file()}
    names = [*registry.subsets, *sorted(others - set(registry.subsets))]
    return [_status(registry, folder, name) for name in names]


def _status(registry: Registry, folder: Path, name: str) -> SubsetStatus:
    subset = registry.subsets.get(name)
    path = find_manifest(folder, name)
    pools = _pools(subset, folder)
    reals = "" if not pools else "there" if all(pools.values()) else "absent"
    if subset is not None and subset.own_reals:
        reals = "own"
    facts = read_facts(path or folder / f"{name}.csv")
    if path is None:
        return SubsetStatus(name, "absent", {}, reals, pools, tuple(_why_absent(facts)))
    remarks: list[str] = []
    if not facts:
        try:
            facts = _facts_of(read_rows(path).samples)
        except ManifestError as error:
            return SubsetStatus(name, "partial", {}, reals, pools, (str(error),))
        if subset is not None:
            remarks.append("changed or written since it was built: folders are not known")
    missing = [] if subset is None else list(_missing(subset, facts))
    remarks = [*missing, *remarks, *_remarks(facts)]
    state = "partial" if missing else "ok"
    return SubsetStatus(name, state, facts["counts"], reals, pools, tuple(remarks))


def _facts_of(samples: tuple[Sample, ...]) -> dict[str, Any]:
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for sample in samples:
        sides = counts.setdefault(sample.domain, {}).setdefault(sample.split or "none", {})
        side = "fake" if sample.label else "real"
        sides[side] = sides.get(side, 0) + 1
    official = Counter(sample.official_split for sample in samples)
    return {"counts": counts, "official": official, "status": Counter(s.status for s in samples)}


def _pools(subset: Subset | None, folder: Path) -> dict[str, bool]:
    pools = () if subset is None else subset.reals.values()
    return {pool: find_manifest(folder, pool) is not None for pool in pools}


def _why_absent(facts: Mapping[str, Any]) -> Iterator[str]:
    if facts:
        videos = facts["ignored"].get(".mp4", 0)
        if videos:
            yield f"{counted(videos, 'video')} on disk, no frames"
        if facts["empty_folders"]:
            yield f"{counted(len(facts['empty_folders']), 'empty folder')} on disk"
        if facts["unmatched"]:
            yield f"{counted(facts['unmatched'], 'file')} on disk that no layout fits"


def _missing(subset: Subset, facts: Mapping[str, Any]) -> Iterator[str]:
    """What the registry leads one to expect, and the manifest lacks."""
    for domain in subset.domains:
        if domain not in facts["counts"]:
            yield f"nothing of domain {domain}"
    sides = {s for by in facts["counts"].values() for sides in by.values() for s in sides}
    expected = {"real", "fake"} if subset.own_reals else set()
    for side in sorted(expected - sides):
        yield f"no {side}s"
    for split in subset.release:
        if not facts["official"].get(split):
            yield f"nothing of the {split} release"
    for domain, number in subset.expected.items():
        known = facts.get("folders", {}).get(domain)
        if known is None:
            continue
        # Where the test release is one of its own, it is what the registry counts.
        found = known.get("test", 0) if len(subset.roots) > 1 else sum(known.values())
        if found < number:
            yield f"{found} of {number} folders of {domain}"


def _remarks(facts: Mapping[str, Any]) -> Iterator[str]:
    for status, number in sorted(facts["status"].items()):
        if status != "ok":
            yield f"{number} {status}"
    if facts.get("empty_folders"):
        yield counted(len(facts["empty_folders"]), "empty folder")
    for reason, number in sorted(facts.get("unassigned", {}).items()):
        yield f"{counted(number, 'row')} without a split: {reason}"
    if facts.get("unmatched"):
        yield f"{counted(facts['unmatched'], 'file')} that no layout fits"
    yield from _without_validation(facts["counts"])


def _without_validation(counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Iterator[str]:
    for domain, by_split in counts.items():
        for side in ("real", "fake"):
            if by_split.get("train", {}).get(side) and not by_split.get("val", {}).get(side):
                advice = ": build with --split ff=carved" if domain == "ff" else ""
                yield f"{side}s of {domain} train but none validate{advice}"
