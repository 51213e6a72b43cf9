"""What speaks against an extraction of some images, and what may surprise of it."""

from __future__ import annotations

from collections.abc import Iterator

from clare.advice import Notice, Run
from clare.errors import InputError
from clare.pipeline.extraction.plan import Selection
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.extractors import find_extractor
from clare.pipeline.manifests.file_shortcuts import shortcuts_of
from clare.pipeline.manifests.roots import PLAIN_FOLDER
from clare.store.feature_store import FeatureStore
from clare.wording import counted


def has_masks(selection: Selection) -> bool:
    """Whether some image has a mask."""
    return any(s.mask_path for manifest, _ in selection for s in manifest.samples)


def look_at(
    settings: ExtractSettings, selection: Selection, store: FeatureStore
) -> Iterator[Notice]:
    """Look at what is asked for, before any model is loaded.

    Yields:
        What may spoil an experiment, or surprise.

    Raises:
        InputError: no file of a subset is there, or faces are to be aligned and none is known.
    """
    samples = (sample for manifest, _ in selection for sample in manifest.samples)
    yield from shortcuts_of(samples, vars(settings.images))
    _refuse_wrong_roots(selection, store)
    if settings.images.align != "none":
        _require_points(selection)
    if has_masks(selection) or "mask" in settings.features:
        yield from _unmasked(selection)
    if any(find_extractor(name).needs_face for name in settings.features):
        yield from _faceless(selection)


def _refuse_wrong_roots(selection: Selection, store: FeatureStore) -> None:
    """Refuse a subset of which no file is there and no row is stored: its root must be wrong."""
    for manifest, roots in selection:
        samples = manifest.samples
        if not samples or any(True for _ in store.index(manifest.name).live):
            continue
        roots.require_any(manifest.name, samples)


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
