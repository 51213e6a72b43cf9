"""The contract of a way of tuning an image tower."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import ClassVar, Literal

import pytest
import torch

from clare.models import tuning
from clare.models.image_tower import Tower
from clare.models.runtime import Runtime
from clare.models.tiny import write_tiny_clip, write_tiny_tower
from clare.models.towers import ClipSettings, LoadedTower, TowerSettings, load_image_tower
from clare.models.tuned import Moving, Tuning, tune
from clare.testing.part import PartContract
from clare.testing.steps import take_steps

SIZE = 32

Kind = Literal["vit", "rn50", "timm", "pe", "dinov3"]


class TuningContract(PartContract):
    """What every way of tuning promises.

    Attributes:
        kinds: of towers that it has to work with: open_clip's transformer, its ResNet, its tower of
            timm; and of timm alone a Perception Encoder and a DINOv3.
    """

    package: ClassVar[ModuleType] = tuning
    base: ClassVar[type] = Tuning
    kinds: ClassVar[Sequence[Kind]] = ("vit",)

    @pytest.fixture
    def towers(self) -> list[LoadedTower]:
        """A small tower of each kind, with random weights; the same in all tests."""
        return [make_tower(kind) for kind in self.kinds]

    def tune(self, tower: LoadedTower) -> tuple[Tower, Moving]:
        """A copy of a tower that moves, every field of which is read."""
        torch.manual_seed(1)
        return tune(tower.module, self.find_name(), self.settings, [*see(tower, tower.module)])

    def test_a_tower_begins_as_it_was(self, towers: list[LoadedTower]) -> None:
        for tower in towers:
            own, _ = self.tune(tower)
            expected, found = see(tower, tower.module), see(tower, own)
            shapes = {name: value.shape for name, value in expected.items()}
            assert shapes == {name: value.shape for name, value in found.items()}
            for name, value in expected.items() if self.find().begins_as_it_was else ():
                torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5)

    def test_it_names_what_moves(self, towers: list[LoadedTower]) -> None:
        for tower in towers:
            own, moving = self.tune(tower)
            parameters = dict(own.named_parameters())
            assert moving.parameters and moving.told
            assert len(moving.names) == len(moving.parameters) + len(moving.statistics)
            assert set(moving.parameters) == {n for n, p in parameters.items() if p.requires_grad}
            assert set(moving.statistics) <= dict(own.named_buffers()).keys()
            assert self.tune(tower)[1] == moving, "the same for the same tower"

    def test_what_is_not_read_stays(self, towers: list[LoadedTower]) -> None:
        for tower in towers:
            for field in see(tower, tower.module):
                own, moving = tune(tower.module, self.find_name(), self.settings, [field])
                assert set(moving.parameters) <= set(own.read_by([field])), field

    def test_what_stays_is_shared_and_the_tower_itself_is_left_alone(
        self, towers: list[LoadedTower]
    ) -> None:
        for tower in towers:
            before = {name: value.clone() for name, value in tower.module.state_dict().items()}
            own, moving = self.tune(tower)
            theirs = {value.data_ptr() for value in tower.module.state_dict().values()}
            for name, value in own.state_dict().items():
                assert name in moving.names or value.data_ptr() in theirs, name
            take_steps(own, partial(_loss, tower, own))
            after = tower.module.state_dict()
            assert before.keys() == after.keys()
            assert all(torch.equal(after[name], value) for name, value in before.items())

    def test_steps_change_what_the_tower_gives(self, towers: list[LoadedTower]) -> None:
        for tower in towers:
            own, _ = self.tune(tower)
            before = see(tower, own)
            take_steps(own, partial(_loss, tower, own))
            after = see(tower, own)
            assert any(not torch.equal(value, before[name]) for name, value in after.items())


@cache
def make_tower(kind: Kind) -> LoadedTower:
    """A small tower with random weights; made once, since what tunes it leaves it alone."""
    settings: ClipSettings | TowerSettings
    with TemporaryDirectory() as folder:
        if kind == "pe" or kind == "dinov3":
            write_tiny_tower(Path(folder), kind)
            settings = TowerSettings(folder)
        else:
            sizes = {"vit": {"image_size": SIZE, "layers": 2}, "rn50": {"width": 4}, "timm": {}}
            write_tiny_clip(Path(folder), kind, sizes=sizes[kind])
            settings = ClipSettings(folder)
        return load_image_tower(settings, Runtime())


def see(tower: LoadedTower, module: Tower) -> dict[str, torch.Tensor]:
    """What a module makes of two random images of a tower's size, by field."""
    with torch.no_grad():
        return _fields(tower, module)


def _fields(tower: LoadedTower, module: Tower) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, tower.size, tower.size, generator=generator)
    found: dict[str, torch.Tensor] = module(images)
    return found


def _loss(tower: LoadedTower, module: Tower) -> torch.Tensor:
    parts = [value.square().mean() for value in _fields(tower, module).values()]
    return torch.stack(parts).sum()
