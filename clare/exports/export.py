"""A finished run as one file, or one folder, that runs without CLaRE."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clare.advice import Name, Set
from clare.errors import ClareError, InputError
from clare.exports.kinds import Contents, Kind, choose_kind
from clare.files import appearing, make_folder, require_free_space, write_durably

if TYPE_CHECKING:
    from clare.exports.facts import Facts
    from clare.exports.kinds import Runner
    from clare.exports.module import ExportedModel
    from clare.heads.config import DetectorConfig
    from clare.heads.runs.run import Run
    from clare.store.feature_store import FeatureStore

COMPARED = (1, 3)
"""Images of the batches that are compared."""


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Args:
        path: the file or the folder.
        kind: its format.
        facts: what it says of itself.
        difference: the largest between an output of the finished file and the run's own, over
            random inputs.
        size: in bytes.
    """

    path: Path
    kind: Kind
    facts: Facts
    difference: float
    size: int


def export(
    run: Path | str,
    out: Path | str,
    *,
    to: Kind | None = None,
    head_only: bool = False,
    store: FeatureStore | Path | str | None = None,
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Exported:
    """Write a finished run in a format that runs without CLaRE, and compare it with the run.

    Inputs are float32 and named: ``pixels`` (B, 3, S, S), normalised, or with ``head_only`` the
    stored fields that the head reads. Outputs are ``margin`` (B,), logit of fake less logit of
    real; ``p_fake`` (B,), its sigmoid; of a localiser also ``map`` (B, 256, 256), the probability
    of each pixel of the squashed image. What else there is to know is inside as JSON, see
    `clare.exports.facts.Facts`. The finished file is run on random inputs, one image and three,
    before it takes its name.

    Args:
        run: folder of a finished run.
        out: the file, or the folder, which is not there yet.
        to: ``onnx``, ``torchscript``, ``pt2``, ``safetensors``, or ``folder``, for a model hub; if
            left out the ending of ``out`` tells it.
        head_only: from features, without the towers.
        store: where the text tower of a head alone is looked for, if not in the run's own store.
        settings: where weights of towers are, if not where they were: extractor to its settings.

    Raises:
        InputError: the run is not finished, or can't be exported so; the format is unknown, or
            lacks a package; something stands at ``out``.
        WeightsError: a tower's weights are not on disk and can't be fetched.
        StoreError: the text tower is needed and its store is not there, or ``out`` can't be used.
        DiskSpaceError: the disk is full.
        ClareError: the format can't hold such a model, or computes something else.
    """
    from clare.exports.formats import find_format
    from clare.heads.runs.record import read_record, read_validation
    from clare.typed_json import to_json

    folder, out = Path(run), Path(out)
    store = Path(store) if isinstance(store, str) else store
    kind = choose_kind(to, out)
    if os.path.lexists(out):
        raise InputError(f"something stands at {out} already", Name("another place", "out"))
    record = read_record(folder)
    read_validation(folder)
    if record.config.detector.tune != "none":
        raise InputError(f"{folder} tuned its image tower, and such runs can't be exported yet")
    if not head_only:
        _refuse_noise(folder, record.config.detector)
    opened, model, facts = _head_alone(folder, store) if head_only else _whole(folder, settings)
    make_folder(out.parent)
    require_free_space(out.parent, _bytes(model))
    contents = _written(kind, model, json.dumps(to_json(facts)))
    if kind == "folder":
        from clare.exports.card import write_card
        from clare.exports.weights import CARD

        contents = {**contents, CARD: write_card(opened, facts).encode()}
    with appearing(out) as partial:
        for name, data in contents.items():
            write_durably(partial / name if name else partial, data)
        difference = largest_difference(model, find_format(kind).load(partial, model))
        if not difference <= model.tolerance:
            raise ClareError(
                f"what {kind} computes of random inputs differs from the run by {difference:.2g}, "
                f"more than {model.tolerance:g}: nothing was written",
                Name("another format", "to"),
            )
    return Exported(out, kind, facts, difference, sum(map(len, contents.values())))


def largest_difference(model: ExportedModel, run: Runner) -> float:
    """The largest difference of any output, over random batches of one image and of three.

    Infinite where a shape is another or a value is no number.
    """
    import torch

    largest = 0.0
    for count in COMPARED:
        inputs = model.examples(count, seed=count)
        with torch.inference_mode():
            pairs = list(zip(model(*inputs), run(inputs), strict=True))
        for ours, theirs in pairs:
            if ours.shape != theirs.shape:
                return float("inf")
            found = (ours - theirs).abs().max().item()
            largest = max(largest, found if found == found else float("inf"))
    return largest


def _refuse_noise(run: Path, config: DetectorConfig) -> None:
    """Refuse a whole detector that reads LaRE: its noise is drawn from the bytes of a file."""
    from clare.heads.base import INPUTS
    from clare.heads.detector import fusion_roles
    from clare.heads.localizer import roles_of

    roles = roles_of(config) if config.decoder else fusion_roles(config)
    if any(INPUTS[role].drawn for role in roles):
        raise InputError(
            f"{run} reads LaRE, which is no function of the pixels: its noise is drawn from the "
            "bytes of each image's file",
            Set("head_only", True, "exports the head, which takes features"),
        )


def _whole(
    folder: Path, settings: Mapping[str, Mapping[str, Any]]
) -> tuple[Run, ExportedModel, Facts]:
    """The detector with the towers that it reads."""
    from clare.exports.facts import gather_facts, pixel_inputs
    from clare.exports.module import PixelDetector, TowerInput
    from clare.inference.notices import remarks_of
    from clare.inference.predictor import load_detector

    # What is exported takes pixels: whoever uses it aligns the faces.
    predictor = load_detector(folder, align="none", device="cpu", settings=settings)
    names = {made.fingerprint.key: name for name, made in predictor.run.record.extractors.items()}
    towers = []
    for extractor, recorded, fields in predictor.extractors:
        model, name = extractor.pixel_model(), names[recorded.key]
        if model is None:
            raise InputError(
                f"{folder} reads {name}, and that extractor gives no model over pixels",
                Set("head_only", True, "exports the head, which takes features"),
            )
        dtypes = {one.field: one.dtype for one in extractor.fields}
        stored = {called: (field, dtypes[field]) for called, field in fields.items()}
        pixels = "pixels" if len(predictor.extractors) == 1 else f"pixels_{name}"
        towers.append((TowerInput(pixels, model, stored), name, recorded))
    detector = PixelDetector(predictor.run.detector, [tower for tower, *_ in towers])
    run = predictor.run
    made_by = [recorded for _, recorded, _ in predictor.extractors]
    remarks = [one.what for one in (*predictor.of_precision, *remarks_of(run, made_by))]
    inputs = pixel_inputs(towers, run.record.face_detectors)
    return run, detector, gather_facts(run, detector, inputs, remarks)


def _head_alone(
    folder: Path, store: FeatureStore | Path | None
) -> tuple[Run, ExportedModel, Facts]:
    """The head, from stored features."""
    from clare.exports.facts import feature_inputs, gather_facts
    from clare.exports.module import HeadAlone
    from clare.heads.runs.run import open_run
    from clare.inference.notices import remarks_of

    run = open_run(folder, store)
    made_by = [made.fingerprint for made in run.record.extractors.values()]
    remarks = [notice.what for notice in remarks_of(run, made_by)]
    head = HeadAlone(run.detector)
    return run, head, gather_facts(run, head, feature_inputs(head), remarks)


def _written(kind: Kind, model: ExportedModel, facts: str) -> Contents:
    """The files of an export; what an exporter can't follow ends in a sentence."""
    from clare.exports.formats import find_format
    from clare.models.runtime import is_out_of_memory

    try:
        return find_format(kind).write(model, facts)
    except ClareError:
        raise
    except Exception as error:  # exporters raise all sorts over what they can't follow
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()
        raise ClareError(
            f"{kind} can't hold this model ({reason[0] if reason else type(error).__name__})",
            Name("another format", "to"),
        ) from error


def _bytes(model: ExportedModel) -> int:
    return sum(one.numel() * one.element_size() for one in [*model.parameters(), *model.buffers()])
