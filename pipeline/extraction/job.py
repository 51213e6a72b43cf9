"""A whole extraction: manifests in, a plan that says its cost, one store out."""

from __future__ import annotations

import io
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from clare.advice import LeaveOut, Name, Notice, Run
from clare.errors import CorruptStoreError, InputError, WeightsError
from clare.models.backbones import Overrides, backbone_overrides, recorded_places
from clare.models.runtime import Runtime, choose_runtime
from clare.pipeline.extraction.batching import BatchRunner
from clare.pipeline.extraction.claims import open_features, pending_shards, require_own_fields
from clare.pipeline.extraction.loading import Loader
from clare.pipeline.extraction.loop import ExtractReport, extract_subset
from clare.pipeline.extraction.pace import DECODE, Pace
from clare.pipeline.extraction.presets import merge_settings, read_preset
from clare.pipeline.extraction.probe import decoding_weights
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.extraction.store_rows import (
    NO_REALS,
    Pair,
    reals_of_pairs,
    refuse_two_labels,
    rows_of_samples,
)
from clare.pipeline.extraction.towers import (
    Wanted,
    list_wanted,
    models_of,
    refuse_twins,
)
from clare.pipeline.extractor import Extractor
from clare.pipeline.extractors import create_extractor, find_extractor
from clare.pipeline.images.prepare import PreparedImage, load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.file_shortcuts import shortcuts_of
from clare.pipeline.manifests.roots import PLAIN_FOLDER, Roots
from clare.pipeline.manifests.sample import Manifest
from clare.plugins import part_name
from clare.slurm import cores
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore, create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
from clare.wording import counted, listed

THUMBNAIL_BYTES = 4096
"""About what a thumbnail takes."""

PIXELS = "pixels"
"""The extractor whose images are of the size that a tower beside it, or in its store, takes."""

CHECKSUM_BYTES = 20
"""What a row of a field takes beside its values: its place in the shard, and its checksum."""


Selection = Sequence[tuple[Manifest, Roots]]
"""Subsets, each with the folders that its paths start at."""


@dataclass(frozen=True)
class Plan:
    """What an extraction is about to do; how long it takes is known once it goes.

    Args:
        rows: rows that the manifests ask for, all subsets together.
        pending: rows whose shards still lack a feature.
        disk: bytes that will be written.
        free: bytes free on the store's disk.
        subsets: subset to the rows that it lacks.
        images: extractor's label to the images that it lacks.
        micro_batches: extractor's label to images a batch.
        fingerprints: extractor's label to its folder in the store.
        backbone: ``real``, ``mini`` or ``tiny``.
    """

    rows: int
    pending: int
    disk: int
    free: int
    subsets: Mapping[str, int]
    images: Mapping[str, int]
    micro_batches: Mapping[str, int]
    fingerprints: Mapping[str, str]
    backbone: str


class Observer:
    """What a caller may watch; every method may be left as it is."""

    def indexing(self, done: int, total: int) -> None:
        """Headers of images were read, where a manifest is made."""

    def absent(self, protocol: str, reasons: Mapping[str, str]) -> None:
        """Subsets of a protocol can't be had, and why."""

    def noticed(self, notice: Notice) -> None:
        """Something may surprise or is not as it should be, and the work goes on."""

    def loading_models(self, features: Sequence[str]) -> None:
        """The models are about to be loaded."""

    def reading(self, subset: str, done: int, total: int) -> None:
        """Files of a subset were looked at, and hashed where they are new."""

    def planned(self, plan: Plan) -> None:
        """The extraction is about to start."""

    def extracting(self, subset: str, rows: int, failures: int) -> None:
        """Rows of a subset are on disk."""

    def time_left(self, least: float, most: float) -> None:
        """A micro-batch was computed; all that is left will take so many seconds."""

    def waiting(self, subset: str, shards: int) -> None:
        """Another run holds the last shards of a subset."""


