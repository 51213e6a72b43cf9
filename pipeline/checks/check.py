"""Gates and warnings over manifests: what must not be, and what deserves a look."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from clare.advice import Advice, Notice, Run
from clare.errors import InputError, ManifestError
from clare.names import path_fault
from clare.pipeline.checks.across import SharedRows
from clare.pipeline.datasets.record import read_record
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.datasets.schema import Registry, Subset
from clare.pipeline.datasets.select import find_subset, no_manifest
from clare.pipeline.manifests.csv_io import (
    find_manifest,
    list_manifests,
    manifest_name,
    read_rows,
)
from clare.pipeline.manifests.file_shortcuts import Values, shortcuts_between, values_of
from clare.pipeline.manifests.folder_rules import cut_videos, guess_videos
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.validation import broken_rules
from clare.progress import Progress
from clare.wording import counted


@dataclass(frozen=True)
class Finding:
    """One broken gate, or one warning.

    Args:
        subset: name of the manifest.
        gate: whether it is a failure; a warning otherwise.
        what: is wrong.
        rows: the rows, files or folders that it is about, all of them.
        advice: what would mend it.
    """

    subset: str
    gate: bool
    what: str
    rows: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()

    def to_json(self, say: Callable[[Notice], str] = str) -> dict[str, Any]:
        """All of it as plain JSON, the advice as part of a sentence that ``say`` words."""
        said = say(Notice(self.what, *self.advice))
        return {"subset": self.subset, "gate": self.gate, "what": said, "rows": list(self.rows)}


@dataclass
class _Summary:
    """What has to be known of a manifest once its rows are gone: facts by domain and label."""

    facts: Mapping[tuple[str, int], Values]
    labels: set[int]


def check_manifests(
    folder: Path,
    names: Sequence[str] = (),
    *,
    look: Callable[[Manifest, Sequence[Sample]], Iterable[Finding]] | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Check manifests, each by itself and all against each other.

    Args:
        folder: where manifests are; the registry, the user's own beside it, knows the pools of
            reals and the official identities.
        names: subsets to check, by id or alias, their pools of reals beside them; all if empty.
        look: looks at the files of a manifest as well, for example `FileCheck`; it is also given
            the reals of other manifests that fakes with masks may be made from.
        progress: called with (manifests checked, manifests in all).

    Returns:
        Failed gates first, then warnings, each in the order of the subsets.

    Raises:
        InputError: a subset has no manifest, or there are none at all.
    """
    registry = load_registry(folder)
    asked, paths = _choose(registry, folder, names)
    findings: list[Finding] = []
    shared = SharedRows(registry)
    summaries: dict[str, _Summary] = {}
    for done, (name, path) in enumerate(paths.items(), start=1):
        try:
            manifest = read_rows(path)
        except ManifestError as error:
            findings.append(Finding(name, True, error.what, advice=error.advice))
            continue
        summaries[name] = _summarize(manifest.samples)
        for what, rows in shared.add(manifest):
            findings.append(Finding(name, True, what, tuple(rows)))
        for what, rows in shared.copies(manifest):
            findings.append(Finding(name, False, what, tuple(rows)))
        if name in asked:
            findings += _of_one(manifest, path)
            if look is not None:
                findings += look(manifest, _reals_beside(registry, folder, manifest))
        if progress is not None:
            progress(done, len(paths))
    for name in asked:
        if name in summaries:
            subset = registry.subsets.get(name)
            if subset is not None:
                findings += _lacking(subset, summaries[name], folder)
            findings += _shortcuts(name, subset, summaries)
    return sorted(findings, key=lambda finding: not finding.gate)


def _choose(
    registry: Registry, folder: Path, names: Sequence[str]
) -> tuple[list[str], dict[str, Path]]:
    """The subsets asked for, and the manifests to read: theirs and their pools'."""
    there = list_manifests(folder)
    if not there:
        raise InputError(f"{folder} holds no manifest", Run("manifest.build", effect="makes some"))
    asked = []
    for name in names:
        path = find_subset(registry, folder, name)
        if path is None:
            raise no_manifest(folder, name)
        asked.append(manifest_name(path))
    asked = asked or list(there)
    known = [registry.subsets[name] for name in asked if name in registry.subsets]
    wanted = dict.fromkeys([*(pool for one in known for pool in one.reals.values()), *asked])
    return asked, {name: there[name] for name in wanted if name in there}


