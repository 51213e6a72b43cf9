"""Facts of files that alone tell the classes apart: said wherever images are listed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from clare.advice import Notice
from clare.file_facts import FORMAT, SIZE
from clare.pipeline.manifests.sample import Sample
from clare.wording import name_rows

Values = Mapping[str, Collection[str]]
"""What the files of one label are: the values of each fact, by its name."""


def values_of(samples: Iterable[Sample]) -> dict[str, set[str]]:
    """The values of each fact that sound files may give away."""
    found: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.status != "ok":
            continue
        columns = sample.facts
        for fact in (FORMAT, SIZE):
            if fact.read and (value := fact.read(columns)):
                found[fact.name].add(value)
    return found


def shortcuts_between(
    reals: Values, fakes: Values, images: Mapping[str, Any] | None = None
) -> list[Notice]:
    """One for each fact that alone tells fakes from the reals beside them, and stays so.

    Args:
        reals: values of the reals.
        fakes: values of the fakes.
        images: how they will be prepared; what that makes the same for all is no shortcut.
    """
    notices = []
    for fact in (FORMAT, SIZE):
        real, fake = set(reals.get(fact.name, ())), set(fakes.get(fact.name, ()))
        removed = images is not None and fact.removed_by(images)
        if real and fake and not real & fake and not removed:
            what = f"{fact.title} alone tells real ({name_rows(sorted(real))}) from fake"
            notices.append(Notice(f"{what} ({name_rows(sorted(fake))})", fact.advice))
    return notices


def shortcuts_of(
    samples: Iterable[Sample], images: Mapping[str, Any] | None = None
) -> list[Notice]:
    """The same over all samples of one experiment."""
    both: tuple[list[Sample], list[Sample]] = ([], [])
    for sample in samples:
        both[sample.label].append(sample)
    return shortcuts_between(values_of(both[0]), values_of(both[1]), images)
