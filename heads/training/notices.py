"""What a configuration does that its user may not expect, and what in it is contradictory."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from clare.advice import LeaveOut, Name, Notice, Set
from clare.augmentation.recipe import find_recipe
from clare.errors import InputError
from clare.heads.base import INPUTS, Shapes
from clare.heads.config import Machine, TrainConfig
from clare.heads.data.samples import Samples
from clare.heads.detector import Detector, tower_fields
from clare.heads.layers.tower import TowerFusion
from clare.heads.localizer import Localizer
from clare.heads.model import Model
from clare.plugins import part_name
from clare.wording import counted, listed


def notices_of(model: Model, config: TrainConfig) -> list[Notice]:
    """What a configuration does that its user may not expect.

    Raises:
        InputError: parts and losses contradict each other.
    """
    read = [*zip(model.roles, model.fields, strict=True), *tower_fields(model.config).items()]
    notes = [
        Notice(
            f"{name} is read as {role}, in place of {INPUTS[role].field}"
            + ("" if INPUTS[role].standardized else ", and is not standardised")
        )
        for role, name in read
        if name != INPUTS[role].field != "" and not isinstance(model, Localizer)
    ]
    idle = _OF_SCORES if isinstance(model, Localizer) else _OF_MAPS
    usual = TrainConfig().settings
    if named := [name for name in idle if config.settings[name] != usual[name]]:
        kind = "a decoder" if isinstance(model, Localizer) else "a head without a decoder"
        notes.append(Notice(f"{kind} has no use for {listed(named)}", LeaveOut(*named)))
    if isinstance(model, Localizer):
        return notes + _localizer_notices(model, config)
    assert isinstance(model, Detector)
    return notes + _detector_notices(model, config)


def notices_of_machine(machine: Machine, configs: Sequence[TrainConfig]) -> list[Notice]:
    """What a machine is asked for that none of the configurations has a use for."""
    if not machine.recompute or any(config.detector.is_tuned for config in configs):
        return []
    return [Notice("recompute has no effect: no tower is tuned", LeaveOut("recompute"))]


def notices_of_pairs(train: Samples, config: TrainConfig) -> list[Notice]:
    """How many pairs are kept together, if any are.

    Raises:
        InputError: a batch can't hold the largest one.
    """
    if train.groups is None:
        return []
    sizes = np.bincount(train.groups)
    if (largest := int(sizes.max())) > config.batch:
        raise InputError(
            f"a real and its fakes are up to {largest} rows, and a batch takes {config.batch}",
            Set("batch", largest, effect="keeps them together"),
        )
    pairs, others = int((sizes - 1).sum()), int((sizes == 1).sum())
    told = f"batches are of whole pairs: {counted(pairs, 'pair')}"
    return [Notice(f"{told}, and {counted(others, 'row')} without one" if others else told)]


_OF_SCORES = ("label_smoothing", "balance", "alignment", "uniformity", "slerp", "pair_loss")
_OF_MAPS = ("score", "supervision", "empty_masks")
"""Settings that a localiser, or a detector, has no use for."""


def _localizer_notices(model: Localizer, config: TrainConfig) -> list[Notice]:
    by_label = config.supervision == "image"
    if config.scope != "full":
        raise InputError(
            "a decoder has no prompts, which are all that learns as published",
            Set("scope", "full"),
        )
    if config.select in ("auc", "balanced_accuracy") and not config.takes_reals:
        raise InputError(
            f"{config.select} needs real images, and masks of fakes alone are learnt",
            Set("select", "iou"),
            Set("empty_masks", True, effect="trains on real images too"),
        )
    if config.shuffle_labels and not by_label:
        raise InputError(
            "masks are learnt, and shuffled labels would change nothing",
            LeaveOut("shuffle_labels"),
            Set("supervision", "image", effect="learns from labels"),
        )
    size = kept_bytes(model) * config.batch
    notes = [] if size < 1e9 else [Notice(f"a step keeps about {size / 1e9:.1f} GB in memory")]
    if config.reals and not config.takes_reals:
        what = f"real images of {listed(config.reals)} are not trained on, where masks are learnt"
        notes.append(Notice(what, Set("empty_masks", True, effect="trains on them too")))
    if not config.takes_reals:
        notes.append(Notice("it learns on fakes alone: what it finds on real images says little"))
    return notes


def kept_bytes(model: Localizer) -> int:
    """Bytes that a decoder keeps of one image between its forward and its backward pass.

    Nothing is computed: the decoder runs on shapes alone, of one and of two images, and of several
    that are alike only one. 0 where it is none that can.
    """
    decoder = model.decoder
    sizes = tuple((name, *value.shape) for name, value in decoder.state_dict().items())
    alike = (type(decoder), decoder.settings, tuple(model.shapes.items()), sizes)
    if alike not in _KEPT:
        try:
            probe = copy.deepcopy(decoder).to("meta")
            one, two = (_kept(probe, model.shapes, rows) for rows in (1, 2))
            _KEPT[alike] = two - one
        except (NotImplementedError, RuntimeError, TypeError):
            _KEPT[alike] = 0
    return _KEPT[alike]


_KEPT: dict[Any, int] = {}
"""By what decides it: a sweep has many runs of one decoder, and shapes run slowly."""


def _kept(decoder: nn.Module, shapes: Shapes, rows: int) -> int:
    """Bytes that autograd keeps of a pass over some rows."""
    inputs = {role: torch.empty((rows, *shape), device="meta") for role, shape in shapes.items()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[id(tensor)] = tensor  # held, so that its id stays its own
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = decoder(inputs)
    del maps
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values())


def _detector_notices(detector: Detector, config: TrainConfig) -> list[Notice]:
    chosen = config.detector
    fusion, classifier = part_name(chosen.fusion), part_name(chosen.classifier)
    if config.select == "iou":
        raise InputError("IoU is of a decoder's map", Set("select", "auc"))
    if config.slerp and not detector.classifier.normalizes:
        raise InputError(
            f"slerp trains on directions alone, and {classifier} would be tested on lengths too",
            Set("classifier.normalize", True, effect="brings vectors to unit length"),
            Name("another classifier", "classifier"),
            LeaveOut("slerp"),
        )
    if config.slerp and config.pair_loss:
        raise InputError(
            "slerp mixes each image with another of its class, and a fake of the pair loss lies "
            "beside its own real",
            LeaveOut("slerp"),
            LeaveOut("pair_loss"),
        )
    notes = []
    fitted = detector.classifier.is_fitted
    if fitted and config.takes_pairs:
        notes.append(Notice(f"{classifier} takes no steps, and pairs change nothing"))
    if config.pair_margin != TrainConfig.pair_margin and not config.pair_loss:
        what = "pair_margin changes nothing without pair_loss"
        notes.append(Notice(what, Name("a weight", "pair_loss")))
    if isinstance(detector.fusion, TowerFusion):
        if fitted or config.scope != "full":
            why = f"{classifier} takes no steps" if fitted else "the prompts alone learn"
            raise InputError(f"{why}, and no tower is tuned then", LeaveOut("tune"))
        moves = sum(one.numel() for one in detector.fusion.tower.parameters() if one.requires_grad)
        told = f"{part_name(chosen.tune)} moves {detector.fusion.told}"
        notes.append(Notice(f"{told}: {counted(moves, 'parameter')} of the image tower"))
    if config.augment:
        if find_recipe(config.augment).MIXES:  # read before anything else is
            raise InputError(
                f"{part_name(config.augment)} mixes fakes with their own reals, and augment sees "
                "one square of pixels at a time",
                Name("another recipe", "augment"),
                Set("augment", "", effect="leaves it out; such views can be extracted"),
            )
        if "pixels" not in detector.roles:
            raise InputError(
                f"{chosen.way} begins with what its first blocks made once, and augment draws "
                "views of pixels",
                LeaveOut("augment"),
            )
        if "parts" in detector.roles:
            raise InputError(
                f"augment turns and shifts what the tower sees, and {fusion} would pool the parts "
                "of the face where they were before",
                LeaveOut("augment"),
            )
        if {"lare", "lare_steps"} & set(detector.roles):
            what = f"augment {part_name(config.augment)} changes what the tower sees; LaRE stays"
            notes.append(Notice(f"{what} that of the image as it is stored"))
    learning = {} if fitted else detector.parameters_to_train(config.scope)
    losses = [name for name in ("alignment", "uniformity") if getattr(config, name)]
    if losses and not any(name.startswith("fusion.") for name in learning):
        what = f"{' and '.join(losses)} change nothing here: vectors of {fusion} don't learn"
        notes.append(Notice(what))
    if fitted and config.init_from is None and any(True for _ in detector.fusion.parameters()):
        notes.append(
            Notice(
                f"{classifier} learns nothing, and {fusion} keeps its random start",
                Name("a run whose fusion was trained", "init_from"),
            )
        )
    return notes


def slerp_notices(config: TrainConfig, counts: Mapping[str, int]) -> list[Notice]:
    """What slerp has to mix in each class, of so many training images; a decoder mixes none.

    Raises:
        InputError: a class has a single one.
    """
    if not config.slerp or config.detector.decoder:
        return []
    name, fewest = min(counts.items(), key=lambda one: one[1])
    if fewest < 2:
        raise InputError(
            f"slerp mixes images of one class, and training has a single {name} one",
            Name("subsets with more of them", "train"),
            LeaveOut("slerp"),
        )
    expected = config.batch * fewest / sum(counts.values())
    if expected >= 2:
        return []
    what = (
        f"a batch has {expected:.1f} {name} images on average, and slerp leaves one alone as it is"
    )
    return [Notice(what, Name("larger batches", "batch"))]
