"""What gives a label away is read the same from every row, and said to be removed by what does."""

import numpy as np

from clare.advice import Set
from clare.file_facts import DOMAIN, EXIF, FACTS, FORMAT, FRAMING, PIXELS, SIZE
from clare.pipeline.images.settings import ImageSettings

ROWS: list[dict] = [
    {"format": "png", "width": 40, "height": 20, "boxes": "0 0 20 20", "exif": True},
    {"format": "", "domain": "ff"},
]


def test_facts_are_read_from_columns_and_unknown_where_these_lack():
    assert FORMAT.values(ROWS).tolist() == ["png", ""]
    assert SIZE.values(ROWS).tolist() == ["40x20", ""]
    assert DOMAIN.values(ROWS).tolist() == ["", "ff"]
    assert EXIF.values(ROWS).tolist() == ["True", ""]
    np.testing.assert_array_equal(PIXELS.values(ROWS), [800, np.nan])
    np.testing.assert_array_equal(FRAMING.values(ROWS), [0.5, np.nan])


def test_the_advised_preparation_removes_its_facts_and_no_others():
    def removed(**settings) -> set[str]:
        images = ImageSettings(**settings).to_json()
        return {name for name, fact in FACTS.items() if fact.removed_by(images)}

    assert removed() == {"exif"}
    assert removed(resize=96) == {"exif", "size", "pixels"}
    assert removed(recode="webp:80") == {"exif", "format", "tables"}
    assert removed(crop="boxes") == {"exif", "framing"}
    for fact in FACTS.values():
        if isinstance(fact.advice, Set):
            assert fact.name in removed(**{fact.advice.name: fact.advice.value})
