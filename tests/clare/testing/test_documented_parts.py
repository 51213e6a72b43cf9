"""The parts that CONTRIBUTING.md shows keep the contracts that it shows with them."""

import re
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from clare.augmentation.dice import Dice
from clare.augmentation.recipe import find_recipe
from clare.plugins import trust
from clare.testing import (
    ClassifierContract,
    DecoderContract,
    ExtractorContract,
    FusionContract,
    TuningContract,
)
from tests.heads.checkpoints.published import imported, margins, one_extraction

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


class TestLastBlock(Documented, TuningContract):
    part = "last_block.py"


class TestMirrored(Documented):
    part = "mirrored.py"

    def test_it_draws_views(self):
        trust(self.part)
        recipe = find_recipe(self.part)
        views = [recipe.draw(Dice(bytes([seed])), (20, 20)) for seed in range(20)]
        assert {len(steps) for steps in views} == {1, 2}


class TestMine(Documented):
    part = "mine.py"

    def test_it_reads_the_checkpoint_that_it_describes(self, tmp_path):
        trust(self.part)
        torch.save({"w": torch.ones(2, 768), "b": torch.zeros(2)}, tmp_path / "theirs.pth")
        run = imported(
            tmp_path / "theirs.pth",
            one_extraction({"clip_cls": (768,)}),
            tmp_path / "run",
            format=self.part,
        )
        assert margins(run, {"clip_cls": torch.ones(1, 768)}).tolist() == [0.0]


def test_every_part_of_the_page_is_tested():
    parts = (
        *(TestFilm, TestMargin, TestRidge, TestLastBlock),
        *(TestColours, TestMirrored, TestMine),
    )
    assert set(PARTS) == {one.part for one in parts}
