"""Reals and fakes ranked by a score once, for the AUC of many resamples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ranks:
    """Where fakes stand among reals; fakes of one score are a group.

    Args:
        ends: (G,) fakes up to the end of each group; None where each fake is a group by itself.
        above: (G,) reals that score higher than a group.
        beside: (G,) the same, with those that score the same.
    """

    ends: NDArray[np.int64] | None
    above: NDArray[np.int64]
    beside: NDArray[np.int64]

    @classmethod
    def of(cls, real: NDArray[np.float64], fake: NDArray[np.float64]) -> Ranks:
        """The ranks of scores, each in falling order."""
        ends = np.flatnonzero(np.append(fake[1:] != fake[:-1], True)[: len(fake)]) + 1
        above, beside = (
            np.searchsorted(-real, -fake[ends - 1], side) for side in ("left", "right")
        )
        return cls(None if len(ends) == len(fake) else ends, above, beside)

    def caught(self, fakes: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B, G) the weight of the fakes up to each group's end, from the `running` weights."""
        return fakes[:, 1:] if self.ends is None else fakes[:, self.ends]

    def wrong_pairs(
        self, reals: NDArray[np.float64], gained: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(B,) the weight of pairs whose real scores higher; a tie is half a pair.

        Args:
            reals: (B, R + 1) the `running` weights of the reals.
            gained: (B, G) the weight of each group.
        """
        beside = reals.take(self.beside, 1)
        tied = (self.above != self.beside).any()
        above = reals.take(self.above, 1) if tied else beside
        twice = np.einsum("ij,ij->i", gained, beside) + np.einsum("ij,ij->i", gained, above)
        wrong: NDArray[np.float64] = twice / 2
        return wrong


def running(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B, N + 1) the sum of the first 0 to N of (B, N) weights."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, 1, out=sums[:, 1:])
    return sums
