"""What manifests may not share: an identity or a file in two splits, a file with two labels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from clare.columns import SPLITS
from clare.groups import Group, Kind, met_by
from clare.pipeline.datasets.schema import Domain, Registry
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.wording import counted

Broken = tuple[str, list[str]]
"""What is wrong, and the rows."""

_Holder = tuple[int, str, str]
"""Label, split and subset of a row; rows share them, so that a file costs a number and a link."""


class SharedRows:
    """Manifests are added one by one; each is held against all before it, and the official lists.

    Only short keys are kept, so that the millions of rows of a whole release fit.

    Args:
        registry: knows the domains' official identities.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._shared: dict[tuple[Group, str], tuple[str, str]] = {}
        self._files: dict[int, _Holder] = {}
        self._holders: dict[_Holder, _Holder] = {}

    def add(self, manifest: Manifest) -> Iterator[Broken]:
        """Gates that the manifest breaks together with those before it."""
        yield from self._two_splits(manifest)
        yield from self._unofficial(manifest)
        yield from self._files_of(manifest)

    def copies(self, manifest: Manifest) -> Iterator[Broken]:
        """Rows of one label whose bytes stand in an earlier manifest too."""
        found: list[str] = []
        for sample in manifest.samples:
            known = sample.sha256 and not sample.delivery  # a delivery is of its image's own file
            first = self._files.get(hash(sample.sha256)) if known else None
            if first is not None and first[2] != manifest.name and first[0] == sample.label:
                found.append(f"{sample.sample_id} (in {first[2]})")
        if found:
            yield f"{counted(len(found), 'image')} byte for byte in another subset too", found

    def _two_splits(self, manifest: Manifest) -> Iterator[Broken]:
        found: dict[Group, str] = {}
        for sample in manifest.samples:
            made = (manifest.name, sample.sample_id)
            for tie in sample.ties if sample.split else ():
                if tie[0] not in ("identity", "pair", "real"):
                    continue
                # Reals of one name may be of several splits: of each the first one counts.
                self._shared.setdefault((tie, sample.split), made)
                for split, other in product(SPLITS, met_by(tie)):
                    first = self._shared.get((other, split))
                    # Within a manifest, its own rules speak of it.
                    if first and split != sample.split and first[0] != manifest.name:
                        places = f"{sample.sample_id} in {sample.split}, {first[1]} in {split}"
                        found.setdefault(tie, f"{tie[1]}: {places}")
        for kind in ("identity", "pair"):
            kinds = ("pair", "real") if kind == "pair" else (kind,)
            rows = [row for (own, _), row in found.items() if own in kinds]
            if rows:
                yield (
                    f"one {kind} in two splits, here and in another subset: build both again",
                    rows,
                )

    def _unofficial(self, manifest: Manifest) -> Iterator[Broken]:
        crossed: list[str] = []
        mixed: list[str] = []
        for sample in manifest.samples:
            domain = self._registry.domains.get(sample.domain)
            if not sample.split or domain is None or not domain.listed:
                continue
            official = {_official(domain, name) for name in _names(sample, "identity")}
            if len(official - {""}) > 1 and "test" in official:
                mixed.append(f"{sample.sample_id} ({sample.source_ids}) in {sample.split}")
            elif official - {""} and ("test" in official) != (sample.split == "test"):
                crossed.append(f"{sample.sample_id} ({sample.source_ids}) in {sample.split}")
        if crossed:
            yield (
                "identities of the official test in training or validation, or the reverse",
                crossed,
            )
        if mixed:
            yield "a fake has a split although its two identities do not share one", mixed

    def _files_of(self, manifest: Manifest) -> Iterator[Broken]:
        labels: list[str] = []
        splits: list[str] = []
        for sample in manifest.samples:
            made = (sample.label, sample.split, manifest.name)
            holder = self._holders.setdefault(made, made)
            for name in _names(sample, "image"):
                # 64 bits, not the text: two of ten million names alike are out of the question.
                label, split, subset = self._files.setdefault(hash(name), holder)
                if subset == manifest.name:
                    continue
                if label != sample.label:
                    labels.append(f"{sample.sample_id} ({sample.path}, also in {subset})")
                elif sample.split and split and split != sample.split:
                    splits.append(f"{sample.sample_id} in {sample.split} ({subset}: {split})")
        if labels:
            yield "one file with two labels, here and in another subset", labels
        if splits:
            yield "one file in two splits, here and in another subset", splits


def _official(domain: Domain, name: str) -> str:
    return domain.listed.get(name.removeprefix(f"{domain.id}/").removeprefix(f"{domain.id}:"), "")


def _names(sample: Sample, wanted: Kind) -> Iterator[str]:
    return (name for kind, name in sample.groups if kind == wanted)
