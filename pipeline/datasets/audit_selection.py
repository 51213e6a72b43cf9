"""Which images an audit compares: those named, and the reals that belong beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clare.errors import InputError
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest


def select_audited(
    subsets: str | None,
    files: Sequence[Path],
    folder: Path,
    roots: Sequence[str],
    reals: Sequence[Path],
    fakes: Sequence[str],
    *,
    pools: str | None = None,
) -> list[tuple[Manifest, Roots]]:
    """Read or build the manifests that were named, and those of their reals.

    Args:
        subsets: as for `select_manifests`, and so are the next five.
        files: manifest files.
        folder: where named manifests are.
        roots: ``DIR`` or ``NAME=DIR``.
        reals: folders of real images.
        fakes: folders of generated images.
        pools: comma-separated subsets of reals; by default those that the registry names for the
            domains of the fakes, if no real is there.

    Raises:
        InputError: nothing was named, or a name has no manifest.
        ManifestError: a manifest breaks a rule.
    """
    if not (subsets or files or reals or fakes):
        raise InputError(
            "nothing to audit: name a subset, --manifest FILE, or folders with --real DIR and "
            "--fake DIR"
        )
    selected = select_manifests(subsets, files, folder, roots, reals, fakes)
    if pools is None and all(s.label == 1 for manifest, _ in selected for s in manifest.samples):
        pools = ",".join(_registered_pools([manifest for manifest, _ in selected], folder))
    beside = select_manifests(pools, [], folder, roots, [], []) if pools else []
    names = {manifest.name for manifest, _ in selected}
    return [*selected, *(one for one in beside if one[0].name not in names)]


def _registered_pools(manifests: Sequence[Manifest], folder: Path) -> list[str]:
    registry = load_registry(folder)
    pools: dict[str, None] = {}
    for manifest in manifests:
        subset = registry.find(manifest.name)
        for domain in sorted({s.domain for s in manifest.samples}) if subset else ():
            if subset is not None and domain in subset.reals:
                pools[subset.reals[domain]] = None
    return list(pools)
