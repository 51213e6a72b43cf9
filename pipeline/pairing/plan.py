"""Which photographs pairs are made of, under which names, with which partners and splits."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from clare.advice import Run, Set
from clare.errors import InputError
from clare.groups import altered_video, full_name, image_of
from clare.pipeline.images.marks import parse_points
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.splits import assign_splits
from clare.pipeline.pair import PairKind
from clare.pipeline.pairing.files import PairRow
from clare.pipeline.pairing.settings import Coding
from clare.store.bucket.files import file_threads
from clare.store.bucket.objects import IN_FLIGHT

CANDIDATES = 16
"""Of which the partner is one."""

SAME_SOURCE = ("domain", "compression", "format", "width", "height", "split")
"""Columns in which two photographs agree that are blended: one source, and one split."""


@dataclass(frozen=True)
class Job:
    """A pair to be made.

    Args:
        sample: of the photograph.
        partner: of the other one; None where none is needed.
        base: of the files' names.
    """

    sample: Sample
    partner: Sample | None
    base: str


def choose_reals(manifest: Manifest) -> tuple[list[Sample], bool]:
    """The reals of a manifest, one row an image, each with a split, and whether these were dealt.

    Where no row has a split, they are dealt as for a new manifest.

    Raises:
        InputError: there are no reals.
    """
    reals = [
        sample
        for sample in manifest.samples
        if sample.label == 0
        and sample.status == "ok"
        and image_of(sample.sample_id) == sample.sample_id
    ]
    if not reals:
        raise InputError(f"{manifest.name} has no usable real images to make pairs of")
    if any(sample.split for sample in reals):
        return reals, False
    return list(assign_splits(reals)), True


def refuse_unusable(kind: PairKind, coding: Coding, name: str, reals: Sequence[Sample]) -> None:
    """Refuse what no row can give, before anything is read or written.

    Raises:
        InputError: no row says where a face is, or names a mask, or is a JPEG, and pairs need it.
    """
    if kind.needs_face and not any(s.boxes or s.face_points or s.landmark_path for s in reals):
        raise InputError(
            f"no real image of {name} has landmarks, the points or the box of a face, which "
            f"pairs of kind {kind.name} need",
            Run("faces", settings={"subset": name}, effect="finds them"),
        )
    if getattr(kind.settings, "region", "") == "mask" and not any(s.mask_path for s in reals):
        raise InputError(
            f"no real image of {name} names a mask in its column mask_path",
            Set(f"{kind.name}.region", "face", effect="takes the face"),
        )
    formats = {sample.format for sample in reals}
    if coding == "jpeg" and "" not in formats and "jpeg" not in formats:
        raise InputError(
            f"the images of {name} are {', '.join(sorted(formats))}, which record no JPEG quality",
            Set("coding", "png"),
        )


def plan_jobs(kind: PairKind, reals: Sequence[Sample], seed: int) -> tuple[list[Job], list[str]]:
    """The pairs that there are to be made, and the ids of reals that have no partner."""
    partners = find_partners(reals, seed) if kind.needs_partner else {}
    bases = _bases(reals)
    jobs, alone = [], []
    for sample, base in zip(reals, bases, strict=True):
        partner = partners.get(sample.sample_id)
        if kind.needs_partner and partner is None:
            alone.append(sample.sample_id)
        else:
            jobs.append(Job(sample, partner, base))
    return jobs, alone


def find_partners(reals: Sequence[Sample], seed: int) -> dict[str, Sample]:
    """For each real another person's photograph of the same source and split, as far as one is.

    They are of one domain, compression, format and size, as a camera's are, of no common video or
    identity. Of the next `CANDIDATES` by a seeded hash of the names it is the one whose face is
    turned most alike (Li et al. take the nearest landmarks), so that images that are added later
    change few partners.
    """
    sources: dict[tuple[object, ...], list[Sample]] = defaultdict(list)
    for sample in reals:
        if sample.boxes or sample.face_points or sample.landmark_path:
            sources[tuple(getattr(sample, name) for name in SAME_SOURCE)].append(sample)
    found: dict[str, Sample] = {}
    for some in sources.values():
        shapes = {sample.sample_id: _shape_of(sample) for sample in some}
        ring = sorted((_hash(f"{seed}\n{one.sample_id}"), one.sample_id, one) for one in some)
        hashes = [place for place, _, _ in ring]
        for sample in some:
            start = bisect_left(hashes, _hash(f"{seed}\npartner of {sample.sample_id}"))
            after = (ring[(start + step) % len(ring)][2] for step in range(len(ring)))
            others = list(islice((o for o in after if not _related(sample, o)), CANDIDATES))
            if others:
                alike = [_likeness(shapes[sample.sample_id], shapes[o.sample_id]) for o in others]
                found[sample.sample_id] = others[alike.index(max(alike))]
    return found


def _shape_of(sample: Sample) -> NDArray[np.complex128] | None:
    """The five points, wherever they are, however large and turned in the plane."""
    try:
        points = parse_points(sample.face_points) if sample.face_points else None
    except ValueError:
        return None  # making the pair names the reason
    if points is None:
        return None
    place = points[:, 0] + 1j * points[:, 1]
    place -= place.mean()
    length = np.linalg.norm(place)
    return place / length if length else None


def _likeness(one: NDArray[np.complex128] | None, other: NDArray[np.complex128] | None) -> float:
    """Cosine of Procrustes' distance of two shapes; -1 where one is not known."""
    return -1.0 if one is None or other is None else float(abs(np.vdot(one, other)))


