"""A published checkpoint to a run's folder, bound to the features that it reads."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clare.advice import Advice, Name, Run, Set
from clare.errors import InputError
from clare.files import PARTIAL, sync_folder
from clare.heads import checkpoints
from clare.heads.checkpoints import list_checkpoints
from clare.heads.config import TrainConfig
from clare.heads.data.fingerprints import Chosen
from clare.heads.data.leakage import Seen
from clare.heads.detector import create_model, fields_of, needs_text, save_detector
from clare.heads.published import CheckpointFormat, ImportRecord, Need, PublishedHead
from clare.heads.runs.record import (
    BEST,
    CARRIED,
    ExtractorRecord,
    RunRecord,
    Validation,
    extractor_record,
    is_run,
    write_record,
    write_seen,
    write_validation,
)
from clare.heads.runs.run import load_text_tower
from clare.heads.text.tower import TextTower
from clare.models.checkpoint import Checkpoint, read_checkpoint
from clare.models.hub import file_sha256
from clare.models.weights import fill, shown_name
from clare.plugins import find_part
from clare.store.feature_store import FeatureStore
from clare.store.spec import describe_differences
from clare.version import __version__
from clare.wording import listed


@dataclass(frozen=True)
class Features:
    """Features that a head may read: those of a store, or those that models would make.

    Args:
        store: where they are, or will be.
        extractors: by ``<extractor>-<digest>``.
        specs: shapes of one row by stored field, of each of them.
        text: the text tower of one of them.
    """

    store: str
    extractors: Mapping[str, ExtractorRecord]
    specs: Mapping[str, Mapping[str, tuple[int, ...]]]
    text: Callable[[str], TextTower]


def features_of(store: FeatureStore) -> Features:
    """The features of a store."""
    keys = store.extractor_keys()
    return Features(
        store=str(store.path),
        extractors={key: extractor_record(store, key) for key in keys},
        specs={
            key: {name: spec.shape for name, spec in store.extractor(key)[1].items()}
            for key in keys
        },
        text=lambda key: load_text_tower(store, key),
    )


def find_format(name: str) -> CheckpointFormat:
    """A format by its name, or by the path of its file.

    Raises:
        InputError: there is no such format.
    """
    return find_part(checkpoints, name, CheckpointFormat)()  # type: ignore[type-abstract]


def open_checkpoint(file: Path | str, format: str | None) -> tuple[str, Checkpoint, PublishedHead]:
    """Read a published checkpoint.

    Args:
        file: the checkpoint.
        format: its format's name; found by the names of its tensors if left out.

    Returns:
        The format's name, the checkpoint, and the head that it holds.

    Raises:
        WeightsError: the file is missing, damaged, or no weights.
        InputError: it is of another format, or of none that is known.
    """
    if format is not None:
        find_format(format)  # an unknown name is refused before a large file is read
    checkpoint = read_checkpoint(Path(file))
    known = [format] if format else list_checkpoints()
    like = [name for name in list_checkpoints() if find_format(name).recognises(checkpoint)]
    fitting = [name for name in known if find_format(name).recognises(checkpoint)]
    if len(fitting) == 1:
        return fitting[0], checkpoint, find_format(fitting[0]).read(checkpoint)
    if fitting:
        raise InputError(f"{file} may be {listed(fitting)}", Name("the one that it is", "format"))
    names = sorted(map(shown_name, checkpoint.tensors))
    some = f"{listed(names[:3])}{' …' if len(names) > 3 else ''}"
    if format and like:
        raise InputError(
            f"{file} is no checkpoint of {format}: its tensors ({some}) look like {listed(like)}",
            *(Set("format", name) for name in like),
        )
    what = f"of {format}" if format else f"that is known ({listed(known)})"
    raise InputError(f"{file} is no checkpoint {what}: its tensors are {some}")


def require_free(out: Path) -> None:
    """Refuse a place that is taken.

    Raises:
        InputError: a file, a run or anything else is there.
    """
    if not os.path.lexists(out):
        return
    here = out.is_dir() and out.samefile(Path.cwd())
    if here or out.is_symlink() or not out.is_dir() or any(out.iterdir()):
        what = "a run" if is_run(out) else "the working folder" if here else "there already"
        raise InputError(f"{out} is {what}", Name("another folder", "out"))


def import_checkpoint(
    name: str,
    checkpoint: Checkpoint,
    head: PublishedHead,
    features: Features,
    out: Path | str,
    *,
    named: Mapping[str, str],
    as_prepared: bool = False,
    command: Sequence[str] = (),
) -> RunRecord:
    """Write a published head as a finished run, which is tested and judges as any other.

    Args:
        name: the format's.
        checkpoint: what `open_checkpoint` read.
        head: that it holds.
        features: what there is to read.
        out: the run's folder.
        named: the beginning of a fingerprint by field or extractor, where several fit.
        as_prepared: take features of images that were prepared otherwise than published; the run
            and each of its tests say so.
        command: that asked for it, word by word.

    Returns:
        The run's record.

    Raises:
        InputError: the folder is taken, or no features fit the head.
        StoreError: a text tower is needed and not there.
    """
    folder = Path(out).absolute()
    require_free(folder)
    wants_text = needs_text(head.config)
    fields = fields_of(head.config)
    chosen, remarks = _choose(head, fields, features, named, as_prepared)
    read, sources = chosen.read_by(fields, text=wants_text)
    model = create_model(
        head.config, head.specs, features.text(chosen.text) if wants_text else None
    )
    fill(model, head.tensors, checkpoint.path)
    format = find_format(name)
    record = RunRecord(
        config=TrainConfig(detector=head.config),
        store=features.store,
        subsets=(),
        fingerprints=read,
        extractors={one: features.extractors[key] for one, key in read.items()},
        sources=sources,
        face_crops=(),
        rows={split: {"real": 0, "fake": 0} for split in ("train", "val")},
        fakes=(format.about.trained_on,),
        versions={
            "clare": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
        },
        command=tuple(command),
        imported=ImportRecord(
            format=name,
            file=checkpoint.path.name,
            sha256=checkpoint.sha256,
            about=format.about,
            remarks=(*head.remarks, *remarks),
        ),
    )
    # Made beside its place and moved there whole: half a run is none.
    partial = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{PARTIAL}")
    partial.mkdir(parents=True)
    try:
        save_detector(model, partial / BEST)
        if head.carried is not None:
            head.carried.write(partial / CARRIED)
        write_record(partial, record)
        write_seen(partial, Seen({}, {}, unknown=True))
        validation = Validation(0, head.threshold, {}, file_sha256(partial / BEST), imported=True)
        write_validation(partial, validation)
        partial.rename(folder)  # in the place of an empty folder too
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    return record


def _choose(
    head: PublishedHead,
    fields: Sequence[str],
    features: Features,
    named: Mapping[str, str],
    as_prepared: bool,
) -> tuple[Chosen, list[str]]:
    """The fingerprint of each field, and what is to be said of them.

    Raises:
        InputError: none fits, or several do.
    """
    sources: dict[str, str] = {}
    remarks: dict[str, None] = {}
    for field in fields:
        need, shape = head.needs[field], head.specs[field]
        asked = named.get(field, named.get(need.extractor, ""))
        having = [
            key
            for key, specs in features.specs.items()
            if field in specs and key.startswith(f"{need.extractor}-{asked}")
        ]
        wrong = {key: _problems(features, key, field, shape, need, as_prepared) for key in having}
        fitting = [key for key, problems in wrong.items() if not problems]
        if not fitting:
            raise _refusal(field, shape, need, head.layers(need), wrong, features)
        if len(fitting) > 1:
            known = [features.extractors[key].fingerprint for key in fitting]
            example = {need.extractor: fitting[0].rpartition("-")[2]}
            raise InputError(
                f"several {field} features fit: {describe_differences(known)}",
                Set("features", example, effect="takes these"),
            )
        sources[field] = fitting[0]
        found = features.extractors[fitting[0]]
        unlike = need.unlike(found.fingerprint)
        if unlike:
            remarks[f"images are not prepared as published: {', '.join(unlike)}"] = None
        remarks |= dict.fromkeys(need.doubts(found.fingerprint, found.origin))
    clip = [key for key in sources.values() if key.startswith("clip-")]
    return Chosen(sources, clip[0] if clip else "", head.specs, ()), list(remarks)


def _problems(
    features: Features,
    key: str,
    field: str,
    shape: tuple[int, ...],
    need: Need,
    as_prepared: bool,
) -> list[str]:
    found, there = features.extractors[key], features.specs[key][field]
    problems = [] if there == shape else [f"{field} has the shape {there}, not {shape}"]
    problems += need.problems(found.fingerprint, found.origin)
    return problems if as_prepared else [*problems, *need.unlike(found.fingerprint)]


def _refusal(
    field: str,
    shape: tuple[int, ...],
    need: Need,
    layers: Sequence[int | str],
    wrong: Mapping[str, Sequence[str]],
    features: Features,
) -> InputError:
    """None fits: what is wrong with each that is there, and the extraction that makes the right
    ones."""
    settings: dict[str, Any] = {"features": need.extractor}
    settings |= {f"{need.extractor}.model": need.model[0]} if need.model else {}
    settings |= {f"{need.extractor}.layers": layers} if layers else {}
    settings |= {f"{need.extractor}.weights": need.weights} if need.weights else {}
    settings |= {f"{need.extractor}.{name}": value for name, value in need.asked.items()}
    settings |= {**need.images, **need.aligned}
    advice: list[Advice] = [Run("extract", settings=settings, effect="makes them")]
    images_alone = any(
        set(problems) == set(need.unlike(features.extractors[key].fingerprint))
        for key, problems in wrong.items()
    )
    if images_alone:
        effect = "takes them as they are, which every test will say"
        advice.append(Set("as_prepared", True, effect=effect))
    told = "; ".join(f"of {key} {', '.join(problems)}" for key, problems in wrong.items())
    where = features.store or "what these models make"
    return InputError(
        f"the head reads {field} {shape}, and {where} has none that fits"
        + (f": {told}" * bool(told)),
        *advice,
    )
