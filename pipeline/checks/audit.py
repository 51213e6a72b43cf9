"""What separates real from fake without looking at a face, and what preparation leaves of it."""

from __future__ import annotations

import hashlib
import io
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clare.advice import Name
from clare.bootstrap import Figure, Resampling, mean_figures
from clare.columns import SPLITS
from clare.errors import ImageError, InputError
from clare.file_facts import BYTES, FACTS, JPEG_SIZE, LAPLACIAN
from clare.image_statistics import QUALITY, jpeg_size, laplacian_energy
from clare.pipeline.checks.audit_report import Audit, Count, Shortcut, suggest
from clare.pipeline.checks.duplicates import byte_doubles, near_doubles, picture_hash
from clare.pipeline.images.decode import read_content
from clare.pipeline.images.prepare import decode_whole, prepare_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.headers import file_columns
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.progress import StepProgress
from clare.shortcuts import Fact, free_aucs
from clare.wording import name_rows

SIDE = 256
"""Side that pictures are compared at, where nothing resizes them: about what extractors take."""


@dataclass(frozen=True)
class Look:
    """Plain statistics of one picture's pixels, as it is and as extraction would prepare it.

    Args:
        hash: (4,) its `picture_hash`.
        plain: Laplacian energy, and bytes as a JPEG of quality 95, of the picture as it is.
        prepared: the same of the prepared picture.
        coded: bytes of the prepared picture in the container that it is coded anew in.
    """

    hash: np.ndarray
    plain: tuple[float, float]
    prepared: tuple[float, float]
    coded: float


def audit(
    selected: Sequence[tuple[Manifest, Roots]],
    settings: ImageSettings | None = None,
    *,
    limit: int = 1000,
    seed: int = 0,
    resamples: int = 1000,
    progress: StepProgress | None = None,
) -> Audit:
    """Measure what separates the labels of some manifests, taken together.

    Headers of all files are read. Pixels are decoded of at most ``limit`` images a label, drawn
    by ``seed``: for near-duplicates, and for what is left after preparation.

    Args:
        selected: manifests with the folders that their paths start at.
        settings: how images would be prepared; by default what removes the shortcuts found.
        limit: images of each label whose pixels are decoded; 0 for all.
        seed: of the draw and of the bootstrap.
        resamples: of the bootstrap.
        progress: called with (what is read, done, in all).

    Raises:
        InputError: a root is missing, or the usable images are of one label.
    """
    tell = progress or (lambda title, done, total: None)
    unusable: Counter[str] = Counter()
    samples, paths, columns = _readable(selected, unusable, tell)
    _refuse_one_label(samples, [manifest.name for manifest, _ in selected])
    facts = _file_facts(columns)
    files = _aucs(facts, samples, seed, resamples)
    in_pairs = _in_pairs(facts, samples, seed, resamples)
    asked = settings is not None
    settings = settings or suggest(files)

    chosen = _draw(samples, limit, seed)
    looks = _looks([samples[k] for k in chosen], [paths[k] for k in chosen], settings, tell)
    for reason in (look for look in looks if isinstance(look, str)):
        unusable[reason] += 1
    seen = [
        (samples[k], look) for k, look in zip(chosen, looks, strict=True) if isinstance(look, Look)
    ]
    drawn = [sample for sample, _ in seen]
    _refuse_one_label(drawn, [manifest.name for manifest, _ in selected])
    measured = _pixel_facts([look for _, look in seen])
    pixels = _aucs(measured, drawn, seed, resamples)
    of_pixels = {one.name: measured[f"{one.name} before"] for one in (LAPLACIAN, JPEG_SIZE)}
    in_pairs |= _in_pairs(of_pixels, drawn, seed, resamples)
    near = near_doubles(drawn, np.array([look.hash for _, look in seen]))
    return Audit(
        subsets=tuple(manifest.name for manifest, _ in selected),
        counts=tuple(_counts(samples)),
        unusable=dict(sorted(unusable.items())),
        shortcuts={
            name: replace(one, in_pairs=in_pairs.get(name))
            for name, one in _before_and_after(files, pixels, settings).items()
        },
        prepared=settings,
        asked=asked,
        decoded=len(drawn),
        images=len(samples),
        side=settings.resize or SIDE,
        duplicates={"bytes": byte_doubles(samples, paths), "near": near},
    )


def _readable(
    selected: Sequence[tuple[Manifest, Roots]], unusable: Counter[str], tell: StepProgress
) -> tuple[list[Sample], list[Path], list[dict[str, Any]]]:
    """The rows whose files have a header, with their sizes as they are now, and their columns."""
    rows = [(s, roots.resolve(s)) for manifest, roots in selected for s in manifest.samples]
    samples, paths, columns = [], [], []
    found = _mapped(_header, [path for _, path in rows], "reading headers", tell)
    for (sample, path), header in zip(rows, found, strict=True):
        if isinstance(header, str):
            unusable[header] += 1
            continue
        samples.append(replace(sample, bytes=header["bytes"]))
        paths.append(path)
        columns.append({**sample.facts, **header})
    return samples, paths, columns


def _header(path: Path) -> dict[str, Any] | str:
    try:
        return file_columns(path)
    except ImageError as error:
        return str(error).partition(":")[0]


def _file_facts(columns: Sequence[Mapping[str, Any]]) -> dict[str, Fact]:
    """(N,) by name; texts that no row has, and numbers that a row lacks, are left out."""
    found = {name: fact.values(columns) for name, fact in FACTS.items() if fact.read}
    return {
        name: values
        for name, values in found.items()
        if ((values != "").any() if values.dtype.kind == "U" else not np.isnan(values).any())
    }


