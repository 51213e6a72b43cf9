"""What of the registered subsets is there: ok, partial or absent, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from clare.advice import Notice, Run
from clare.errors import ManifestError
from clare.pipeline.datasets.record import BuildRecord, Counts, count_rows, read_record
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.datasets.schema import Registry, Subset
from clare.pipeline.manifests.csv_io import find_manifest, list_manifests, read_rows
from clare.pipeline.manifests.sample import Sample
from clare.wording import counted, natural_key


@dataclass(frozen=True)
class SubsetStatus:
    """One subset, as its manifest and the record beside it show it.

    Args:
        id: name of the subset.
        state: ``ok``, ``partial`` or ``absent``.
        counts: of its rows.
        reals: ``own`` where they lie with the fakes; else whether all its pools are built:
            ``there`` or ``absent``; empty for a pool itself.
        pools: whether a manifest is there, by pool of reals.
        notices: what is missing, and what deserves a look.
    """

    id: str
    state: str
    counts: Counts
    reals: str
    pools: Mapping[str, bool]
    notices: tuple[Notice, ...]

    def to_json(self, say: Callable[[Notice], str] = str) -> dict[str, Any]:
        """All of it as plain JSON, the notices as sentences that ``say`` words."""
        plain = asdict(replace(self, notices=()))
        del plain["notices"]
        return {**plain, "remarks": [say(notice) for notice in self.notices]}

    def rows(self, split: str) -> int:
        """Rows of a split ("none" for those without one)."""
        return sum(sum(by_split.get(split, {}).values()) for by_split in self.counts.values())

    def domains(self) -> dict[str, int]:
        """Rows by domain."""
        return {
            domain or "-": sum(sum(sides.values()) for sides in by_split.values())
            for domain, by_split in self.counts.items()
        }


def list_status(folder: Path) -> list[SubsetStatus]:
    """The status of every registered subset, then of the folder's other manifests."""
    registry = load_registry(folder)
    names = dict.fromkeys([*registry.subsets, *list_manifests(folder)])
    return [_status(registry, folder, name) for name in names]


def _status(registry: Registry, folder: Path, name: str) -> SubsetStatus:
    subset = registry.subsets.get(name)
    path = find_manifest(folder, name)
    pools = _pools(subset, folder)
    reals = "" if not pools else "there" if all(pools.values()) else "absent"
    if subset is not None and subset.own_reals:
        reals = "own"
    record = read_record(path or folder / f"{name}.csv")
    if path is None:
        notices = tuple(map(Notice, _why_absent(record))) if record else ()
        return SubsetStatus(name, "absent", {}, reals, pools, notices)
    changed = record is None and subset is not None
    delivered: list[str] = []
    if record is None:
        try:
            samples = read_rows(path).samples
            record = count_rows(name, samples)
            delivered = list(_deliveries(samples))
        except ManifestError as error:
            return SubsetStatus(name, "partial", {}, reals, pools, (Notice(error.what),))
    missing = [] if subset is None else list(_missing(subset, record))
    said = [*missing, *delivered, *_remarks(record)]
    if changed:
        said.insert(len(missing), "changed or written since it was built: folders are not known")
    notices = (*map(Notice, said), *_without_validation(record.counts))
    return SubsetStatus(name, "partial" if missing else "ok", record.counts, reals, pools, notices)


def _pools(subset: Subset | None, folder: Path) -> dict[str, bool]:
    pools = () if subset is None else subset.reals.values()
    return {pool: find_manifest(folder, pool) is not None for pool in pools}


def _why_absent(record: BuildRecord) -> Iterator[str]:
    if record.videos:
        yield f"{counted(record.videos, 'video')} on disk, no frames"
    if record.empty_folders:
        yield f"{counted(len(record.empty_folders), 'empty folder')} on disk"
    if record.unmatched:
        yield f"{counted(record.unmatched, 'file')} on disk that no layout fits"


def _missing(subset: Subset, record: BuildRecord) -> Iterator[str]:
    """What the registry leads one to expect, and the manifest lacks."""
    for domain in subset.domains:
        if domain not in record.counts:
            yield f"nothing of domain {domain}"
    sides = {s for by in record.counts.values() for sides in by.values() for s in sides}
    expected = {"real", "fake"} if subset.own_reals else set()
    for side in sorted(expected - sides):
        yield f"no {side}s"
    for split in subset.release:
        if not record.official.get(split):
            yield f"nothing of the {split} release"
    for domain, number in subset.expected.items():
        known = record.folders.get(domain)
        if known is None:
            continue
        # Where the test release is one of its own, it is what the registry counts.
        found = known.get("test", 0) if len(subset.roots) > 1 else sum(known.values())
        if found < number:
            yield f"{found} of {number} folders of {domain}"


def _remarks(record: BuildRecord) -> Iterator[str]:
    for status, number in sorted(record.status.items()):
        if status != "ok":
            yield f"{number} {status}"
    if record.empty_folders:
        yield counted(len(record.empty_folders), "empty folder")
    for reason, number in sorted(record.unassigned.items()):
        yield f"{counted(number, 'row')} without a split: {reason}"
    if record.unmatched:
        yield f"{counted(record.unmatched, 'file')} that no layout fits"
    yield from record.masks


def _deliveries(samples: Iterable[Sample]) -> Iterator[str]:
    found: dict[str, set[str]] = {}
    for sample in samples:
        if sample.delivery:
            found.setdefault(sample.parent_subset, set()).add(sample.delivery)
    for parent, names in sorted(found.items()):
        yield f"deliveries of {parent}: {', '.join(sorted(names, key=natural_key))}"


def _without_validation(counts: Counts) -> Iterator[Notice]:
    for domain, by_split in counts.items():
        for side in ("real", "fake"):
            if by_split.get("train", {}).get(side) and not by_split.get("val", {}).get(side):
                carved = Run("manifest.build", settings={"split": "ff=carved"})
                what = f"{side}s of {domain} train but none validate"
                yield Notice(what, *([carved] if domain == "ff" else []))
