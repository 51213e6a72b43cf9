"""What manifests may not share: an identity or a file in two splits, a file with two labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
        self._identities: dict[tuple[str, str], tuple[str, str, str]] = {}
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
            first = self._files.get(hash(("sha256", sample.sha256))) if sample.sha256 else None
            if first is not None and first[2] != manifest.name and first[0] == sample.label:
                found.append(f"{sample.sample_id} (in {first[2]})")
        if found:
            yield f"{counted(len(found), 'image')} byte for byte in another subset too", found

    def _two_splits(self, manifest: Manifest) -> Iterator[Broken]:
        found: dict[tuple[str, str], str] = {}
        for sample in manifest.samples:
            for key in _identities(sample) if sample.split else ():
                first = self._identities.setdefault(
                    key, (sample.split, manifest.name, sample.sample_id)
                )
                # Within a manifest, its own rules speak of it.
                if first[0] != sample.split and first[1] != manifest.name:
                    found.setdefault(
                        key,
                        f"{key[1]}: {sample.sample_id} in {sample.split}, {first[2]} in {first[0]}",
                    )
        if found:
            yield (
                "one identity in two splits, here and in another subset: build both again",
                list(found.values()),
            )

    def _unofficial(self, manifest: Manifest) -> Iterator[Broken]:
        crossed: list[str] = []
        mixed: list[str] = []
        for sample in manifest.samples:
            domain = self._registry.domains.get(sample.domain)
            if not sample.split or domain is None or not domain.listed:
                continue
            official = {_official(domain, name) for _, name in _identities(sample)}
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
            for key in _file_keys(sample):
                label, split, subset = self._files.setdefault(key, holder)
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


def _identities(sample: Sample) -> Iterable[tuple[str, str]]:
    names = (one.strip() for one in sample.source_ids.split("|"))
    return [(sample.domain, name) for name in names if name]


def _official(domain: Domain, name: str) -> str:
    return domain.listed.get(name.removeprefix(f"{domain.id}:"), "")


def _file_keys(sample: Sample) -> Iterator[int]:
    # A hash of 64 bits instead of the text: two of ten million paths alike are out of the question.
    yield hash((sample.root, sample.path))
    if sample.sha256:
        yield hash(("sha256", sample.sha256))