def _related(one: Sample, other: Sample) -> bool:
    return not set(one.groups).isdisjoint(other.groups)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _bases(samples: Sequence[Sample]) -> list[str]:
    """Names of files, each another: the path without its ending, where that is one's own."""
    plain = [str(PurePosixPath(sample.path).with_suffix("")) for sample in samples]
    counts = Counter(name.casefold() for name in plain)
    return [
        name if counts[name.casefold()] == 1 else f"{name}-{_hash(sample.sample_id).hex()[:8]}"
        for name, sample in zip(plain, samples, strict=True)
    ]


def with_keys(jobs: Sequence[Job], roots: Roots) -> list[tuple[Job, str]]:
    """Jobs with hashes of what decides each: its files as they are, and the face's place.

    Raises:
        InputError: a root is not known.
        StoreError: a bucket can't be read.
    """
    with file_threads(IN_FLIGHT) as pool:
        return list(zip(jobs, pool.map(lambda job: _key(job, roots), jobs), strict=True))


def _key(job: Job, roots: Roots) -> str:
    told: list[object] = []
    for one in (job.sample, job.partner):
        if one is None:
            continue
        told += [one.sample_id, one.boxes, one.face_points, one.mask_fake]
        for path in (one.path, one.mask_path, one.landmark_path):
            told += [path, *_status(roots, one, path)] if path else [""]
    return hashlib.sha256(repr(told).encode(errors="surrogatepass")).hexdigest()


def _status(roots: Roots, sample: Sample, path: str) -> tuple[int, ...]:
    try:
        status = roots.resolve(sample, path).stat()
    except OSError:
        return ()  # reading names the reason
    return status.st_size, status.st_mtime_ns


def pair_samples(
    job: Job, row: PairRow, name: str, kind: str, coding: Coding
) -> tuple[Sample, Sample]:
    """The rows of both members: of one split, one identity and one ``pair_id``."""
    source = job.sample
    real_path, fake_path, mask_path = row.paths(coding)
    real = replace(
        source,
        sample_id=f"{name}/real/{row.base}",
        path=real_path,
        subset=name,
        root="",
        category="real",
        pair_id=full_name(source.subset, source.sample_id),
        pair_kind=kind,
        width=row.width,
        height=row.height,
        format=coding,
        bytes=row.real_bytes,
        sha256=row.real_sha256,
        mask_path="",
        mask_fake="",
        landmark_path="",
        boxes=row.boxes,
        face_points=row.points,
    )
    people = [source.source_ids, *([job.partner.source_ids] if job.partner else [])]
    fake = replace(
        real,
        sample_id=f"{name}/fake/{row.base}",
        path=fake_path,
        label=1,
        category="",
        created="",
        video_id=altered_video(source.video_id, kind),
        source_ids="|".join(dict.fromkeys(filter(None, people))),
        bytes=row.fake_bytes,
        sha256=row.fake_sha256,
        mask_path=mask_path,
    )
    return real, fake