def run_job(
    settings: ExtractSettings,
    selection: Selection,
    observer: Observer | None = None,
    command: Sequence[str] = (),
) -> ExtractReport:
    """Extract subsets into a store; what is there already is left alone.

    Args:
        settings: how.
        selection: the subsets, as `clare.pipeline.datasets.select` finds them.
        observer: is told how it goes.
        command: the words of the command that asked for it, to be noted in the store.

    Raises:
        InputError: the settings or the manifests are not usable, or an image is given as real and
            as fake, or two extractors write one field.
        WeightsError: model weights are not on disk and can't be fetched.
        DiskSpaceError: the store's disk is too small; said before any model runs.
        StrictFailureError: ``strict`` was asked for and a row failed.
    """
    observer = observer or Observer()
    runtime = choose_runtime(settings.device, settings.dtype, compile=settings.compile)
    store = create_store(settings.store)
    samples = (sample for manifest, _ in selection for sample in manifest.samples)
    for notice in shortcuts_of(samples, vars(settings.images)):
        observer.noticed(notice)
    _refuse_wrong_roots(selection, store)
    if settings.images.align != "none":
        _require_points(selection)
    with_masks = any(s.mask_path for manifest, _ in selection for s in manifest.samples)
    if with_masks or "mask" in settings.features:
        for notice in _unmasked(selection):
            observer.noticed(notice)
    if any(find_extractor(name).needs_face for name in settings.features):
        for notice in _faceless(selection):
            observer.noticed(notice)
    observer.loading_models(settings.features)
    stored = [store.extractor(key)[0] for key in store.extractor_keys()]
    extractors = create_extractors(settings, runtime, with_masks=with_masks, stored=stored)
    require_own_fields(store, extractors)
    slots: dict[str, list[int]] = {}
    features: dict[str, dict[str, Feature]] = {}
    wanted = [
        rows_of_samples(
            manifest.samples,
            roots,
            store.index(manifest.name).live,
            views=settings.views,
            progress=partial(observer.reading, manifest.name),
        )
        for manifest, roots in selection
    ]
    refuse_two_labels(selection, wanted)
    reals: dict[str, Mapping[Pair, Row]] = {}
    if settings.views > 1 and settings.images.recipe.MIXES:
        recipe = part_name(settings.images.view_recipe)
        for (manifest, _), rows in zip(selection, wanted, strict=True):
            reals[manifest.name] = reals_of_pairs(manifest.name, rows, recipe)
    for (manifest, _), rows in zip(selection, wanted, strict=True):
        subset = manifest.name
        slots[subset] = store.assign_rows(subset, rows).slots.tolist()
        features[subset] = open_features(store, subset, extractors)
    del wanted
    runners = {e.label: BatchRunner(e, runtime.device, settings.micro_batch) for e in extractors}
    assets = {e.fingerprint.key: _assets(store, e) for e in extractors}
    todo = {name: pending_shards(features[name], np.array(slots[name])) for name in features}
    if settings.micro_batch is None:
        _keep_micro_batches(runners, next(iter(features.values())), runtime)
    plan = _plan(settings, store, slots, todo, runners, assets)
    observer.planned(plan)
    weights = _weigh(settings, selection, todo, features, extractors)
    pace = Pace(plan.images, sum(weights[s] * n for s, n in plan.subsets.items()), cores())
    subsets = [manifest.name for manifest, _ in selection]
    try:
        store.record_command(command, subsets, list(plan.fingerprints.values()))
    except CorruptStoreError as error:  # no value depends on that list
        observer.noticed(Notice(f"this command is not noted: {error.what}", *error.advice))
    for key, files in assets.items():
        store.write_assets(key, files)
    del assets
    report = ExtractReport(
        store=store.path,
        fingerprints=plan.fingerprints,
        max_failures=settings.allowed_failures,
    )
    for manifest, roots in selection:
        subset = manifest.name
        if settings.micro_batch is None:
            _keep_micro_batches(runners, features[subset], runtime)
        loader = create_loader(settings, roots, reals.get(subset, NO_REALS))
        loader.decoded = partial(_count_decoded, pace, weights[subset])
        try:
            part = extract_subset(
                store,
                subset,
                slots[subset],
                features[subset],
                runners,
                loader,
                strict=settings.strict,
                progress=partial(observer.extracting, subset),
                pace=pace,
                computed=partial(_tell_time, pace, observer),
                waiting=partial(observer.waiting, subset),
            )
        finally:
            loader.close()
        report.add(part)
    return report


