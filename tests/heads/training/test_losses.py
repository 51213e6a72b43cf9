"""Losses against their definitions, written as loops over pairs; slerp against geometry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from clare.errors import InputError
from clare.heads.training.losses import (
    alignment,
    class_weights,
    cross_entropy,
    pair_ranking,
    slerp,
    slerp_within_class,
    uniformity,
)

labels_of_a_batch = st.lists(st.integers(0, 1), min_size=2, max_size=9).map(torch.tensor)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(size, seed=0):
    return torch.rand(2, size, generator=torch.Generator().manual_seed(seed))


def distances(vectors, labels=None):
    """Squared distances of all pairs i < j, of one class where labels are given."""
    unit = functional.normalize(vectors.double(), dim=1)
    return [
        float((unit[i] - unit[j]).square().sum())
        for j in range(len(unit))
        for i in range(j)
        if labels is None or labels[i] == labels[j]
    ]


def mean(values):
    return sum(values) / len(values) if values else 0.0


@given(labels=labels_of_a_batch, seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_alignment_is_the_mean_over_pairs_of_one_class(labels, seed):
    vectors = draw(len(labels), 5, seed=seed) * 7
    expected = mean(distances(vectors, labels))
    assert float(alignment(vectors, labels)) == pytest.approx(expected, abs=1e-5)


@given(size=st.integers(2, 9), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_uniformity_is_the_log_of_the_mean_potential(size, seed):
    vectors = draw(size, 5, seed=seed) * 7
    expected = math.log(mean([math.exp(-2 * d) for d in distances(vectors)]))
    assert float(uniformity(vectors)) == pytest.approx(expected, abs=1e-5)


@given(labels=labels_of_a_batch, groups=st.integers(1, 5), margin=st.floats(0, 3))
@settings(max_examples=40, deadline=None)
def test_the_pair_loss_is_the_mean_over_fakes_and_their_own_reals(labels, groups, margin):
    logits, group = draw(len(labels), 2) * 3, torch.arange(len(labels)) % groups
    fakes = [i for i in range(len(labels)) if labels[i] == 1]
    reals = [i for i in range(len(labels)) if labels[i] == 0]
    above = (logits[:, 1] - logits[:, 0]).tolist()
    expected = mean(
        [
            math.log1p(math.exp(margin - (above[fake] - above[real])))
            for fake in fakes
            for real in reals
            if group[fake] == group[real]
        ]
    )
    assert float(pair_ranking(logits, labels, group, margin)) == pytest.approx(expected, abs=1e-5)


def test_known_values():
    poles = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert float(alignment(poles, torch.tensor([1, 1]))) == pytest.approx(4)
    assert float(alignment(poles, torch.tensor([0, 1]))) == 0
    assert float(uniformity(poles)) == pytest.approx(-8)
    assert float(uniformity(poles[:1])) == 0
    assert float(alignment(poles[:1], torch.tensor([0]))) == 0


def test_low_precision_does_not_reach_the_pairs():
    vectors, labels = draw(6, 300), torch.tensor([0, 1, 0, 1, 0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(alignment(vectors, labels), alignment(vectors.clone(), labels))
        rough = alignment(vectors, labels), uniformity(vectors)
    assert rough == (alignment(vectors, labels), uniformity(vectors))


def test_class_weights_make_classes_count_alike():
    labels = torch.tensor([0, 0, 0, 1])
    weights = class_weights(labels)
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 2.0]))
    logits = draw(4, 2)
    per_row = functional.cross_entropy(logits, labels, reduction="none")
    balanced = (per_row[:3].mean() + per_row[3]) / 2
    torch.testing.assert_close(cross_entropy(logits, labels, weights), balanced)
    with pytest.raises(InputError, match="no real row"):
        class_weights(torch.tensor([1, 1]))
    with pytest.raises(InputError, match="no fake row"):
        class_weights(torch.tensor([0]))


def test_smoothing_spreads_a_share_of_the_target():
    logits, labels = draw(4, 2), torch.tensor([0, 1, 1, 0])
    targets = functional.one_hot(labels, 2) * 0.9 + 0.05
    expected = -(targets * torch.log_softmax(logits, 1)).sum(1).mean()
    torch.testing.assert_close(cross_entropy(logits, labels, smoothing=0.1), expected)


@given(share=st.floats(0, 1, width=32), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_slerp_walks_the_arc_at_constant_speed(share, seed):
    start, end = draw(1, 6, seed=seed) * 3, draw(1, 6, seed=seed + 1) * 5
    between = slerp(start, end, torch.tensor([share]))
    whole = torch.acos(functional.cosine_similarity(start, end))
    torch.testing.assert_close(between.norm(dim=1), torch.ones(1))
    for other, part in ((start, share), (end, 1 - share)):
        cosine = functional.cosine_similarity(between, other)
        torch.testing.assert_close(cosine, torch.cos(part * whole), atol=1e-5, rtol=0)


def test_slerp_to_itself_is_finite_even_in_bfloat16():
    vectors = draw(3, 8).bfloat16().requires_grad_()
    same = slerp(vectors, vectors, torch.rand(3).bfloat16())
    expected = functional.normalize(vectors.detach().float(), dim=1)
    torch.testing.assert_close(same.detach(), expected, atol=1e-3, rtol=0)
    same.sum().backward()
    assert vectors.grad is not None and vectors.grad.isfinite().all()


@given(labels=labels_of_a_batch, seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_partners_permute_each_class(labels, seed):
    numbers = uniform(len(labels), seed)
    numbers[1] = 1  # each row becomes its partner
    rows = torch.eye(len(labels))
    partner = slerp_within_class(rows, labels, numbers).argmax(1)
    assert sorted(partner.tolist()) == list(range(len(labels)))
    assert torch.equal(labels[partner], labels)


def test_of_a_class_with_one_image_in_a_batch_that_image_stays():
    vectors, labels = draw(5, 6), torch.tensor([0, 0, 1, 0, 0])
    mixed = slerp_within_class(vectors, labels, uniform(5, 3))
    own = functional.normalize(vectors, dim=1)
    torch.testing.assert_close(mixed[2], own[2], atol=1e-3, rtol=0)
    assert not torch.allclose(mixed[[0, 1, 3, 4]], own[[0, 1, 3, 4]], atol=1e-2)


def test_every_permutation_of_a_class_is_as_likely():
    labels = torch.tensor([1, 0, 1, 1])
    seen: dict[tuple[int, ...], int] = {}
    for seed in range(600):
        numbers = uniform(4, seed)
        numbers[1] = 1
        partner = slerp_within_class(torch.eye(4), labels, numbers).argmax(1)
        seen[tuple(partner.tolist())] = seen.get(tuple(partner.tolist()), 0) + 1
    assert len(seen) == 6 and min(seen.values()) > 60


def test_all_work_over_stacked_runs():
    labels = torch.tensor([0, 1, 1, 0, 1])
    weights = class_weights(labels)

    def loss(vectors, numbers):
        mixed = slerp_within_class(vectors, labels, numbers)
        entropy = cross_entropy(mixed[:, :2], labels, weights, 0.1)
        return entropy + alignment(mixed, labels) + uniformity(vectors)

    vectors, numbers = draw(3, 5, 4), torch.stack([uniform(5, seed) for seed in range(3)])
    stacked = torch.func.vmap(torch.func.grad(loss))(vectors, numbers)
    alone = [torch.func.grad(loss)(v, n) for v, n in zip(vectors, numbers, strict=True)]
    torch.testing.assert_close(stacked, torch.stack(alone))
