"""The miniature as a data set on disk: pictures, masks, and a manifest a subset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from clare.advice import Name
from clare.errors import InputError
from clare.models.mini import SIZE, WEIGHTS
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.manifests.csv_io import write_manifest
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.synthetic.faces import FIRST_TRAINING_IDENTITY, Faces, list_faces
from clare.pipeline.synthetic.fakes import KINDS, PAINTED, Drawn, create_kind, draw_reals
from clare.pipeline.synthetic.painting import locate
from clare.wording import listed

REALS = "reals"
"""Name of the pool of reals."""

CATEGORIES = {
    "sampled": "EFS",
    "unseen": "EFS",
    "gaussian": "EFS",
    "image30": "FE",
    "image60": "FE",
    "roundtrip": "FR",
    "swap": "FS",
    "local": "FR",
    "inpaint": "FE",
}
"""Kind to the manifests' column ``category``."""

_CYCLE = ("train",) * 7 + ("val",) + ("test",) * 2
"""Splits of people, by the last digit of their number."""


def write_miniature(
    folder: Path,
    count: int,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    models: Path = WEIGHTS,
    progress: Callable[[str, int], None] | None = None,
    marks: bool = False,
) -> list[Path]:
    """Draw a pool of reals and some kinds of fakes of the same people, split by person.

    Args:
        folder: gets ``SUBSET/*.jpg``, ``masks/`` and ``manifests/SUBSET.csv``.
        count: pictures of each subset, a person each.
        kinds: of fakes; each is a subset.
        seed: other seeds give other people.
        models: folder of the models that make fakes.
        progress: called with each subset's name and its pictures, once they are written.
        marks: whether the manifests say where faces are: of reals, and of fakes whose faces are
            where they were painted.

    Returns:
        The manifests.

    Raises:
        InputError: there is no such kind, too few pictures, people that the models have seen,
            or marks are asked for of kinds that have none: having them would tell the label.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise InputError(f"there is no kind {unknown[0]!r} of fakes: take {', '.join(KINDS)}")
    if marks and (bare := sorted(set(kinds) - set(PAINTED))):
        raise InputError(
            f"nobody knows where the faces of {listed(bare)} are, and marks of the others would "
            "tell the label",
            Name(f"kinds that have marks ({', '.join(PAINTED)})", "kinds"),
            "draw no marks",
        )
    if count < 2 * len(_CYCLE):
        raise InputError(f"the miniature needs {2 * len(_CYCLE)} pictures of a kind or more")
    people = seed * 100_000 + np.arange(count)
    if seed < 0 or people[-1] >= FIRST_TRAINING_IDENTITY:
        raise InputError(
            "the miniature's models were trained on the people that this seed and count reach: "
            "use a seed from 0 to 9 and fewer than 100,000 pictures"
        )
    faces = list_faces(people, np.zeros(count, np.int64))
    written = []
    for name in (REALS, *kinds):
        draw = draw_reals if name == REALS else create_kind(name, models)
        drawn = draw(faces, seed)
        known = locate(drawn.seen) if marks and drawn.seen is not None else None
        written.append(_write(folder, name, faces, drawn, known))
        if progress is not None:
            progress(name, count)
    return written


def split_of(identity: int) -> str:
    """The split of a person, the same in every subset."""
    return _CYCLE[identity % len(_CYCLE)]


def _write(
    folder: Path, name: str, faces: Faces, drawn: Drawn, known: Sequence[FaceMarks] | None
) -> Path:
    from PIL import Image

    (folder / name).mkdir(parents=True, exist_ok=True)
    samples = []
    marks = [FaceMarks()] * len(faces) if known is None else known
    for row, (identity, file) in enumerate(zip(faces.identity.tolist(), drawn.files, strict=True)):
        path = f"{name}/{identity:06d}.jpg"
        (folder / path).write_bytes(file)
        mask = ""
        if drawn.masks is not None:
            mask = f"masks/{name}/{identity:06d}.png"
            (folder / mask).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.masks[row].astype(np.uint8) * 255).save(folder / mask)
        ids = [identity] if drawn.others is None else [identity, int(drawn.others[row])]
        samples.append(
            Sample(
                sample_id=f"{name}/{identity:06d}",
                path=path,
                label=int(name != REALS),
                subset=name,
                category=CATEGORIES.get(name, "real"),
                domain="mini",
                split=split_of(identity),
                source_ids="|".join(f"mini:{one}" for one in ids),
                pair_id=f"{REALS}/{identity:06d}" if drawn.paired else "",
                width=SIZE,
                height=SIZE,
                format="jpeg",
                bytes=len(file),
                sha256=hashlib.sha256(file).hexdigest(),
                mask_path=mask,
                boxes=marks[row].boxes,
                face_points=marks[row].points,
            )
        )
    manifest = folder / "manifests" / f"{name}.csv"
    manifest.parent.mkdir(exist_ok=True)
    write_manifest(Manifest(name, tuple(samples)), manifest)
    return manifest