def _refuse_wrong_roots(selection: Selection, store: FeatureStore) -> None:
    """Refuse a subset of which no file is there and no row is stored: its root must be wrong."""
    for manifest, roots in selection:
        samples = manifest.samples
        there = any(os.path.lexists(roots.resolve(sample)) for sample in samples)
        if samples and not there and not any(True for _ in store.index(manifest.name).live):
            raise InputError(
                f"none of the {counted(len(samples), 'image')} of {manifest.name} is there; the "
                f"first would be {roots.resolve(samples[0])}",
                Name("the folder that their paths start at", "root"),
            )


def _require_points(selection: Selection) -> None:
    """Refuse to align where no row of a subset has the points of a face."""
    for manifest, _ in selection:
        samples = manifest.samples
        if any(sample.face_points or sample.no_face for sample in samples):
            continue
        what = f"no row of {manifest.name} has the points of a face, and faces are to be aligned"
        if samples[0].root.startswith(PLAIN_FOLDER):
            folders = {"subset": "NAME", "real": ["DIR"], "fake": ["DIR"]}
            make = Run("manifest.build", settings=folders, effect="makes one")
            raise InputError(f"{what}; points stand in a manifest, which folders lack", make)
        raise InputError(
            what, Run("faces", settings={"subset": manifest.name}, effect="finds them")
        )


def _faceless(selection: Selection) -> list[Notice]:
    """Images of which nobody says where the face is: what is stored for them says it neither."""
    told = []
    for manifest, _ in selection:
        samples = manifest.samples
        if bare := sum(not (sample.face_points or sample.boxes) for sample in samples):
            of = f"{bare:,} of the {counted(len(samples), 'image')} of {manifest.name}"
            find = Run("faces", settings={"subset": manifest.name}, effect="finds faces")
            told.append(Notice(f"{of} have neither face_points nor boxes: no part is known", find))
    return told


def _unmasked(selection: Selection) -> list[Notice]:
    """Fakes without a mask: what is stored for them says that nothing in them is fake."""
    told = []
    for manifest, _ in selection:
        fakes = [sample for sample in manifest.samples if sample.label == 1]
        if bare := sum(not sample.mask_path for sample in fakes):
            of = f"{bare:,} of the {counted(len(fakes), 'fake')} of {manifest.name}"
            told.append(Notice(f"{of} have no mask: in the field mask nothing of them is marked"))
    return told


def create_extractors(
    settings: ExtractSettings,
    runtime: Runtime,
    *,
    with_masks: bool = False,
    stored: Iterable[Fingerprint] = (),
) -> list[Extractor]:
    """Load the extractors that were asked for.

    Args:
        settings: name them and their settings.
        runtime: where and how the models run.
        with_masks: whether masks are stored too, of the size of ``pixels``.
        stored: what the store has: ``pixels`` alone are of the size that its tower takes.

    Raises:
        InputError: the settings are not usable, or no size of ``pixels`` suits every tower of the
            store.
    """
    names = list(dict.fromkeys(settings.features))
    given = merge_settings(settings.settings)
    if with_masks and "mask" not in names:
        names.append("mask")
        if "size" in given.get("pixels", {}):
            given = merge_settings({"mask": {"size": given["pixels"]["size"]}}, given)
    files = {part_name(name): name for name in names}
    wanted = list_wanted(names, given)
    parts = {part_name(one.name) for one in wanted}
    if twice := [name for name in names if files[part_name(name)] != name]:
        raise InputError(
            f"{listed(twice)} and {files[part_name(twice[0])]} are extractors of one name: "
            "rename one of the files"
        )
    if unused := sorted(set(given) - parts):
        raise InputError(
            f"settings were given for {listed(unused)}, which is not extracted",
            Name("it too", "features", ",".join([*names, *unused])),
        )
    preset = read_preset(settings.preset)
    with (
        backbone_overrides(settings.backbone, *parts) as overrides,
        _tuned(settings, names) as tuned,
    ):
        merged = merge_settings(preset, overrides, tuned, given)
        made: dict[str, Extractor] = {}
        # Pixels last: they are what a tower looks at, unless a size is given.
        for one in sorted(wanted, key=lambda one: one.name == PIXELS):
            own = one.settings(merged)
            if one.name == PIXELS and "size" not in own:
                size = _side_of(made.values()) or _side_in(stored)
                own = {**own, "size": size} if size is not None else own
            made[one.label] = _create(one, own, settings.images, runtime)
        refuse_twins({label: one.fingerprint.key for label, one in made.items()})
        return [made[one.label] for one in wanted]


