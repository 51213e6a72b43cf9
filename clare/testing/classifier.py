"""The contract of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import ClassVar

import pytest
import torch

from clare.errors import InputError
from clare.heads import classifiers
from clare.heads.base import Classifier
from clare.heads.text.tower import TEXT_TOWER, TextTower
from clare.testing.part import PartContract
from clare.testing.steps import is_drawn, take_steps

ROWS = 6


@cache
def make_text_tower() -> TextTower:
    """The frozen text tower of a small CLIP with random weights."""
    from clare.models.runtime import Runtime
    from clare.models.tiny import tiny_overrides
    from clare.pipeline.extractors import create_extractor
    from clare.pipeline.images.settings import ImageSettings

    with TemporaryDirectory() as folder:
        settings = tiny_overrides(Path(folder), ("clip",))["clip"]
        clip = create_extractor("clip", settings, ImageSettings(), Runtime())
        file = Path(folder) / TEXT_TOWER
        file.write_bytes(clip.assets()[TEXT_TOWER])
        return TextTower.load(file)


class ClassifierContract(PartContract):
    """What every classifier promises.

    Attributes:
        widths: lengths of vectors that it has to work with, beside that of CLIP's own.
    """

    package: ClassVar[ModuleType] = classifiers
    base: ClassVar[type] = Classifier
    widths: ClassVar[Sequence[int]] = (48, 1024)

    def make(self, width: int = 48, seed: int = 0) -> Classifier:
        """The classifier as it starts, over vectors of this length."""
        cls = self.find()
        text = make_text_tower() if cls.needs_text else None  # draws numbers where it is new
        torch.manual_seed(seed)
        made: Classifier = cls(self.build_settings(), width, text)
        return made

    def make_ready(self, width: int = 48, seed: int = 0) -> Classifier:
        """The classifier once it was given all training vectors and took a few steps, in eval."""
        made = self.make(width, seed).eval()
        generator = torch.Generator().manual_seed(1)
        vectors, labels = torch.randn(20, width, generator=generator), torch.arange(20) % 2
        made.fit(vectors, labels)
        take_steps(made, lambda: torch.nn.functional.cross_entropy(made(vectors), labels))
        return made

    def draw(self, width: int = 48) -> torch.Tensor:
        """Random vectors, the same at each call."""
        return torch.randn(ROWS, width, generator=torch.Generator().manual_seed(2))

    def test_two_finite_logits_an_image(self) -> None:
        for width in {*self.widths, make_text_tower().embed_dim}:
            logits = self.make_ready(width)(self.draw(width))
            assert logits.shape == (ROWS, 2) and logits.dtype == torch.float32, width
            assert logits.isfinite().all() and logits.std() > 0, width

    def test_a_row_depends_on_no_other(self) -> None:
        part, vectors = self.make_ready(), self.draw()
        one_by_one = torch.cat([part(vector[None]) for vector in vectors])
        torch.testing.assert_close(one_by_one, part(vectors), rtol=1e-4, atol=1e-4)

    def test_all_that_learns_gets_a_gradient_and_so_does_what_lies_below(self) -> None:
        part, vectors = self.make_ready(), self.draw().requires_grad_()
        loss = torch.nn.functional.cross_entropy(part(vectors), torch.arange(ROWS) % 2)
        loss.backward()
        learning = {"the vectors": vectors, **dict(part.named_parameters())}
        for name, leaf in learning.items():
            if leaf.requires_grad:
                assert leaf.grad is not None and leaf.grad.isfinite().all(), name
                assert leaf.grad.any(), name

    def test_what_is_saved_gives_the_same_logits(self) -> None:
        part, vectors = self.make_ready(), self.draw()
        fresh = self.make(seed=9).eval()
        fresh.load_state_dict({key: value.clone() for key, value in part.state_dict().items()})
        assert torch.equal(fresh(vectors), part(vectors))

    def test_the_frozen_text_tower_is_not_saved(self) -> None:
        part = self.make_ready()
        if part.needs_text:
            size = max(buffer.numel() for buffer in make_text_tower().buffers())
            large = [name for name, value in part.state_dict().items() if value.numel() == size]
            assert not large

    def test_the_seed_decides_where_it_starts(self) -> None:
        first, again, other = (list(self.make(seed=seed).parameters()) for seed in (3, 3, 4))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        if is_drawn(self.make()):
            assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))

    def test_bfloat16_stays_close(self) -> None:
        part, vectors = self.make_ready(), self.draw()
        expected = part(vectors)
        with torch.autocast("cpu", torch.bfloat16):
            found = part(vectors)
        assert (found - expected).abs().max() < 0.02 * expected.abs().max() + 0.01

    def test_it_says_whether_only_the_direction_counts(self) -> None:
        part, vectors = self.make_ready(), self.draw()
        same = torch.allclose(part(vectors), part(5 * vectors), rtol=1e-4, atol=1e-4)
        assert same == part.normalizes

    def test_it_asks_for_the_text_that_it_needs(self) -> None:
        cls = self.find()
        if cls.needs_text:
            with pytest.raises(InputError, match="text tower"):
                cls(self.build_settings(), 48, None)

    def test_prompts_that_it_learns_are_named_so(self) -> None:
        part = self.make()
        assert part.has_prompts == any(n.startswith("prompts.") for n, _ in part.named_parameters())
