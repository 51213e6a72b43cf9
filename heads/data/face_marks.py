"""Whether knowing where a face is tells the label: a head that reads its parts would learn that."""

from __future__ import annotations

import numpy as np

from clare.advice import Name, Notice, Run
from clare.errors import InputError
from clare.store.rows import Rows

APART = 0.05
"""By how much the shares of reals and of fakes with a known face may differ unsaid."""


def marks_tell(rows: Rows) -> list[Notice]:
    """What is to be said of training rows whose parts of a face are read.

    Args:
        rows: n of them; their manifests say where the face is, or leave it empty.

    Raises:
        InputError: faces are known of one class alone.
    """
    labels = rows.column("label")
    known = np.zeros(len(rows), bool)
    for name in ("face_points", "boxes"):
        known |= np.array([bool(value) for value in rows.column(name).tolist()], bool)
    shares = [float(known[labels == label].mean()) for label in (0, 1) if label in labels]
    if len(shares) < 2 or abs(shares[1] - shares[0]) <= APART:
        return []
    real, fake = shares
    auc = 0.5 + abs(fake - real) / 2
    told = (
        f"where the face is is known of {real:.0%} of the reals and "
        f"{fake:.0%} of the fakes in training, which alone tells them apart (AUC {auc:.2f})"
    )
    find = Run("faces", effect="finds faces of all of them alike")
    if 0 in shares:
        raise InputError(
            f"{told}: a head that reads the parts of faces would learn that",
            find,
            Name("a fusion that does not read them", "fusion"),
        )
    return [Notice(told, find)]
