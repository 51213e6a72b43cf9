"""Pairs of a subset's reals, with their manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from clare.advice import Name, Notice
from clare.errors import InputError
from clare.files import make_folder
from clare.models.backbones import backbone_overrides
from clare.models.runtime import Runtime, choose_runtime
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.datasets.select import find_subset, no_manifest
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest
from clare.pipeline.manifests.validation import check_name
from clare.pipeline.pair import ModelPairKind, PairKind
from clare.pipeline.pairing.files import (
    LIST,
    PairRecord,
    PairRow,
    keep_record,
    refuse_others,
)
from clare.pipeline.pairing.make import PIXELS_ON_CPU, PIXELS_ON_GPU, Failure, PairMaker
from clare.pipeline.pairing.photos import PhotoReader
from clare.pipeline.pairing.plan import (
    Job,
    choose_reals,
    pair_samples,
    plan_jobs,
    refuse_unusable,
    with_keys,
)
from clare.pipeline.pairing.settings import PairSettings
from clare.pipeline.pairs import find_kind
from clare.plugins import part_name, trust_named
from clare.progress import StepProgress
from clare.row_file import RowFile
from clare.settings import build_settings
from clare.wording import counted, name_rows

Place = str | PathLike[str]

_MODEL_PLACES = ("model", "revision", "model_config")
"""Settings that say where a model is: its weights' hash says which."""


@dataclass
class PairsReport:
    """What was made.

    Args:
        manifest: file of the pairs' manifest; its paths start at its folder.
        pairs: that are there, both members written.
        known: of them, those of an earlier run.
        failures: why a photograph gave no pair, by ``sample_id``.
        notices: what a user may not expect.
    """

    manifest: Path
    pairs: int = 0
    known: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)


def pairs(
    kind: str,
    subset: str | None = None,
    out: Place = "pairs",
    *,
    manifest: Place | None = None,
    manifests: Place = "data_manifests",
    root: Place | Mapping[str, Place] | None = None,
    follow_links: Place | None = None,
    name: str | None = None,
    notice: Callable[[Notice], None] = lambda told: None,
    progress: StepProgress | None = None,
    **settings: Any,
) -> PairsReport:
    """Make a fake of each real image of a subset that lies on it, and write both with a manifest.

    Run again, it makes what is missing, and again what was made of files that changed since.

    Args:
        kind: vae, inpaint, sbi, blend, or the path of a file with a kind of one's own.
        subset: name of a subset whose manifest stands in ``manifests``.
        out: folder that gets ``real/``, ``fake/``, ``masks/`` and the manifest.
        manifest: a manifest file, in the place of a subset's name.
        manifests: folder that holds ``NAME.csv`` for a subset NAME.
        root: folder that the manifest's paths start at, or those by name.
        follow_links: folder that links may lead into, out of their root.
        name: of the pairs' subset; by default ``SUBSET_KIND``.
        notice: told what a user may not expect.
        progress: called with (what is done, pairs done, in all).
        settings: fields of `PairSettings`: ``side``, ``coding``, ``backbone`` and others;
            ``settings`` are those of the kind, as ``settings={"vae": {"latent": "sample"}}``.

    Returns:
        What was made.

    Raises:
        InputError: nothing usable is named, a setting is not usable, the folder holds other pairs,
            or no image gave a pair.
        WeightsError: a model's weights are not on disk and can't be fetched.
        StoreError: a file can't be written.
    """
    report_progress = progress or (lambda what, done, total: None)
    pair_settings: PairSettings = build_settings("pairs", PairSettings, settings)
    trust_named([kind])
    kind_class, kind_name = find_kind(kind), part_name(kind)
    _refuse_settings_of_others(kind_name, pair_settings)
    settings_of_kind = dict(pair_settings.settings.get(kind_name, {}))
    build_settings(kind_name, kind_class.Settings, settings_of_kind)
    source = read_manifest(_find_manifest(subset, manifest, Path(manifests)))
    roots = _roots(root, follow_links)
    name = name or f"{source.name}_{kind_name}"
    check_name(name)
    folder = Path(out)
    reals, splits_were_dealt = choose_reals(source)
    roots.require_any(source.name, reals)
    has_model = issubclass(kind_class, ModelPairKind)
    with backbone_overrides(pair_settings.backbone if has_model else "real") as overrides:
        report_progress("loading the model" if has_model else "looking at the images", 0, 0)
        runtime = choose_runtime(pair_settings.device, pair_settings.dtype) if has_model else None
        model_settings = overrides.get("lare", {})
        chosen = {key: model_settings[key] for key in _MODEL_PLACES if key in model_settings}
        chosen |= settings_of_kind
        kind_settings = build_settings(kind_name, kind_class.Settings, chosen)
        pair_kind = kind_class(kind_settings, runtime, pair_settings.seed)
        record = _record_of(pair_kind, kind_name, pair_settings, source.name, name)
        refuse_others(folder, record)
        refuse_unusable(pair_kind, pair_settings.coding, source.name, reals)
        jobs, without_partner = plan_jobs(pair_kind, reals, pair_settings.seed)
        report = PairsReport(folder / f"{name}.csv")
        for remark in pair_kind.remarks:
            report.notices.append(Notice(remark))
        reason = "no partner: no other person's photograph is of the same source and split"
        report.failures |= dict.fromkeys(without_partner, reason)
        maker = _create_maker(pair_kind, roots, folder, pair_settings, runtime)
        done = _make_pairs(maker, with_keys(jobs, roots), folder, record, report, report_progress)
    if not done:
        raise _no_pairs(source.name, report.failures)
    if splits_were_dealt:
        report.notices.append(Notice(f"{source.name} has no splits: they were dealt 70/15/15"))
    samples = [
        sample
        for job in jobs
        if (row := done.get(job.sample.sample_id)) is not None
        for sample in pair_samples(job, row, name, kind_name, pair_settings.coding)
    ]
    report.pairs = len(samples) // 2
    write_manifest(Manifest(name, tuple(samples)), report.manifest)
    for one in report.notices:
        notice(one)
    return report


