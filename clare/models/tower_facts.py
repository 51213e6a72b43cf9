"""What is known of image towers, beside what their architectures cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clare.models.cost import count_tower
from clare.models.known import NOT_SAID, find_family

UNKNOWN = "not known"


@dataclass(frozen=True)
class TowerFacts:
    """What is known of a tower.

    Args:
        read_by: the extractor that reads it.
        side: of its images, in pixels.
        gflop: of one image, operations in units of 1e9.
        parameters: of the image side alone.
        licence: of the weights.
        crawl: when the images that it was trained on were collected.
        public: month in which it or its data was described in public; empty where unknown.
        trained_on: in words.
        source: where this is read.
    """

    read_by: str
    side: int
    gflop: float
    parameters: int
    licence: str = UNKNOWN
    crawl: str = NOT_SAID
    public: str = ""
    trained_on: str = UNKNOWN
    source: str = ""


def tower_facts(models: Sequence[str]) -> dict[str, TowerFacts]:
    """The facts of towers by ``MODEL:TAG``; sizes are counted from the architecture.

    Raises:
        InputError: there is no such model.
    """
    found = {}
    for model in models:
        cost, family = count_tower(model), find_family(model)
        size = (cost.read_by, cost.side, cost.operations / 1e9, cost.parameters)
        found[model] = (
            TowerFacts(*size)
            if family is None
            else TowerFacts(
                *size,
                family.licence,
                family.crawl_text,
                family.public,
                family.trained_on,
                family.source,
            )
        )
    return found