def _create(
    wanted: Wanted, own: Mapping[str, Any], images: ImageSettings, runtime: Runtime
) -> Extractor:
    """One extractor; what is wrong with one of several models is said with its name."""
    try:
        made = create_extractor(wanted.name, own, images, runtime)
    except (InputError, WeightsError) as error:
        if not wanted.model:
            raise
        raise type(error)(f"{wanted.model}: {error.what}", *error.advice) from error
    made.label = wanted.label
    return made


@contextmanager
def _tuned(settings: ExtractSettings, names: Sequence[str]) -> Iterator[Overrides]:
    """Settings of the extractor whose tower a run tuned, as it was when the run began.

    Raises:
        InputError: the run tuned no tower, or that of an extractor that is not asked for.
    """
    if settings.tuned is None:
        yield {}
        return
    from clare.models.towers import TOWERS
    from clare.models.tuned import read_tuned

    record = read_tuned(settings.tuned).record
    name, recorded = record.tower.extractor, record.tower.settings
    if name not in TOWERS:
        raise InputError(f"{settings.tuned} says that it tuned a tower of {name}, which has none")
    if name not in names:
        raise InputError(
            f"{settings.tuned} tuned the tower of {name}, which is not extracted",
            Name("it too", "features", ",".join([*names, name])),
        )
    if len(models_of(name, settings.settings.get(name, {}))) > 1:
        raise InputError(
            f"{settings.tuned} tuned one tower of {name}, and several are named",
            LeaveOut(f"{name}.model"),
        )
    known = {field.name for field in fields(TOWERS[name])}
    own = {key: value for key, value in recorded.items() if key in known}
    with recorded_places(name, recorded.get("backbone"), record.origin, known) as places:
        yield {name: {**own, **places, "tuned": str(settings.tuned)}}


def _side_of(extractors: Iterable[Extractor]) -> int | None:
    """Side of the images that the first model takes whose values are of pixels alone, if any is."""
    models = (extractor.pixel_model() for extractor in extractors)
    return next((model.size for model in models if model is not None), None)


def _side_in(stored: Iterable[Fingerprint]) -> int | None:
    """Side of the images that the towers of a store take; None where it has no tower."""
    from clare.models.towers import TOWERS

    sides: dict[int, str] = {}
    for fingerprint in stored:
        if (
            fingerprint.extractor in TOWERS
            and type(side := fingerprint.settings.get("size")) is int
        ):
            sides.setdefault(side, f"{fingerprint.key} takes {side}")
    if len(sides) > 1:
        raise InputError(
            f"the towers of the store take images of several sizes, and {PIXELS} have one: "
            + listed(sides.values()),
            Name("the size", f"{PIXELS}.size", str(min(sides))),
        )
    return next(iter(sides), None)


def create_loader(
    settings: ExtractSettings, roots: Roots, reals: Mapping[Pair, Row] = NO_REALS
) -> Loader:
    """What decodes for an extraction, with the reals that views mix in; the caller closes it."""
    return Loader(
        roots,
        settings.images,
        threads=settings.loaders,
        thumbnails=settings.thumbnails,
        reals=reals,
    )