def _looks(
    samples: Sequence[Sample], paths: Sequence[Path], settings: ImageSettings, tell: StepProgress
) -> list[Look | str]:
    def look(row: tuple[Sample, Path]) -> Look | str:
        sample, path = row
        try:
            return _look(read_content(path), settings, sample)
        except ImageError as error:
            return str(error).partition(":")[0]

    rows = list(zip(samples, paths, strict=True))
    return list(_mapped(look, rows, "measuring pixels", tell))


def _look(data: bytes, settings: ImageSettings, sample: Sample) -> Look:
    side = settings.resize or SIDE
    whole, delivery = decode_whole(data), sample.delivered
    content = hashlib.sha256(data).hexdigest() if delivery else ""
    prepare = partial(prepare_views, whole, views=[0], content=content, delivery=delivery)
    (plain,) = prepare(ImageSettings())
    (prepared,) = prepare(settings, face=sample.face)
    before, after = plain.pixels(side), prepared.pixels(side)
    return Look(
        hash=picture_hash(before),
        plain=(laplacian_energy(before), jpeg_size(before)),
        prepared=(laplacian_energy(after), jpeg_size(after)),
        coded=_coded_size(after, settings),
    )


def _coded_size(image: np.ndarray, settings: ImageSettings) -> float:
    from PIL import Image

    container, quality = settings.recoding() or ("JPEG", QUALITY)
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, container, quality=quality)
    return packed.tell()


def _pixel_facts(looks: Sequence[Look]) -> dict[str, Fact]:
    columns = {
        "laplacian before": [look.plain[0] for look in looks],
        "jpeg_size before": [look.plain[1] for look in looks],
        "laplacian after": [look.prepared[0] for look in looks],
        "jpeg_size after": [look.prepared[1] for look in looks],
        "coded": [look.coded for look in looks],
    }
    return {name: np.array(values, np.float64) for name, values in columns.items()}


def _before_and_after(
    files: Mapping[str, Figure], pixels: Mapping[str, Figure], settings: ImageSettings
) -> dict[str, Shortcut]:
    """What preparation makes equal for all images says nothing; the rest stays or is measured."""
    images = settings.to_json()
    found = {}
    for name, auc in files.items():
        nothing = Figure(0.5, 0.5, 0.5, auc.n)
        found[name] = Shortcut(auc, nothing if FACTS[name].removed_by(images) else auc)
    if settings.recode:
        found[BYTES.name] = Shortcut(files[BYTES.name], pixels["coded"])
    for name in (LAPLACIAN.name, JPEG_SIZE.name):
        found[name] = Shortcut(pixels[f"{name} before"], pixels[f"{name} after"])
    return found


def _counts(samples: Sequence[Sample]) -> Iterator[Count]:
    for split in (*SPLITS, ""):
        for label in (0, 1):
            mine = [s for s in samples if (s.split, s.label) == (split, label)]
            if mine:
                groups = {group for sample in mine for group in sample.groups}
                held = Counter(kind for kind, _ in groups)
                yield Count(split, label, len(mine), held["video"], held["identity"])


def _draw(samples: Sequence[Sample], limit: int, seed: int) -> list[int]:
    """Places of at most ``limit`` rows of each label, in their order.

    Of as many reals as fakes those of the same places are drawn, so that pairs stay whole.
    """
    chosen: list[int] = []
    for label in (0, 1):
        places = [k for k, sample in enumerate(samples) if sample.label == label]
        if limit and len(places) > limit:
            places = random.Random(str(seed)).sample(places, limit)
        chosen += places
    return sorted(chosen)


def _refuse_one_label(samples: Sequence[Sample], names: Sequence[str]) -> None:
    labels = {sample.label for sample in samples}
    if labels != {0, 1}:
        held = {frozenset(): "no image", frozenset([0]): "reals", frozenset([1]): "fakes"}
        raise InputError(
            f"{name_rows(names)} has {held[frozenset(labels)]} alone that can be read, and an "
            "audit compares real with fake",
            Name("the others beside", "reals"),
        )


def _aucs(
    facts: Mapping[str, Fact], samples: Sequence[Sample], seed: int, resamples: int
) -> dict[str, Figure]:
    label = np.array([sample.label for sample in samples], np.int64)
    cluster = np.array([sample.cluster for sample in samples], np.str_)
    return free_aucs(facts, label, cluster, Resampling(resamples, seed))


def _in_pairs(
    facts: Mapping[str, Fact], samples: Sequence[Sample], seed: int, resamples: int
) -> dict[str, Figure]:
    """Of each fact that is a number, the share of fakes above the reals that they lie on."""
    keys = [(one.pair_id, one.pair_kind, one.delivery) for one in samples]
    own = {key: k for k, key in enumerate(keys) if samples[k].label == 0 and all(key[:2])}
    fakes = [k for k, key in enumerate(keys) if samples[k].label == 1 and key in own]
    reals = [own[keys[k]] for k in fakes]
    numbers = {
        n: values.astype(np.float64) for n, values in facts.items() if values.dtype.kind == "f"
    }
    above = {
        name: np.where(values[fakes] == values[reals], 0.5, values[fakes] > values[reals])
        for name, values in numbers.items()
    }
    if not (fakes and above):
        return {}
    cluster = np.array([samples[k].cluster for k in reals], np.str_)
    one = np.ones(len(fakes), np.int64)
    return mean_figures(above, one, cluster, Resampling(resamples, seed))


def _mapped(
    work: Callable[[Any], Any], rows: Sequence[Any], title: str, tell: StepProgress
) -> Iterator[Any]:
    with ThreadPoolExecutor() as pool:
        for done, result in enumerate(pool.map(work, rows), start=1):
            tell(title, done, len(rows))
            yield result
