"""The contract of a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import ClassVar

import torch
from torch.nn import functional

from clare.heads import decoders
from clare.heads.base import MAP, Decoder, Inputs, Shapes
from clare.heads.config import DetectorConfig
from clare.heads.detector import load_detector, save_detector
from clare.heads.localizer import Localizer
from clare.testing.part import PartContract
from clare.testing.steps import is_drawn, take_steps

VIT_L14: Shapes = MappingProxyType({"tokens": (256, 1024)})
RN50: Shapes = MappingProxyType({"tokens": (196, 1024)})
FOUR: Shapes = MappingProxyType({"tokens": (16, 32)})
"""A grid of 4 x 4."""
JOINED: Shapes = MappingProxyType({"tokens": (16, 32), "tokens_2": (9, 28), "lare": (4, 8, 8)})
LARE: Shapes = MappingProxyType({"lare": (4, 8, 8)})


class DecoderContract(PartContract):
    """What every decoder promises.

    Attributes:
        shapes: of one row's inputs by role, each a set that it has to work with.
        large: sizes of real towers, that it is built for but not run with.
        small: the shapes of all other tests.
    """

    package: ClassVar[ModuleType] = decoders
    base: ClassVar[type] = Decoder
    shapes: ClassVar[Sequence[Shapes]] = (FOUR, JOINED, LARE)
    large: ClassVar[Sequence[Shapes]] = (VIT_L14, RN50)
    small: ClassVar[Shapes] = FOUR

    def make(self, shapes: Shapes | None = None, seed: int = 0) -> Decoder:
        """The decoder over inputs of these shapes."""
        torch.manual_seed(seed)
        made: Decoder = self.find()(self.build_settings(), shapes or self.small)
        return made

    def make_ready(self, seed: int = 0) -> Decoder:
        """The decoder once it took a few steps of training."""
        made, inputs = self.make(seed=seed), self.draw()
        take_steps(made, lambda: made(inputs).square().mean())
        return made

    def draw(self, rows: int = 2, shapes: Shapes | None = None) -> Inputs:
        """Random inputs of every role, the same at each call."""
        generator = torch.Generator().manual_seed(1)
        return {
            role: torch.randn(rows, *shape, generator=generator)
            for role, shape in (shapes or self.small).items()
        }

    def test_its_map_has_a_logit_a_pixel(self) -> None:
        for shapes in self.shapes:
            with torch.no_grad():
                maps = self.make(shapes).eval()(self.draw(2, shapes))
            assert maps.shape == (2, MAP, MAP), shapes
            assert maps.dtype == torch.float32 and maps.isfinite().all(), shapes

    def test_it_is_made_for_towers_of_full_size(self) -> None:
        for shapes in self.large:
            with torch.device("meta"):
                part = self.make(shapes)
                inputs = {role: torch.empty(2, *shape) for role, shape in shapes.items()}
                assert part(inputs).shape == (2, MAP, MAP), shapes

    def test_a_row_depends_on_no_other(self) -> None:
        part, inputs = self.make().eval(), self.draw()
        with torch.no_grad():
            alone = part({role: values[1:2] for role, values in inputs.items()})
            torch.testing.assert_close(alone, part(inputs)[1:2])

    def test_it_reads_every_input(self) -> None:
        for shapes in self.shapes:
            part, inputs = self.make(shapes).eval(), self.draw(2, shapes)
            with torch.no_grad():
                maps = part(inputs)
                for role in shapes:
                    other = {**inputs, role: -2 * inputs[role]}
                    assert not torch.equal(maps, part(other)), f"it reads {role}"

    def test_its_inputs_are_left_as_they_are(self) -> None:
        inputs, before = self.draw(), self.draw()
        self.make()(inputs)
        assert all(torch.equal(inputs[role], before[role]) for role in inputs)

    def test_all_that_learns_gets_a_gradient(self) -> None:
        part = self.make_ready()
        learning = {n: p for n, p in part.named_parameters() if p.requires_grad}
        part(self.draw()).square().sum().backward()
        silent = [n for n, p in learning.items() if p.grad is None or not p.grad.any()]
        assert not silent, f"no gradient reaches {', '.join(silent)}"

    def test_a_seed_decides_its_weights(self) -> None:
        inputs = self.draw()
        with torch.no_grad():
            maps = [self.make(seed=seed).eval()(inputs) for seed in (0, 0, 1)]
        assert torch.equal(maps[0], maps[1])
        if is_drawn(self.make()):
            assert not torch.equal(maps[0], maps[2])

    def test_bfloat16_stays_close(self) -> None:
        part, inputs = self.make().eval(), self.draw()
        with torch.no_grad():
            exact = part(inputs).flatten(1)
            with torch.autocast("cpu", torch.bfloat16):
                rough = part(inputs).flatten(1).float()
        assert functional.cosine_similarity(exact, rough).min() > 0.99

    def test_a_localiser_with_it_is_saved_and_loaded(self, tmp_path: Path) -> None:
        specs = {"clip_tokens": self.small["tokens"], "mask": (8, 8)}
        generator = torch.Generator().manual_seed(2)
        tokens = torch.randn(2, *specs["clip_tokens"], generator=generator)
        batch = {"clip_tokens": tokens}
        config = DetectorConfig(decoder=self.find_name(), decoder_settings=dict(self.settings))
        localizer = Localizer(config, specs)
        localizer.fit_statistics([batch])
        file = tmp_path / "localizer.safetensors"
        save_detector(localizer, file)
        with torch.no_grad():
            expected = localizer.eval().margins(batch)
            assert expected.shape == (2,) and expected.isfinite().all()
            assert torch.equal(load_detector(file).margins(batch), expected)
