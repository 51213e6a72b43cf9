"""The parts that CONTRIBUTING.md shows keep the contracts that it shows with them."""

import re
from pathlib import Path
from typing import ClassVar

import pytest

from clare.testing import (
    ClassifierContract,
    DecoderContract,
    ExtractorContract,
    FusionContract,
)

PAGE = Path(__file__).parents[3] / "CONTRIBUTING.md"
PARTS = dict(
    re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
)


class Documented:
    part: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _write(self, tmp_path, monkeypatch):
        file = tmp_path / self.part
        file.write_text(PARTS[self.part], "utf-8")
        monkeypatch.setattr(type(self), "part", str(file))


class TestFilm(Documented, FusionContract):
    part = "film.py"


class TestMargin(Documented, ClassifierContract):
    part = "margin.py"


class TestRidge(Documented, DecoderContract):
    part = "ridge.py"


class TestColours(Documented, ExtractorContract):
    part, settings = "colours.py", {"size": 4}


def test_every_part_of_the_page_is_tested():
    assert set(PARTS) == {TestFilm.part, TestMargin.part, TestRidge.part, TestColours.part}
