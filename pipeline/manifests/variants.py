"""Deliveries of a subset's images as rows of a manifest of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from clare.augmentation.deliveries import Delivery, DeliverySet
from clare.errors import InputError
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.wording import listed

SUFFIX = "_variants"
"""What the name of such a manifest ends in, unless it is given."""


def join_sets(sets: Iterable[DeliverySet]) -> list[Delivery]:
    """The deliveries of several sets, each once.

    Raises:
        InputError: one name stands for different steps.
    """
    found: dict[str, Delivery] = {}
    for one in (delivery for several in sets for delivery in several):
        if found.setdefault(one.name, one) != one:
            raise InputError(
                f"delivery {one.name} is {found[one.name].text!r} in one set and {one.text!r} in "
                "another",
                "rename one of them",
            )
    return list(found.values())


def make_variants(
    manifest: Manifest, deliveries: Iterable[Delivery], *, split: str = "test", name: str = ""
) -> Manifest:
    """A row for each image of a split and each delivery, of the same file.

    Both labels are delivered alike. A row keeps all that its image's row says, and names that row
    in ``parent_id`` and ``parent_subset``, so that it stays in its split and with its ties.

    Args:
        manifest: of the images.
        deliveries: what is done to each of them.
        split: whose images are taken.
        name: of the new manifest; that of the images and `SUFFIX` if empty.

    Raises:
        InputError: the split has no images, or the manifest is one of deliveries.
    """
    name = name or f"{manifest.name}{SUFFIX}"
    if any(sample.delivery for sample in manifest.samples):
        raise InputError(f"{manifest.name} holds deliveries, which are not delivered once more")
    chosen = [sample for sample in manifest.samples if sample.split == split]
    if not chosen:
        splits = Counter(sample.split or "no split" for sample in manifest.samples)
        there = listed(f"{count:,} in {one}" for one, count in sorted(splits.items()))
        raise InputError(f"{manifest.name} has no images in split {split}: it has {there}")
    each = list(deliveries)
    return Manifest(name, tuple(_deliver(sample, one, name) for sample in chosen for one in each))


def _deliver(sample: Sample, delivery: Delivery, subset: str) -> Sample:
    return replace(
        sample,
        sample_id=f"{sample.sample_id}#{delivery.name}",
        subset=subset,
        delivery=delivery.name,
        delivery_steps=delivery.text,
        parent_id=sample.sample_id,
        parent_subset=sample.subset,
    )