def _weigh(
    settings: ExtractSettings,
    selection: Selection,
    todo: Mapping[str, Mapping[int, Mapping[str, list[int]]]],
    features: Mapping[str, Mapping[str, Feature]],
    extractors: Sequence[Extractor],
) -> dict[str, float]:
    """What decoding costs in each subset: photographs of a camera take longer than small crops."""
    folders = {manifest.name: roots for manifest, roots in selection}
    return decoding_weights(
        todo,
        {subset: next(iter(several.values())) for subset, several in features.items()},
        lambda subset: create_loader(settings, folders[subset]),
        extractors,
    )


def _rows_of(lacking: Mapping[str, list[int]]) -> int:
    """Rows of a shard that some extractor lacks."""
    return len({offset for offsets in lacking.values() for offset in offsets})


def _count_decoded(pace: Pace, weight: float, images: int, seconds: float, cpu: float) -> None:
    pace.add(DECODE, weight * images, seconds, cpu)


def _tell_time(pace: Pace, observer: Observer) -> None:
    left = pace.left()
    if left is not None:
        observer.time_left(*left)


def _assets(store: FeatureStore, extractor: Extractor) -> Mapping[str, bytes]:
    """The asset files that are still to be written."""
    return {} if store.has_assets(extractor.fingerprint.key) else extractor.assets()


def _keep_micro_batches(
    runners: Mapping[str, BatchRunner], features: Mapping[str, Feature], runtime: Runtime
) -> None:
    """The batch size that a subset was begun with is kept, so that equal images get equal bits."""
    for name, runner in runners.items():
        made = features[name].made_with()
        if made is not None and made["device"] == runtime.device:
            runner.micro_batch = made["micro_batch"]


def row_disk(fields: Iterable[FeatureSpec], *, thumbnails: bool) -> int:
    """Bytes that a row takes on the disk.

    Args:
        fields: that are stored of it.
        thumbnails: whether a small JPEG is kept too.
    """
    values = sum(spec.row_bytes + CHECKSUM_BYTES for spec in fields)
    return values + (THUMBNAIL_BYTES if thumbnails else 0)


def _plan(
    settings: ExtractSettings,
    store: FeatureStore,
    slots: Mapping[str, list[int]],
    todo: Mapping[str, Mapping[int, Mapping[str, list[int]]]],
    runners: Mapping[str, BatchRunner],
    assets: Mapping[str, Mapping[str, bytes]],
) -> Plan:
    images: Counter[str] = Counter()
    disk = sum(len(content) for files in assets.values() for content in files.values())
    subsets: Counter[str] = Counter()
    for subset, shards in todo.items():
        for lacking in shards.values():
            rows = _rows_of(lacking)
            subsets[subset] += rows
            disk += rows * row_disk((), thumbnails=settings.thumbnails)
            for name, offsets in lacking.items():
                images[name] += len(offsets)
                fields = runners[name].extractor.fields
                disk += SHARD_ROWS * row_disk(fields, thumbnails=False)
    store.check_free_space(disk)
    if images and any(runner.on_gpu for runner in runners.values()):
        sample = _any_image(settings.images)
        for name in images:
            runners[name].fit(runners[name].extractor.prepare(sample))
    return Plan(
        rows=sum(map(len, slots.values())),
        pending=subsets.total(),
        disk=disk,
        free=shutil.disk_usage(store.path).free,
        subsets=subsets,
        images=images,
        micro_batches={n: r.micro_batch for n, r in runners.items()},
        fingerprints={n: r.extractor.fingerprint.key for n, r in runners.items()},
        backbone=settings.backbone,
    )


def _any_image(images: ImageSettings) -> PreparedImage:
    """A grey picture: the models take as much memory for it as for any other."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(data, "PNG")
    plain = replace(images, crop="none", align="none")
    return load_views(data.getvalue(), plain, [0], content="0" * 64)[0]
