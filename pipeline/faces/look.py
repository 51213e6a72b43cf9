"""Look for the face in every image of a manifest, and write into the manifest where it is."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clare.advice import Set
from clare.errors import ImageError, ManifestError
from clare.groups import FURTHER_FACE, image_of
from clare.pipeline.faces.face import Face
from clare.pipeline.faces.finder import NONE_FOUND, FaceFinder, is_sure, marks_of, ordered
from clare.pipeline.faces.memory import Finding, Key, Memory
from clare.pipeline.faces.settings import FaceSettings
from clare.pipeline.images.decode import MissingDecoderError, decode_rgb, read_content
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.progress import Progress
from clare.store.bucket.files import file_threads
from clare.store.bucket.objects import IN_FLIGHT
from clare.wording import name_rows

MEMORY = ".faces.jsonl"
"""Ending of the file beside a manifest that holds what was found."""


@dataclass
class FaceReport:
    """What was found in the images of a manifest.

    Args:
        manifest: its file.
        images: files that it lists.
        known: of them, those that an earlier run had looked at.
        one: images with one face.
        several: images with more.
        missing: why no face is known of a row, by ``sample_id``.
        unreadable: rows of them whose file could not be decoded.
        turned: images by how many degrees their face is turned, those that are.
        rows: that the manifest has now.
        further: of them, those of further faces.
        further_fakes: of these, those that are fake because their image is.
        gone: rows of further faces that an earlier run made and this one does not.
    """

    manifest: Path
    images: int = 0
    known: int = 0
    one: int = 0
    several: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0
    turned: Counter[int] = field(default_factory=Counter)
    rows: int = 0
    further: int = 0
    further_fakes: int = 0
    gone: int = 0


def look_for_faces(
    path: Path,
    roots: Roots,
    settings: FaceSettings,
    *,
    all_faces: bool = False,
    replace_boxes: bool = False,
    progress: Progress | None = None,
) -> FaceReport:
    """Fill the columns of a manifest that say where faces are.

    No row of an image is dropped: one without a face says why in ``no_face``. Rows of further faces
    are made anew from it, and are there only where they are asked for. What was found is kept
    beside the manifest as it goes, so that a second run looks at new and changed files alone.

    Args:
        path: of the manifest.
        roots: where its paths start.
        settings: how faces are looked for, and which of several is taken.
        all_faces: give each further face that the detector is sure of a row of its own, with the
            label of its image.
        replace_boxes: write over boxes that the manifest has from elsewhere.
        progress: called with (files done, files in all).

    Raises:
        ManifestError: the manifest breaks a rule, or has boxes from elsewhere.
        InputError: a detector's file or package is missing.
        WeightsError: its weights are not the right ones, or are computed wrongly.
        StoreError: the manifest's folder can't be written to.
    """
    manifest = read_manifest(path)
    samples = _images(manifest.samples)
    if not replace_boxes:
        _refuse_foreign(manifest.name, samples)
    report = FaceReport(path)
    memory = Memory(path.with_name(f"{manifest.name}{MEMORY}"), settings.finding())
    try:
        found = _look(samples, roots, settings, memory, report, progress)
    finally:
        memory.close()
    rows: list[Sample] = []
    for sample in samples:
        one = found[sample.root, sample.path]
        its = list(_rows_of(sample, one, settings, all_faces))
        report.further += len(its) - 1
        report.further_fakes += (len(its) - 1) * sample.label
        rows += its
        _count(report, sample, one, settings)
    report.rows = len(rows)
    before = {sample.sample_id for sample in manifest.samples}
    report.gone = len(before - {row.sample_id for row in rows})
    write_manifest(Manifest(manifest.name, tuple(rows)), path)
    return report


def _images(samples: Sequence[Sample]) -> list[Sample]:
    """All rows but those that an earlier run made of further faces.

    A name alone tells nothing: such a row has a detector, and its image's row names the same file.
    """
    files = {sample.sample_id: (sample.root, sample.path) for sample in samples}

    def is_further(one: Sample) -> bool:
        image = image_of(one.sample_id)
        return (
            image != one.sample_id
            and bool(one.face_detector)
            and files.get(image) == (one.root, one.path)
        )

    return [one for one in samples if not is_further(one)]


def _refuse_foreign(name: str, samples: Iterable[Sample]) -> None:
    foreign = [s.sample_id for s in samples if s.boxes and not s.face_detector]
    if foreign:
        raise ManifestError(
            f"{name} has boxes already that no detector here found: {name_rows(foreign)}",
            Set("replace_boxes", True, effect="writes over them"),
        )


def _look(
    samples: Sequence[Sample],
    roots: Roots,
    settings: FaceSettings,
    memory: Memory,
    report: FaceReport,
    progress: Progress | None,
) -> dict[tuple[str, str], Finding]:
    """What was found in each file, by root and path."""
    files = {(sample.root, sample.path): roots.resolve(sample) for sample in samples}
    report.images = len(files)
    found: dict[tuple[str, str], Finding] = {}
    new: dict[tuple[str, str], Key | None] = {}
    with file_threads(IN_FLIGHT) as pool:
        for place, key in zip(files, pool.map(_key, files.values()), strict=True):
            if key is not None and (known := memory.get(key)) is not None:
                found[place] = known
            else:
                new[place] = key
    report.known = len(found)
    if not new:
        return found
    finder = FaceFinder(settings)
    with file_threads(os.cpu_count()) as pool:
        looked = pool.map(lambda place: _find(finder, files[place]), new)
        for (place, key), (finding, is_lasting) in zip(new.items(), looked, strict=True):
            found[place] = finding
            if key is not None and is_lasting:
                memory.add(key, finding)
            if progress is not None:
                progress(len(found), len(files))
    return found


def _key(file: Path) -> Key | None:
    try:
        status = file.stat()
    except OSError:
        return None  # reading names the reason
    return str(file), status.st_size, status.st_mtime_ns


def _find(finder: FaceFinder, file: Path) -> tuple[Finding, bool]:
    """The faces of a file, and whether a later look would find the same."""
    try:
        data = read_content(file)
    except ImageError as error:
        return Finding(reason=str(error)), False
    try:
        image = decode_rgb(data)
    except ImageError as error:
        return Finding(reason=str(error)), not isinstance(error, MissingDecoderError)
    return Finding(tuple(finder.find(image)), image.size), True


def _rows_of(
    sample: Sample, found: Finding, settings: FaceSettings, all_faces: bool
) -> Iterator[Sample]:
    faces = ordered(found.faces, found.size, settings)
    if not faces:
        yield replace(
            sample,
            boxes="",
            face_points="",
            face_detector="",
            face_confidence=None,
            face_turn=None,
            face_count=None if found.reason else 0,
            no_face=found.reason or NONE_FOUND,
        )
    further = [face for face in faces[1:] if all_faces and is_sure(face, settings)]
    for number, face in enumerate([*faces[:1], *further], start=1):
        ending = "" if number == 1 else f"{FURTHER_FACE}{number}"
        marks = marks_of(face, settings.points)
        yield replace(
            sample,
            sample_id=f"{sample.sample_id}{ending}",
            boxes=marks.boxes,
            face_points=marks.points,
            face_detector=marks.detector,
            face_confidence=round(face.confidence, 4),
            face_turn=face.turn,
            face_count=len(faces),
            no_face="",
        )


def _count(report: FaceReport, sample: Sample, found: Finding, settings: FaceSettings) -> None:
    faces: Sequence[Face] = found.faces
    if not faces:
        report.missing[sample.sample_id] = found.reason or NONE_FOUND
        report.unreadable += bool(found.reason)
        return
    report.one += len(faces) == 1
    report.several += len(faces) > 1
    turn = ordered(faces, found.size, settings)[0].turn
    if turn:
        report.turned[turn] += 1
