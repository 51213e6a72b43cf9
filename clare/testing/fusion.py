"""The contract of a fusion."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

import pytest
import torch
from torch.nn import functional

from clare.heads import fusion
from clare.heads.base import Fusion, Inputs, Shapes
from clare.heads.config import DetectorConfig
from clare.heads.detector import Detector, load_detector, save_detector
from clare.testing.part import PartContract
from clare.testing.steps import is_drawn, take_steps

STEPS_32: Shapes = MappingProxyType({"lare_steps": (12, 2, 32, 32)})
STEPS_8: Shapes = MappingProxyType({"lare_steps": (12, 2, 8, 8)})
"""Three noise steps of four channels, with two draws each."""
VIT_L14: Shapes = MappingProxyType(
    {"cls": (768,), "tokens": (256, 1024), "lare": (4, 32, 32), **STEPS_32, "parts": (5, 4)}
)
VIT_B32: Shapes = MappingProxyType(
    {"cls": (512,), "tokens": (49, 768), "lare": (4, 32, 32), **STEPS_32, "parts": (5, 4)}
)
RN50: Shapes = MappingProxyType(
    {"cls": (1024,), "tokens": (196, 1024), "lare": (4, 32, 32), **STEPS_32, "parts": (5, 4)}
)
SMALL: Shapes = MappingProxyType(
    {"cls": (12,), "tokens": (16, 24), "lare": (4, 8, 8), **STEPS_8, "parts": (5, 4)}
)
ODD: Shapes = MappingProxyType(
    {"cls": (24,), "tokens": (9, 24), "lare": (4, 8, 8), **STEPS_8, "parts": (5, 4)}
)
"""A grid that LaRE's side is no multiple of, and a tower whose widths agree."""


def draw_boxes(rows: int, generator: torch.Generator, parts: int, _: int) -> torch.Tensor:
    """Boxes of random parts, (rows, parts, 4), a third of which are not there."""
    corners = torch.rand(rows, parts, 2, 2, generator=generator).sort(2)[0].flatten(2)
    return corners * (torch.rand(rows, parts, 1, generator=generator) > 1 / 3)


