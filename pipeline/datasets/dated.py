"""When images were made, of rows that do not say it and that the registry knows."""

from __future__ import annotations

from dataclasses import replace

from clare.pipeline.datasets.schema import Registry
from clare.pipeline.manifests.sample import Manifest


def with_dates(manifest: Manifest, registry: Registry) -> Manifest:
    """The manifest with the registry's dates in rows that have none.

    Only rows below a root of the subset's own data set are taken for its images: a manifest of
    other images may have the name of a registered subset.

    Args:
        manifest: of any subset.
        registry: what is known.
    """
    subset = registry.find(manifest.name)
    if subset is None or not subset.created:
        return manifest
    dated = tuple(
        replace(sample, created=subset.created_of(sample.label))
        if not sample.created and sample.root in subset.roots
        else sample
        for sample in manifest.samples
    )
    return Manifest(manifest.name, dated)
