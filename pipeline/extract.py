"""Stage one as one call: images that are named somehow, into a store, here or on a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clare.cluster.connect import require_cluster
from clare.columns import MaskFake
from clare.pipeline.extraction.call import Place, read_call
from clare.pipeline.extraction.job import run_job
from clare.pipeline.extraction.loop import ExtractReport
from clare.pipeline.extraction.plan import Observer


def extract(
    store: Place = "features.zarr",
    *,
    real: Place | Sequence[Place] = (),
    fake: Place | Sequence[Place] | Mapping[str, Place] = (),
    masks: Place | Mapping[str, Place] | None = None,
    mask_fake: MaskFake | None = None,
    subset: str | Sequence[str] = (),
    protocol: str | None = None,
    manifest: Place | Sequence[Place] = (),
    manifests: Place = "data_manifests",
    root: Place | Mapping[str, Place] | None = None,
    reals: str | Sequence[str] | None = None,
    follow_links: Place | None = None,
    test_only: str | Sequence[str] = (),
    observer: Observer | None = None,
    cluster: str | None = None,
    **settings: Any,
) -> ExtractReport:
    """Extract features of images into a store, each image once; what is there is left alone.

    The images are those of plain folders, of subsets that have a manifest, or of a protocol::

        clare.extract("features.zarr", real="photos", fake={"sg3": "stylegan3"}, backbone="tiny")

    Args:
        store: the feature store, a folder or the URL of one in a bucket. Made if it is not there.
        real: folders of real images.
        fake: folders of generated images; a mapping names the subset of each.
        masks: folder of the fakes' masks, each of the path and name of its image, or NAME_mask; a
            mapping names the subset of each.
        mask_fake: what is fake in masks from a folder; white if None.
        subset: names of subsets whose manifests stand in ``manifests``; beside plain folders, the
            one name of all of them.
        protocol: ``NAME`` or ``NAME/KEY``: all that it trains and tests on.
        manifest: manifest files.
        manifests: folder that holds ``NAME.csv`` for a subset NAME.
        root: folder that the paths of manifests start at, or those by name; each may be the URL of
            one in a bucket.
        reals: subsets of reals to extract beside subsets of fakes alone, comma-separated or a
            list, ``"none"`` for no such; by default the registry's pools for their domains.
        follow_links: folder that links may lead into, out of their root.
        test_only: subsets of plain folders that are for tests alone, with all their images.
        observer: is told how it goes.
        cluster: Dask workers that do it: ``local:2``, the address of a scheduler, or a YAML file of
            SLURMCluster's settings; here if None.
        settings: fields of `ExtractSettings`, `ImageSettings` and, for plain folders,
            `FolderRules`: ``features``, ``preset``, ``backbone``, ``resize``, ``recode``,
            ``views``, ``video``, ``device`` and more; ``settings`` are those of extractors, as
            ``settings={"lare": {"draws": 8}}``.

    Returns:
        What was done, and which images failed and why.

    Raises:
        InputError: the images, a setting or the cluster are not usable.
        WeightsError: model weights are not on disk and can't be fetched.
        DiskSpaceError: the store's disk is too small; said before any model runs.
    """
    if cluster is not None:
        require_cluster(cluster)
    how, source = read_call(
        store,
        real=real,
        fake=fake,
        masks=masks,
        mask_fake=mask_fake,
        subset=subset,
        protocol=protocol,
        manifest=manifest,
        manifests=manifests,
        root=root,
        reals=reals,
        follow_links=follow_links,
        test_only=test_only,
        **settings,
    )
    watched = observer or Observer()
    if cluster is None:
        return run_job(how, source.select(watched), watched)
    from clare.pipeline.cluster.job import run_cluster_job

    return run_cluster_job(how, source.select(watched), cluster, watched)
