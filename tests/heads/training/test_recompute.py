"""Blocks that are computed once more in the backward pass: less is kept, nothing else changes."""

import pytest
import torch

from clare.heads.config import create_config
from tests.heads.tuned_runs import LARE2, LN, fresh, steps_of

BATCHNORM = create_config({"tune_settings": {"batchnorm": "train"}}, LARE2)
WAYS = [
    ("vit", LN),
    *(("vit", create_config({"tune": way}, LN)) for way in ("adapter", "visual-prompts", "full")),
    ("rn50", LARE2),
    ("rn50", BATCHNORM),
    ("convnext", create_config({"tune": "full"}, LN)),
]


def kept_bytes(detector, batch):
    """What the tower's pass keeps for the backward pass."""
    kept = {}

    def keep(tensor):
        kept[id(tensor)] = tensor
        return tensor

    detector.train()
    inputs = {name: value[:8] for name, value in batch.items()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        vectors = detector.vectors(inputs)
    assert vectors.requires_grad
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values())


@pytest.mark.parametrize(("kind", "config"), WAYS)
def test_less_is_kept(stores, kind, config):
    plain, batch, _ = fresh(stores(kind), config)
    again, *_ = fresh(stores(kind), config)
    again.fusion.recompute()
    assert kept_bytes(again, batch) < 0.8 * kept_bytes(plain, batch)


@pytest.mark.parametrize(("kind", "config"), WAYS)
def test_steps_and_statistics_are_the_same(stores, kind, config):
    (plain, batch, labels), (again, *_) = (fresh(stores(kind), config) for _ in range(2))
    again.fusion.recompute()
    expected, learnt = steps_of(plain, config, batch, labels, 4)
    found, other = steps_of(again, config, batch, labels, 4)
    assert found == pytest.approx(expected, abs=1e-5)
    assert expected[-1] != expected[0]
    own, others = learnt.fusion.tower.state_dict(), other.fusion.tower.state_dict()
    for name in own.keys() & others.keys():
        torch.testing.assert_close(others[name], own[name], atol=1e-4, rtol=1e-3)
