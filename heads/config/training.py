"""Everything that decides a training, its detector's settings among them; held flat outside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from clare.advice import LeaveOut, Name, Set
from clare.errors import InputError
from clare.heads.config.detector import (
    NO_TUNING,
    PARTS,
    SETTABLE,
    DetectorConfig,
    absolute_part,
    with_underscores,
)
from clare.protocol import Sampling, read_protocol, split_name
from clare.settings import check_settings
from clare.typed_json import to_json

RUN_RECORD = "config.json"
"""Of a run, in its folder: its configuration is in there."""

Memory = Literal["auto", "device", "host", "disk"]
"""Where features may lie; ``auto`` takes the nearest place with room."""

Scope = Literal["full", "as-published"]
"""What learns: every part of the head, or the prompt learner alone (as CLaRE was trained)."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Only the store's place, the run's folder and the machine stand elsewhere.

    Presets, files and records of runs hold it flat: the detector's settings beside the others.

    Args:
        detector: what is trained.
        train: subsets to train on. All of the store's if left out.
        reals: subsets whose real rows join.
        domains: rows of these domains alone.
        frames: of each video at most. Frames of an image set that is sorted into a folder for
            each video count as a video's too.
        sampling: which frames of a video: evenly spaced ones, or the first.
        protocol: where train, reals, domains and frames come from: NAME, NAME/KEY or a YAML file.
        partial: train on what the store has of the protocol; what it lacks is told with every
            figure.
        features: fingerprint by extractor, or by field, where the store has several. ``latest``
            takes the one whose extraction was begun last, ``A+B`` two beside each other, where
            each has a field that the other lacks.
        extracted: settings by extractor that this configuration was published with. They choose
            among several fingerprints.
        fraction: share of the training rows, by subset and label, whole videos. Smaller shares
            lie in larger ones.
        calibration: share of validation's people, videos and images that choose neither checkpoint
            nor threshold: conformal sets are calibrated on them alone. With none they are
            calibrated on the rows that chose, and cover less than they state where these are few.
        views: whether augmented views are drawn beside the plain one.
        augment: a recipe of views that are drawn anew in every epoch, of the pixels that a tuned
            tower looks at: clare, gend, yermandy, univfd, declip, lare2 and others, or a Python
            file with a `clare.augmentation.recipe.ViewRecipe`. Stored views are then left out.
            Nothing if empty.
        shuffle_labels: shuffle the labels of training and validation. The control: it has to find
            nothing.
        seed: of everything but the order of the data.
        data_seed: of the order of rows and views, and of the fraction.
        scope: what learns: every part, or the prompt learner alone.
        init_from: folder of a run whose parameters of the same name and shape are taken over; and
            its detector, where no preset, configuration or part is named.
        optimizer: AdamW, or SGD with momentum. With SGD, weight decay joins the gradient.
        lr: learning rate after the warm-up.
        momentum: of SGD.
        weight_decay: of either optimizer.
        schedule: of the learning rate: constant, a cosine from lr to min_lr, or plateau: lr times
            plateau_factor whenever validation has not gained for more than plateau_patience epochs.
        schedule_by: whether the learning rate changes with every step or every epoch.
        cycle: epochs after which a cosine starts again. The whole training if left out.
        min_lr: learning rate at which a cosine or a plateau ends.
        plateau_patience: epochs without a gain that a plateau bears; the one beyond lowers the
            learning rate, as in torch's ReduceLROnPlateau.
        plateau_factor: what a plateau multiplies the learning rate with.
        warmup_epochs: epochs before the schedule begins.
        warmup: constant at warmup_lr, or linear from warmup_lr to lr.
        warmup_lr: learning rate of the warm-up, or its beginning.
        epochs: passes over the training rows, warm-up included.
        batch: rows a step.
        clip: largest norm of the gradient. Not clipped if none.
        label_smoothing: share of the target spread over both classes.
        balance: whether both classes weigh the same.
        alignment: weight of the alignment loss (GenD).
        uniformity: weight of the uniformity loss (GenD).
        slerp: whether vectors are mixed within their class while training
            (yermandy/deepfake-detection).
        pair_batches: whether batches are of whole pairs, each real beside the fakes that were made
            of it, in one view; rows without a pair take the places that are left.
        pair_loss: weight of the pair loss, by which a fake's margin has to lie above that of its
            own real. Batches are of whole pairs then.
        pair_margin: how far above, in logits.
        supervision: what a decoder learns from: masks, or the label of the image alone, which its
            score has to tell.
        empty_masks: whether a decoder trains on real images too, as images with empty masks.
        select: the figure on validation that chooses the checkpoint. ``iou`` is a decoder's: the
            mean over fakes, at 0.5.
        patience: epochs without a gain after which training stops.
        min_gain: the least rise of the figure that counts as a gain.
        plateau_forgets: whether after a fall of the rate the next epoch's figure is the one to
            beat, by twice min_gain, as in DeCLIP.
        precision: of the steps. Validation runs in float32.
        preset: the preset that this configuration began from. It decides nothing: two that differ
            in it alone are equal.

    Raises:
        InputError: a number is out of its range.
    """

    detector: DetectorConfig = field(default_factory=DetectorConfig)
    train: tuple[str, ...] = ()
    reals: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    frames: int | None = None
    sampling: Sampling = "even"
    protocol: str | None = None
    partial: bool = False
    features: Mapping[str, str] = field(default_factory=dict)
    extracted: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fraction: float = 1.0
    calibration: float = 0.0
    views: bool = True
    augment: str = ""
    shuffle_labels: bool = False
    seed: int = 0
    data_seed: int = 0
    scope: Scope = "full"
    init_from: str | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 5e-4
    momentum: float = 0.9
    weight_decay: float = 0.01
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    schedule_by: Literal["step", "epoch"] = "step"
    cycle: int | None = None
    min_lr: float = 0.0
    plateau_patience: int = 4
    plateau_factor: float = 0.5
    warmup_epochs: int = 1
    warmup: Literal["constant", "linear"] = "linear"
    warmup_lr: float = 1e-5
    epochs: int = 10
    batch: int = 64
    clip: float | None = 1.0
    label_smoothing: float = 0.0
    balance: bool = True
    alignment: float = 0.0
    uniformity: float = 0.0
    slerp: bool = False
    pair_batches: bool = False
    pair_loss: float = 0.0
    pair_margin: float = 1.0
    supervision: Literal["mask", "image"] = "mask"
    empty_masks: bool = False
    select: Literal["auc", "balanced_accuracy", "loss", "iou"] = "auc"
    patience: int | None = None
    min_gain: float = 0.0
    plateau_forgets: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    preset: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        least = {
            **dict.fromkeys(("frames", "epochs", "batch", "cycle", "patience"), 1),
            **dict.fromkeys(("warmup_epochs", "plateau_patience", "seed", "data_seed"), 0),
        }
        limits = {
            "fraction": (0 < self.fraction <= 1, "above 0 and at most 1"),
            "calibration": (0 <= self.calibration < 1, "0 or more and below 1"),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "min_lr": (0 <= self.min_lr <= self.lr, f"0 to the learning rate, {self.lr}"),
            "warmup_lr": (0 <= self.warmup_lr < math.inf, "0 or more"),
            "clip": (self.clip is None or 0 < self.clip < math.inf, "above 0"),
            "plateau_factor": (0 < self.plateau_factor < 1, "between 0 and 1"),
            "momentum": (0 <= self.momentum < 1, "0 or more and below 1"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "0 or more and below 1"),
            "alignment": (0 <= self.alignment < math.inf, "0 or more"),
            "uniformity": (0 <= self.uniformity < math.inf, "0 or more"),
            "pair_loss": (0 <= self.pair_loss < math.inf, "0 or more"),
            "pair_margin": (0 <= self.pair_margin < math.inf, "0 or more"),
            "min_gain": (0 <= self.min_gain < math.inf, "0 or more"),
        }
        for name, lowest in least.items():
            value = getattr(self, name)
            limits[name] = (value is None or value >= lowest, f"{lowest} or more")
        object.__setattr__(self, "augment", absolute_part(self.augment))
        if self.augment and not self.detector.is_tuned:
            raise InputError(
                "augment draws views of the pixels that a tuned tower looks at, and this one reads "
                "features that are cached",
                Name("a way of tuning", "tune", "ln"),
                Set("augment", "", effect="leaves it out; views can be extracted"),
            )
        for name, (holds, allowed) in limits.items():
            if not holds:
                raise InputError(
                    f"training's setting {name} can't be {getattr(self, name)}: it is {allowed}"
                )

    def needs_masks(self, split: str) -> bool:
        """Whether the fakes of a split, ``train`` or ``val``, need a mask."""
        if not self.detector.decoder:
            return False
        return self.supervision == "mask" or (split == "val" and self.select == "iou")

    @property
    def takes_views(self) -> bool:
        """Whether stored views are drawn beside the plain ones."""
        return self.views and not self.augment

    @property
    def takes_pairs(self) -> bool:
        """Whether batches are of whole pairs."""
        return self.pair_batches or (self.pair_loss > 0 and not self.detector.decoder)

    @property
    def takes_reals(self) -> bool:
        """Whether it trains on real images too."""
        return not self.detector.decoder or self.supervision == "image" or self.empty_masks

    @property
    def pools(self) -> tuple[str, ...]:
        """The subsets of ``reals``, where real images are trained on at all."""
        return self.reals if self.takes_reals else ()

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name, the detector's beside the others."""
        return {**vars(self.detector), **{n: v for n, v in vars(self).items() if n != "detector"}}

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON, for `create_config`."""
        found: dict[str, Any] = to_json(self.settings)
        return found

    @classmethod
    def from_json(cls, record: Any) -> TrainConfig:
        """What `to_json` gave.

        Raises:
            InputError: a name or a value is not usable.
        """
        if not isinstance(record, Mapping):
            raise InputError("a configuration is a table of names and values")
        values = dict(record)
        protocol = values.pop("protocol", None)
        if protocol is None or "train" not in values:
            return create_config(record)
        check_settings("training", TrainConfig, {"protocol": protocol})
        return replace(create_config(values), protocol=protocol)


def create_config(values: Mapping[str, Any], onto: TrainConfig | None = None) -> TrainConfig:
    """A configuration from plain values, names and types checked.

    Args:
        values: by name, as `TrainConfig.settings` has them. A protocol is followed.
        onto: what holds where no value is given. Settings of its fusion or classifier are left
            behind where the values name another one.

    Raises:
        InputError: a name or a value is not usable, or subsets stand beside a protocol.
    """
    base, given = onto or TrainConfig(), dict(values)
    if isinstance(given.get("protocol"), str):
        refuse_beside_protocol(given)
        base = follow_protocol(base, given.pop("protocol"))
    rest = check_settings("training", TrainConfig, given)
    detector = {f.name: rest.pop(f.name) for f in fields(DetectorConfig) if f.name in rest}
    if {"train", "reals", "domains"} & set(rest):
        rest.setdefault("protocol", None)
    _choose_kind(detector, base.detector)
    for part in SETTABLE:
        if part in detector and absolute_part(detector[part]) != getattr(base.detector, part):
            detector.setdefault(f"{part}_settings", {})
    return replace(base, detector=replace(base.detector, **detector), **rest)


def _choose_kind(given: dict[str, Any], base: DetectorConfig) -> None:
    """Settle whether fusion and classifier or a decoder is meant; each leaves the other behind."""
    if "tune" in given:
        given["tune"] = with_underscores(given["tune"])
    if given.get("decoder"):
        given["decoder"] = with_underscores(given["decoder"])
        given.setdefault("tune", NO_TUNING)
        if beside := [part for part in PARTS[:2] if given.get(part)]:
            raise InputError(
                "a decoder stands in the place of fusion and classifier",
                LeaveOut(*beside),
                LeaveOut("decoder"),
            )
    elif any(given.get(part) for part in PARTS[:2]) and base.decoder:
        usual = DetectorConfig()
        given.update({part: given.get(part) or getattr(usual, part) for part in PARTS[:2]})
        given["decoder"] = ""


def refuse_beside_protocol(names: Iterable[str]) -> None:
    """Refuse settings that a protocol decides: a run would be recorded as what it is not."""
    if named := [name for name in ("train", "reals", "domains") if name in set(names)]:
        raise InputError("a protocol names its subsets, reals and domains", LeaveOut(*named))


def follow_protocol(config: TrainConfig, name: str) -> TrainConfig:
    """A configuration with the training of a protocol.

    Args:
        config: keeps everything but its subsets, domains, frames and sampling.
        name: ``NAME``, or ``NAME/KEY`` where a protocol is trained in several ways.

    Raises:
        InputError: there is no such protocol, or it has no such training.
    """
    found, key = split_name(name)
    training = read_protocol(found).training(key)
    return replace(
        config,
        train=training.fakes,
        reals=training.reals,
        domains=training.domains,
        frames=training.frames,
        sampling=training.sampling,
        protocol=name,
    )


@dataclass(frozen=True)
class Machine:
    """What a run's result does not depend on.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``…
        memory: where features lie; ``auto`` takes the nearest place with room.
        compile: pass a single run's step through ``torch.compile``.
        keep_every: keep the detector of every k-th epoch; 0 keeps none.
        tensorboard: write TensorBoard's files too.
        wandb: show the training in Weights & Biases; offline with WANDB_MODE=offline.
        recompute: compute a tuned tower's blocks once more in the backward pass, instead of keeping
            what they computed: less memory for a third more time.
        settings: where the weights of a tuned tower are, if not where they were: extractor to its
            settings.
        checkpoint_seconds: seconds after which what is needed to resume is written again; a kill
            costs no more than that and one epoch.
    """

    device: str = "cpu"
    memory: Memory = "auto"
    compile: bool = False
    keep_every: int = 0
    tensorboard: bool = False
    wandb: bool = False
    recompute: bool = False
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checkpoint_seconds: float = 30.0
