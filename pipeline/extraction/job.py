"""A whole extraction: manifests in, a plan that says its cost, one store out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial

from clare.advice import Notice
from clare.errors import CorruptStoreError
from clare.models.extraction_cost import COST
from clare.models.runtime import Runtime, choose_runtime
from clare.pipeline.extraction.assigned import Assigned, assign_rows
from clare.pipeline.extraction.batching import BatchRunner
from clare.pipeline.extraction.creating import create_extractors
from clare.pipeline.extraction.loading import Loader
from clare.pipeline.extraction.loop import ExtractReport, extract_subset
from clare.pipeline.extraction.pace import DECODE, Pace
from clare.pipeline.extraction.passing import may_leave
from clare.pipeline.extraction.plan import Observer, Plan, Selection, Todo, count_images, make_plan
from clare.pipeline.extraction.probe import decoding_weights
from clare.pipeline.extraction.refusals import has_masks, look_at
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.extraction.store_rows import NO_REALS, Pair
from clare.pipeline.extractor import Extractor
from clare.pipeline.images.prepare import PreparedImage, load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.roots import Roots
from clare.slurm import array_tasks, cores
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore, create_store
from clare.store.layout import Layout
from clare.store.row import Row
from clare.wording import counted


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
    claim_as_asked(settings)
    store = create_store(settings.store)
    for notice in look_at(settings, selection, store):
        observer.noticed(notice)
    observer.loading_models(settings.features)
    extractors = load_extractors(settings, runtime, store, with_masks=has_masks(selection))
    rows = assign_rows(settings, selection, store, extractors, observer)
    runners = {e.label: BatchRunner(e, runtime.device, settings.micro_batch) for e in extractors}
    assets = {e.fingerprint.key: missing_assets(store, e) for e in extractors}
    todo = rows.todo()
    if settings.micro_batch is None:
        keep_micro_batches(runners, next(iter(rows.features.values())), runtime)
    fit_runners(settings, runners, count_images(todo))
    plan = make_plan(
        store,
        rows.slots,
        todo,
        extractors,
        {label: runner.micro_batch for label, runner in runners.items()},
        assets=sum(len(content) for files in assets.values() for content in files.values()),
        thumbnails=settings.thumbnails,
        backbone=settings.backbone,
    )
    observer.planned(plan)
    weights = _weigh(settings, selection, todo, rows, extractors)
    pace = Pace(plan.images, sum(weights[s] * n for s, n in plan.subsets.items()), cores())
    note_command(store, command, selection, plan, observer)
    for key, files in assets.items():
        store.write_assets(key, files)
    del assets
    report = ExtractReport(
        store=store.path,
        fingerprints=plan.fingerprints,
        max_failures=settings.allowed_failures,
    )
    parts = {manifest.name: ExtractReport(store.path) for manifest, _ in selection}

    def extract_all(some: Selection, leave: Callable[[int], bool]) -> None:
        for manifest, roots in some:
            subset = manifest.name
            if settings.micro_batch is None:
                keep_micro_batches(runners, rows.features[subset], runtime)
            loader = create_loader(settings, roots, rows.reals.get(subset, NO_REALS))
            loader.decoded = partial(_count_decoded, pace, weights[subset])
            with closing(loader):
                extract_subset(
                    store,
                    subset,
                    rows.slots[subset],
                    rows.features[subset],
                    runners,
                    loader,
                    strict=settings.strict,
                    progress=partial(observer.extracting, subset),
                    pace=pace,
                    computed=partial(_tell_time, pace, observer),
                    waiting=partial(observer.waiting, subset),
                    leave=leave,
                    report=parts[subset],
                )

    # Others are waited for in the end alone: meanwhile there are other subsets to do.
    extract_all(selection[:-1], lambda shards: True)
    left = [pair for pair in selection[:-1] if parts[pair[0].name].left]
    extract_all([*selection[-1:], *left], _gives_way(store))
    for part in parts.values():
        report.add(part)
    if report.left:
        observer.noticed(
            Notice(
                f"other tasks of the array have all that is left ({counted(report.left, 'shard')}),"
                " and some of them stay until it is done: this one ends"
            )
        )
    return report


def _gives_way(store: FeatureStore) -> Callable[[int], bool]:
    """Whether a run ends where others have the rest: a task does, whose place is wanted."""
    if array_tasks() == 1:
        return lambda shards: False
    return partial(may_leave, store.layout.claims.others_stay)


def claim_as_asked(settings: ExtractSettings) -> None:
    """Have this process claim in the store as the settings say, before it claims anything."""
    claims = Layout.at(settings.store).claims
    claims.configure(leases=settings.claims == "leases", expire=settings.lease_seconds)


def load_extractors(
    settings: ExtractSettings, runtime: Runtime, store: FeatureStore, *, with_masks: bool
) -> list[Extractor]:
    """The extractors that were asked for, beside those that a store has; see `create_extractors`.

    Args:
        settings: how.
        runtime: where and how the models run.
        store: that they will write to.
        with_masks: whether some image has a mask.
    """
    stored = [store.extractor(key)[0] for key in store.extractor_keys()]
    return create_extractors(settings, runtime, with_masks=with_masks, stored=stored)


def note_command(
    store: FeatureStore,
    command: Sequence[str],
    selection: Selection,
    plan: Plan,
    observer: Observer,
) -> None:
    """Note in a store which command wrote what; no value depends on that list."""
    subsets = [manifest.name for manifest, _ in selection]
    try:
        store.record_command(command, subsets, list(plan.fingerprints.values()))
    except CorruptStoreError as error:
        observer.noticed(Notice(f"this command is not noted: {error.what}", *error.advice))


def create_loader(
    settings: ExtractSettings,
    roots: Roots,
    reals: Mapping[Pair, Row] = NO_REALS,
    threads: int | None = None,
) -> Loader:
    """What decodes for an extraction; the caller closes it.

    Args:
        settings: of the extraction.
        roots: where paths of images start.
        reals: that views mix in.
        threads: decoding threads, where the settings don't say.
    """
    return Loader(
        roots,
        settings.images,
        threads=settings.loaders or threads,
        thumbnails=settings.thumbnails,
        reals=reals,
    )


def _weigh(
    settings: ExtractSettings,
    selection: Selection,
    todo: Todo,
    rows: Assigned,
    extractors: Sequence[Extractor],
) -> dict[str, float]:
    """What decoding costs in each subset: photographs of a camera take longer than small crops."""
    folders = {manifest.name: roots for manifest, roots in selection}
    return decoding_weights(
        todo,
        {subset: next(iter(several.values())) for subset, several in rows.features.items()},
        lambda subset: create_loader(settings, folders[subset]),
        extractors,
    )


def _count_decoded(pace: Pace, weight: float, images: int, seconds: float, cpu: float) -> None:
    pace.add(DECODE, weight * images, seconds, cpu)


def _tell_time(pace: Pace, observer: Observer) -> None:
    left = pace.left()
    if left is not None:
        observer.time_left(*left)


def missing_assets(store: FeatureStore, extractor: Extractor) -> Mapping[str, bytes]:
    """The asset files that are still to be written, what an image costs among them."""
    if store.has_assets(extractor.fingerprint.key):
        return {}
    try:
        cost = extractor.cost()
    except Exception:  # whatever a model of anybody's raises: no value depends on it
        cost = None
    known = {} if cost is None else {COST: (json.dumps(asdict(cost)) + "\n").encode()}
    return {**extractor.assets(), **known}


def keep_micro_batches(
    runners: Mapping[str, BatchRunner], features: Mapping[str, Feature], runtime: Runtime
) -> None:
    """The batch size that a subset was begun with is kept, so that equal images get equal bits."""
    for name, runner in runners.items():
        made = features[name].made_with()
        if made is not None and made["device"] == runtime.device:
            runner.micro_batch = made["micro_batch"]


def fit_runners(
    settings: ExtractSettings, runners: Mapping[str, BatchRunner], names: Collection[str]
) -> None:
    """Find the micro-batches that fit a GPU.

    Args:
        settings: whose image preparation is tried.
        runners: by the label of their extractor.
        names: of those that have something to do.
    """
    if names and any(runner.on_gpu for runner in runners.values()):
        sample = _any_image(settings.images)
        for name in names:
            runners[name].fit(runners[name].extractor.prepare(sample))


def _any_image(images: ImageSettings) -> PreparedImage:
    """A grey picture: the models take as much memory for it as for any other."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(data, "PNG")
    plain = replace(images, crop="none", align="none")
    return load_views(data.getvalue(), plain, [0], content="0" * 64)[0]
