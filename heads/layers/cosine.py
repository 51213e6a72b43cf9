"""Directions and the cosines between them, in float32 or better."""

from __future__ import annotations

import torch
from torch.nn import functional


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors (..., D) of unit length; half precision becomes float32.

    A cosine is multiplied with 100 in CLIP, which would show the rounding of half precision.
    """
    return functional.normalize(
        vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1
    )


def cosines(vectors: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """Cosines (B, n) of vectors (B, D) with texts (B, n, D), or (1, n, D) for all alike."""
    return (unit(vectors)[:, None] * unit(texts)).sum(-1)