def _reals_beside(registry: Registry, folder: Path, manifest: Manifest) -> list[Sample]:
    """Reals of the pools, and of the manifests that ``pair_id`` names, of fakes with masks."""
    masked = [s for s in manifest.samples if s.label == 1 and s.mask_path]
    subset = registry.subsets.get(manifest.name)
    pools = {s.pair_id.partition("/")[0] for s in masked}
    pools |= {*subset.reals.values()} if subset and masked else set()
    found: list[Sample] = []
    for pool, path in list_manifests(folder).items() if pools else ():
        if pool in pools and pool != manifest.name:
            with suppress(ManifestError):  # where it was asked for, that is said
                found += [sample for sample in read_rows(path).samples if sample.label == 0]
    return found


def _of_one(manifest: Manifest, path: Path) -> Iterator[Finding]:
    name = manifest.name
    for broken in broken_rules(manifest):
        yield Finding(name, True, broken.rule, tuple(broken.rows), (broken.advice,))
    for status in ("missing", "empty", "corrupt", "duplicate"):
        rows = [f"{s.sample_id} ({s.path})" for s in manifest.samples if s.status == status]
        if rows:
            yield Finding(name, False, f"{counted(len(rows), 'file')} {status}", tuple(rows))
    few, usual = _few_frames(manifest.samples)
    if few:
        what = f"{counted(len(few), 'folder')} with fewer frames than the median, {usual}"
        yield Finding(name, False, what, tuple(few))
    if torn := _torn_folders(manifest.samples):
        what = (
            f"{counted(len(torn), 'folder')} of numbered images, as of a video, in several splits"
        )
        advice = ("if they are videos, build the manifest anew, or give their frames a video_id",)
        yield Finding(name, False, what, tuple(torn), advice)
    record = read_record(path)
    if record and record.empty_folders:
        empty = record.empty_folders
        yield Finding(name, False, counted(len(empty), "empty folder"), empty)


def _torn_folders(samples: Sequence[Sample]) -> list[str]:
    """Folders that look like videos whose frames stand in several splits, where no id is known."""
    if any(sample.video_id or path_fault(sample.path) for sample in samples):
        return []
    return cut_videos(samples, (video for video, _ in guess_videos(samples)))


def _few_frames(samples: Sequence[Sample]) -> tuple[list[str], int]:
    """Folders of frames with fewer rows than usual in their domain, and how many are usual."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        if sample.frame_idx is not None and sample.status != "duplicate":
            groups[sample.domain][sample.sample_id.rpartition("/")[0]] += 1
    few: list[str] = []
    usual = 0
    for counts in groups.values():
        usual = int(median(counts.values()))
        few += [f"{group} ({number})" for group, number in counts.items() if number < usual]
    return few, usual


def _summarize(samples: Sequence[Sample]) -> _Summary:
    parts: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        parts[sample.domain, sample.label].append(sample)
    labels = {sample.label for sample in samples if sample.status == "ok"}
    return _Summary({part: values_of(some) for part, some in parts.items()}, labels)


def _lacking(subset: Subset, own: _Summary, folder: Path) -> Iterator[Finding]:
    """What of a registered subset's reals is not there."""
    if subset.own_reals and 0 not in own.labels:
        yield Finding(subset.id, False, "its own reals are missing: only fakes are there")
    pools = dict.fromkeys(subset.reals.values())
    absent = [pool for pool in pools if find_manifest(folder, pool) is None]
    if absent:
        what, advice = "no pool of reals stands beside it", f"build {', '.join(absent)}"
        yield Finding(subset.id, False, what, advice=(advice,))


def _shortcuts(
    name: str, subset: Subset | None, summaries: Mapping[str, _Summary]
) -> Iterator[Finding]:
    """What alone tells the fakes of a subset from the reals beside them.

    Those are its own, or the registry's pool, a domain at a time. Beside a subset that the registry
    does not know and that has none stand the reals of those that were read and have no fakes.
    """
    own = summaries[name]
    known = sorted({domain for domain, label in own.facts if label == 1})
    for domain in [None] if subset is None else known:
        if 0 in own.labels:
            beside = [own]
        elif subset is None:
            beside = [one for one in summaries.values() if 1 not in one.labels]
        else:
            pool = subset.reals.get(domain or "", "")
            beside = [summaries[pool]] if pool in summaries else []
        reals, fakes = _values(beside, 0, domain), _values([own], 1, domain)
        where = f"in {domain}, " if domain else ""
        for notice in shortcuts_between(reals, fakes):
            yield Finding(name, False, f"{where}{notice.what}", advice=notice.advice)


def _values(summaries: Iterable[_Summary], label: int, domain: str | None) -> Values:
    """What files of a label are, of one domain or of all."""
    found: dict[str, set[str]] = defaultdict(set)
    for summary in summaries:
        for (own, one), facts in summary.facts.items():
            for fact, values in facts.items() if one == label and domain in (None, own) else ():
                found[fact].update(values)
    return found
