"""A published checkpoint to a run that reads a store's features, or those that models will make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clare.advice import LeaveOut, Name, Set
from clare.errors import InputError

if TYPE_CHECKING:
    from clare.heads.importing import Features
    from clare.heads.published import PublishedHead
    from clare.heads.runs.run import Run
    from clare.heads.text.tower import TextTower


def import_head(
    file: Path | str,
    out: Path | str,
    format: str | None = None,
    *,
    store: Path | str = "features.zarr",
    features: Mapping[str, str] = MappingProxyType({}),
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    as_prepared: bool = False,
    device: str = "auto",
    command: Sequence[str] = (),
) -> Run:
    """Make a run of a published checkpoint: it is tested, compared and judges as any other.

    Nothing of the file is ever run. The run reads features that its authors' models make: those of
    a store, or those that the models named here will make. A tower that lies in the file as well is
    written into the run's folder, as ``tower``.

    Args:
        file: the checkpoint.
        out: the run's folder, which must not be there.
        format: one of `list_checkpoints`; found by the tensors' names if left out.
        store: whose features the run shall read.
        features: the beginning of a fingerprint by extractor or field, where several fit.
        settings: models that make the features, where no store has them yet: extractor to its
            settings, as ``{"clip": {"model": "ViT-L-14"}}``. Images are prepared as published.
        as_prepared: take a store's features of images that were prepared otherwise than published;
            the run and each of its tests say so.
        device: where models run that are loaded.
        command: that asked for it, word by word; it is recorded.

    Raises:
        InputError: the file is of another format, the folder is taken, or no features fit.
        StoreError: the store is not there.
        WeightsError: the file is damaged, or a model's weights are not on disk.
    """
    from clare.heads.importing import (
        features_of,
        import_checkpoint,
        open_checkpoint,
        require_free,
    )
    from clare.heads.runs.run import open_run
    from clare.store.feature_store import may_hold_store, open_store

    require_free(Path(out))
    name, checkpoint, head = open_checkpoint(file, format)
    if settings and (features or as_prepared):
        raise InputError(
            "fingerprints are of a store's features, and models make their own",
            LeaveOut("features", "as_prepared"),
        )
    there = features_of(open_store(store)) if may_hold_store(store) and not settings else None
    if settings or (head.carried is not None and not _has_its_features(head, there)):
        available, text = _made_by(head, settings, Path(store), device)
    elif there is not None:
        available, text = there, None
    else:
        raise InputError(
            f"there is no store at {store}, and the head needs features to read",
            Name("a store", "store"),
            *(
                Set(f"{one}.model", need.model[0], "reads what that model makes, store or not")
                for one, need in head.extractors.items()
                if need.model
            ),
        )
    import_checkpoint(
        name,
        checkpoint,
        head,
        available,
        out,
        named=features,
        as_prepared=as_prepared,
        command=command,
    )
    return open_run(out, text=text)


def _has_its_features(head: PublishedHead, there: Features | None) -> bool:
    """Whether a store has features of the tower that a head brings along."""
    found = [] if there is None else [one.fingerprint.weights for one in there.extractors.values()]
    return any(need.sha256 in found for need in head.needs.values())


def _made_by(
    head: PublishedHead, settings: Mapping[str, Mapping[str, Any]], store: Path, device: str
) -> tuple[Features, TextTower | None]:
    """The features that models will make, and the text tower among them."""
    from clare.heads.importing import Features
    from clare.heads.runs.record import CARRIED, ExtractorRecord
    from clare.heads.text.tower import TextTower
    from clare.models.hub import real_models
    from clare.models.runtime import choose_runtime
    from clare.pipeline.extractors import create_extractor
    from clare.pipeline.images.settings import ImageSettings

    needs = head.extractors
    if strange := sorted(set(settings) - set(needs)):
        raise InputError(f"the head reads nothing of {strange[0]}", LeaveOut(f"{strange[0]}.model"))
    runtime = replace(choose_runtime(device), dtype="float32")
    records, specs = {}, {}
    text: TextTower | None = None
    for name, need in needs.items():
        given = {"model": need.model[0]} if need.model else {}
        given |= {"weights": need.weights} if need.weights else {}
        layers = head.layers(need)
        wanted = {
            **need.asked,
            **given,
            **({"layers": layers} if layers else {}),
            **settings.get(name, {}),
        }
        with real_models(), TemporaryDirectory(prefix="clare-") as folder:
            if need.sha256 and head.carried is not None:
                head.carried.write(Path(folder) / CARRIED)
                wanted = {"model": str(Path(folder) / CARRIED), **wanted}
            extractor = create_extractor(
                need.extractor, wanted, ImageSettings(**need.images), runtime
            )
        key = extractor.fingerprint.key
        records[key] = ExtractorRecord(extractor.fingerprint, extractor.origin)
        specs[key] = {spec.field: spec.shape for spec in extractor.fields}
        text = text or TextTower.of_assets(extractor.assets())

    def text_of(key: str) -> TextTower:
        if text is None:
            raise InputError(f"{key} has no text tower, which the head needs")
        return text

    return Features(str(store.absolute()), records, specs, text_of), text