def _create_maker(
    kind: PairKind, roots: Roots, folder: Path, settings: PairSettings, runtime: Runtime | None
) -> PairMaker:
    on_gpu = runtime is not None and runtime.device.startswith("cuda")
    reader = PhotoReader(
        roots,
        side=settings.side,
        factor=kind.factor,
        landmarks=kind.needs_face,
        jpeg=settings.coding == "jpeg",
    )
    return PairMaker(
        kind,
        reader,
        folder,
        settings.coding,
        pixels=settings.batch * PIXELS_ON_GPU if on_gpu else PIXELS_ON_CPU,
        padded=not on_gpu,
    )


def _make_pairs(
    maker: PairMaker,
    jobs: list[tuple[Job, str]],
    folder: Path,
    record: PairRecord,
    report: PairsReport,
    report_progress: StepProgress,
) -> dict[str, PairRow]:
    """All pairs of these jobs, those of earlier runs among them, by ``sample_id``."""
    keys = {job.sample.sample_id: key for job, key in jobs}
    is_new = not folder.exists()
    make_folder(folder)
    done: dict[str, PairRow] = {}
    with RowFile(folder / LIST, PairRow) as rows:
        # Again, now that no other command can begin here.
        refuse_others(folder, record)
        for row in rows.rows():
            if keys.get(row.source) == row.key and row.is_there(folder, record.coding):
                done[row.source] = row
        report.known = len(done)
        waiting = [one for one in jobs if one[0].sample.sample_id not in done]
        # Those of one size follow each other, so that batches are full.
        waiting.sort(key=lambda one: (one[0].sample.width or 0, one[0].sample.height or 0))
        for count, found in enumerate(maker.make(waiting), start=len(done) + 1):
            if isinstance(found, Failure):
                report.failures[found.job.sample.sample_id] = found.reason
            else:
                if not done:
                    keep_record(folder, record)
                rows.add([found])
                done[found.source] = found
            report_progress("making pairs", count, len(jobs))
    if is_new and not done:
        folder.rmdir()
    return done


def _record_of(
    kind: PairKind, title: str, settings: PairSettings, subset: str, name: str
) -> PairRecord:
    of_kind = {
        key: value for key, value in asdict(kind.settings).items() if key not in _MODEL_PLACES
    }
    return PairRecord(
        kind=title,
        version=kind.VERSION,
        settings=of_kind,
        weights=kind.weights,
        subset=subset,
        name=name,
        side=settings.side,
        coding=settings.coding,
        seed=settings.seed,
        origin=kind.origin,
    )


def _refuse_settings_of_others(kind: str, settings: PairSettings) -> None:
    if foreign := sorted(set(settings.settings) - {kind}):
        raise InputError(f"pairs of kind {kind} have no settings of {', '.join(foreign)}")


def _no_pairs(subset: str, failures: Mapping[str, str]) -> InputError:
    reasons = list(dict.fromkeys(failures.values()))
    what = f"none of the {counted(len(failures), 'real image')} of {subset} gave a pair"
    return InputError(f"{what}: {name_rows(reasons, '; ')}")


def _find_manifest(subset: str | None, manifest: Place | None, folder: Path) -> Path:
    if manifest is not None:
        return Path(manifest)
    if not subset:
        raise InputError(
            "no images are named", Name("a subset", "subset"), Name("a manifest", "manifest")
        )
    path = find_subset(load_registry(folder), folder, subset)
    if path is None:
        raise no_manifest(folder, subset)
    return path


def _roots(root: Place | Mapping[str, Place] | None, follow_links: Place | None) -> Roots:
    named = {"": root} if isinstance(root, str | PathLike) else root or {}
    options = [f"{name}={place}" if name else str(place) for name, place in named.items()]
    links = None if follow_links is None else Path(follow_links)
    return Roots.from_options(options, os.environ, links)
