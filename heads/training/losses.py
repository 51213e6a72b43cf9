"""What training lowers, and how it mixes images of one class; pure functions of tensors.

All run in float32 whatever autocast says, need no host synchronisation, and work under
`torch.func.vmap`.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from clare.errors import InputError

SHARPNESS = 2.0
"""t of the uniformity loss, as published by GenD."""

_LEAST_POTENTIAL = 1e-6
_LARGEST_COSINE = 1 - 1e-7


def class_weights(labels: torch.Tensor) -> torch.Tensor:
    """Weights that make both classes count alike, mean one over the rows.

    Args:
        labels: (N,) of 0 and 1, those of all training rows.

    Returns:
        (2,) float32, N / (2 N_class).

    Raises:
        InputError: a class is missing.
    """
    counts = torch.bincount(labels.long(), minlength=2)
    if not counts.all():
        missing = "real" if counts[0] == 0 else "fake"
        raise InputError(f"classes can't be balanced: there is no {missing} row to train on")
    return (len(labels) / (2 * counts)).float()


def cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor | None = None,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Mean cross entropy, as `torch.nn.functional.cross_entropy` defines it.

    Args:
        logits: (B, 2).
        labels: (B,) of 0 and 1.
        weights: (2,), of `class_weights`; all count alike if left out.
        smoothing: share of the target that is spread over both classes.
    """
    return functional.cross_entropy(
        logits.float(), labels, weight=weights, label_smoothing=smoothing
    )


def alignment(vectors: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean squared distance between the directions of all pairs of one class.

    GenD (arXiv 2508.06248), after Wang and Isola 2020: pairs of both classes share one mean.

    Args:
        vectors: (B, D), of any length.
        labels: (B,).

    Returns:
        A scalar from 0 to 4; 0 if no two rows share a class.
    """
    alike = _pairs(labels[:, None] == labels[None, :])
    return (_squared_distances(vectors) * alike).sum() / alike.sum().clamp(min=1)


def uniformity(vectors: torch.Tensor) -> torch.Tensor:
    """Logarithm of the mean Gaussian potential over all pairs of directions, labels aside.

    GenD (arXiv 2508.06248), after Wang and Isola 2020.

    Args:
        vectors: (B, D), of any length.

    Returns:
        A scalar, at most 0; 0 for a batch of one.
    """
    size = len(vectors)
    if size < 2:
        return vectors.float().sum() * 0
    pairs = _pairs(torch.ones(size, size, device=vectors.device))
    potentials = torch.exp(-SHARPNESS * _squared_distances(vectors)) * pairs
    return (potentials.sum() * (2 / (size * (size - 1)))).clamp(min=_LEAST_POTENTIAL).log()


def pair_ranking(
    logits: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor, margin: float = 1.0
) -> torch.Tensor:
    """Mean over pairs of log(1 + exp(margin - (m_fake - m_real))), m being a row's margin.

    The loss of RankNet (Burges et al., "Learning to Rank using Gradient Descent", ICML 2005) of a
    fake and its own real, with a margin.

    Args:
        logits: (B, 2); m is the second less the first.
        labels: (B,) of 0 and 1.
        groups: (B,) equal for rows of one pair: each fake among them is held against each real.
        margin: how far above its real's a fake's margin has to lie.

    Returns:
        A scalar; 0 if no real stands beside its fake.
    """
    margins = logits.float().diff(dim=-1)[:, 0]
    is_pair = (groups[:, None] == groups) & (labels[:, None] > labels)
    losses = functional.softplus(margin - (margins[:, None] - margins))
    return (losses * is_pair).sum() / is_pair.sum().clamp(min=1)


def slerp(start: torch.Tensor, end: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Spherical interpolation between the directions of two vectors.

    Args:
        start: (..., D).
        end: (..., D).
        share: (...), 0 at the start and 1 at the end.

    Returns:
        (..., D) float32, of unit length.
    """
    start = functional.normalize(start.float(), dim=-1)
    end = functional.normalize(end.float(), dim=-1)
    # In bfloat16 the bound would be 1, the angle 0 and the quotient 0/0.
    cosine = (start * end).sum(-1).clamp(-_LARGEST_COSINE, _LARGEST_COSINE)
    angle, share = torch.acos(cosine), share.float()
    first = torch.sin((1 - share) * angle) / torch.sin(angle)
    second = torch.sin(share * angle) / torch.sin(angle)
    return first[..., None] * start + second[..., None] * end


def slerp_within_class(
    vectors: torch.Tensor, labels: torch.Tensor, uniform: torch.Tensor
) -> torch.Tensor:
    """Replace every vector by one on the arc to another of its class.

    Partners are a random permutation within the class (a row may meet itself), with one share a
    row, as in yermandy/deepfake-detection. The batch keeps its size and its labels.

    Args:
        vectors: (B, D), of any length.
        labels: (B,) of 0 and 1.
        uniform: (2, B) random numbers in [0, 1): the first row orders the partners, the second
            holds the shares. They are given, so that each run of a sweep keeps its own.

    Returns:
        (B, D) float32, of unit length.
    """
    # Sorted by class both ways, once in the batch's order and once in random order: equal places
    # hold rows of one class.
    own = torch.argsort(labels, stable=True)
    other = torch.argsort(labels * 2 + uniform[0])
    partner = torch.empty_like(own).scatter(0, own, other)
    return slerp(vectors, vectors[partner], uniform[1])


def _pairs(mask: torch.Tensor) -> torch.Tensor:
    """The mask above the diagonal, as float32: each pair once."""
    return torch.triu(mask.float(), diagonal=1)


def _squared_distances(vectors: torch.Tensor) -> torch.Tensor:
    """(B, B) between directions, by 2 - 2 cos."""
    with torch.autocast(vectors.device.type, enabled=False):
        directions = functional.normalize(vectors.float(), dim=-1)
        return (2 - 2 * directions @ directions.mT).clamp(min=0)