class FusionContract(PartContract):
    """What every fusion promises.

    Attributes:
        shapes: of one row's inputs by role, each a size that it has to work with.
        small: the shapes of all other tests.
    """

    package: ClassVar[ModuleType] = fusion
    base: ClassVar[type] = Fusion
    shapes: ClassVar[Sequence[Shapes]] = (SMALL, ODD, VIT_B32, RN50, VIT_L14)
    small: ClassVar[Shapes] = SMALL

    def make(self, shapes: Shapes | None = None, seed: int = 0) -> Fusion:
        """The fusion over inputs of these shapes."""
        torch.manual_seed(seed)
        made: Fusion = self.find()(self.build_settings(), shapes or self.small)
        return made

    def make_ready(self, seed: int = 0) -> Fusion:
        """The fusion once it took a few steps of training."""
        made, inputs = self.make(seed=seed), self.draw()
        take_steps(made, lambda: made(inputs).square().mean())
        return made

    def draw(self, rows: int = 3, shapes: Shapes | None = None) -> Inputs:
        """Random inputs of every role, the same at each call."""
        generator = torch.Generator().manual_seed(1)
        return {
            role: draw_boxes(rows, generator, *shape)
            if role == "parts"
            else torch.randn(rows, *shape, generator=generator)
            for role, shape in (shapes or self.small).items()
        }

    def test_its_vectors_have_the_width_that_it_says(self) -> None:
        for shapes in self.shapes:
            part = self.make(shapes).eval()
            vectors = part(self.draw(2, shapes))
            assert vectors.shape == (2, part.width), shapes
            assert vectors.dtype == torch.float32 and vectors.isfinite().all(), shapes

    def test_a_row_depends_on_no_other(self) -> None:
        part, inputs = self.make().eval(), self.draw()
        alone = part({role: values[1:2] for role, values in inputs.items()})
        torch.testing.assert_close(alone, part(inputs)[1:2])

    def test_it_reads_the_roles_that_it_names_and_no_other(self) -> None:
        part, inputs = self.make_ready().eval(), self.draw()
        assert part.roles, "it reads something"
        torch.testing.assert_close(part({role: inputs[role] for role in part.roles}), part(inputs))
        for role in part.roles:
            other = {**inputs, role: -2 * inputs[role]}
            assert not torch.allclose(part(inputs), part(other)), f"it reads {role}"

    def test_its_inputs_are_left_as_they_are(self) -> None:
        inputs, before = self.draw(), self.draw()
        self.make()(inputs)
        assert all(torch.equal(inputs[role], before[role]) for role in inputs)

    def test_all_that_learns_gets_a_gradient(self) -> None:
        part = self.make_ready()
        learning = {n: p for n, p in part.named_parameters() if p.requires_grad}
        if (loss := part(self.draw()).square().sum()).requires_grad:
            loss.backward()
        silent = [n for n, p in learning.items() if p.grad is None or not p.grad.any()]
        assert not silent, f"no gradient reaches {', '.join(silent)}"

    def test_a_seed_decides_weights_and_dropout(self) -> None:
        outputs = []
        for seed in (0, 0, 1):
            part = self.make_ready(seed)
            torch.manual_seed(5)
            outputs.append(part(self.draw()))
        assert torch.equal(outputs[0], outputs[1])
        if is_drawn(self.make()):
            assert not torch.allclose(outputs[0], outputs[2])

    def test_its_weights_move_to_another(self) -> None:
        one, two = self.make(seed=0).eval(), self.make(seed=1).eval()
        two.load_state_dict(one.state_dict())
        assert torch.equal(one(self.draw()), two(self.draw()))

    def test_bfloat16_stays_close(self) -> None:
        part = self.make().eval()
        exact = part(self.draw())
        with torch.autocast("cpu", torch.bfloat16):
            rough = part(self.draw())
        assert functional.cosine_similarity(exact, rough.float()).min() > 0.999

    def test_seeds_of_a_sweep_can_step_together(self) -> None:
        """Small runs without dropout are one stacked step: nothing may branch on values."""
        parts = [self.make(seed=seed).eval() for seed in range(2)]
        if not any(True for _ in parts[0].parameters()):
            return
        parameters, buffers = torch.func.stack_module_state(parts)
        inputs = self.draw()

        def run(weights: Any, other: Any) -> torch.Tensor:
            found: torch.Tensor = torch.func.functional_call(parts[0], (weights, other), (inputs,))
            return found

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an operation is slow when it is stacked
            stacked = torch.func.vmap(run)(parameters, buffers)
        torch.testing.assert_close(stacked, torch.stack([part(inputs) for part in parts]))

    def test_attention_is_a_share_of_every_patch(self) -> None:
        part, inputs = self.make().eval(), self.draw()
        shares = part.attention(inputs)
        if shares is None:
            return
        assert shares.shape == (3, self.small["tokens"][0]) and shares.min() >= 0
        torch.testing.assert_close(shares.sum(1), torch.ones(3))

    @pytest.mark.parametrize("classifier", ["linear", "knn"])
    def test_a_detector_with_it_is_saved_and_loaded(self, tmp_path: Path, classifier: str) -> None:
        lare = self.small["lare"]
        specs = {
            "clip_cls": self.small["cls"],
            "clip_tokens": self.small["tokens"],
            "lare": (3, 2, *lare),  # three timesteps, two draws
            "face_parts": self.small["parts"],
        }
        generator = torch.Generator().manual_seed(2)
        batch = {n: torch.randn(8, *shape, generator=generator) for n, shape in specs.items()}
        config = DetectorConfig(self.find_name(), classifier, fusion_settings=dict(self.settings))
        detector = Detector(config, specs)
        detector.fit_statistics([batch])
        with torch.no_grad():
            detector.classifier.fit(detector.vectors(batch), torch.arange(8) % 2)
        file = tmp_path / "detector.safetensors"
        save_detector(detector, file)
        expected = detector.eval().margins(batch)
        assert expected.shape == (8,) and expected.isfinite().all()
        assert torch.equal(load_detector(file).margins(batch), expected)
