"""Everything that decides a detector and its training; presets and files that hold it flat."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from clare.advice import LeaveOut, Name, Set
from clare.errors import InputError
from clare.foreign import read_value
from clare.plugins import is_path, part_name
from clare.protocol import Sampling, read_protocol, split_name
from clare.settings import check_settings
from clare.typed_json import from_json, to_json

RUN_RECORD = "config.json"
"""Of a run, in its folder: its configuration is in there."""

PRESETS = Path(__file__).parent / "presets"
DEFAULT_PRESET = "clare"
DEFAULT_DECODER_PRESET = "localize"
"""What holds where a decoder is asked for and no preset."""


Memory = Literal["auto", "device", "host", "disk"]
"""Where features may lie; ``auto`` takes the nearest place with room."""

Scope = Literal["full", "as-published"]
"""What learns: every part of the head, or the prompt learner alone (as CLaRE was trained)."""


NO_TUNING = "none"
"""In place of a way of tuning: the tower stays as it is, and its features are read."""

_BLOCKS, _LAST = "blocks", "last"
"""The way of tuning whose setting stands in its own text, ``blocks:4``, and that setting."""

PartKind = Literal["fusion", "classifier", "decoder"]
PARTS: tuple[PartKind, ...] = ("fusion", "classifier", "decoder")

SETTABLE: tuple[str, ...] = (*PARTS, "tune")
"""Parts that have settings of their own: those of a head, and the way its tower is tuned."""

Score = Literal["mean", "mean_logit", "max", "top"]
"""How an image's score comes from its map."""


@dataclass(frozen=True)
class DetectorConfig:
    """Everything that decides a detector's shape and what it reads.

    With a decoder there is neither fusion nor classifier: both are empty.

    Args:
        fusion: what makes one vector of an image's features. A name, or a Python file with a
            `clare.heads.base.Fusion`.
        classifier: what decides by the vector. A name, or a Python file with a
            `clare.heads.base.Classifier`.
        decoder: what makes a map of fake pixels of an image's features. A name, or a Python file
            with a `clare.heads.base.Decoder`; empty for a detector of fusion and classifier.
        fusion_settings: those that differ from the fusion's defaults.
        classifier_settings: those that differ from the classifier's defaults.
        decoder_settings: those that differ from the decoder's defaults.
        score: how an image's score comes from a decoder's map: ``mean`` or ``max`` of its
            probabilities, ``top``, the mean of the highest hundredth of them, or ``mean_logit``.
        tune: how the image tower moves while the head learns, from the store's pixels: a way of
            `clare.models.tuning`, or a Python file with a `clare.models.tuned.Tuning`; ``none``
            trains on cached features, ``blocks:4`` moves the last four blocks.
        tune_settings: those that differ from the way's defaults.
        fields: the store's field by role (cls, tokens, tokens_2, lare, mask, pixels) where it is
            not the usual one. Of a decoder they name what it takes; the tokens alone if left out.
            Those of block_tokens and block_cls follow from ``tune``.
        timestep: which of the stored LaRE timesteps, counted from 0.
        draws: LaRE noise draws that are averaged. All if left out.
        standardize: whether tokens and LaRE are standardised by channel. The class token never
            is: it comes from a LayerNorm, and its space is the prompts'.
    """

    fusion: str = "cross_attn"
    classifier: str = "cocoop"
    decoder: str = ""
    fusion_settings: Mapping[str, Any] = field(default_factory=dict)
    classifier_settings: Mapping[str, Any] = field(default_factory=dict)
    decoder_settings: Mapping[str, Any] = field(default_factory=dict)
    score: Score = "mean"
    tune: str = NO_TUNING
    tune_settings: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    timestep: int = 0
    draws: int | None = None
    standardize: bool = True

    def __post_init__(self) -> None:
        if self.decoder:
            object.__setattr__(self, "decoder", _with_underscores(self.decoder))
            for part in PARTS[:2]:
                object.__setattr__(self, part, "")
                object.__setattr__(self, f"{part}_settings", {})
        tune, settings = _tuning(self.tune)
        object.__setattr__(self, "tune", tune)
        object.__setattr__(self, "tune_settings", {**self.tune_settings, **settings})
        if self.decoder and self.is_tuned:
            raise InputError(
                "a tower is tuned under a fusion and a classifier, not under a decoder",
                LeaveOut("tune"),
                LeaveOut("decoder"),
            )
        for name in SETTABLE:
            object.__setattr__(self, name, _absolute(getattr(self, name)))

    @property
    def is_tuned(self) -> bool:
        """Whether its image tower moves."""
        return self.tune != NO_TUNING

    @property
    def way(self) -> str:
        """How its image tower moves, as it is asked for: ``blocks:4``."""
        if self.tune != _BLOCKS or _LAST not in self.tune_settings:
            return self.tune
        return f"{self.tune}:{self.tune_settings[_LAST]}"

    @property
    def parts(self) -> dict[str, str]:
        """The names of its parts, by what they are."""
        found: dict[str, str] = {kind: name for kind in PARTS if (name := getattr(self, kind))}
        return {**found, "tune": self.tune} if self.is_tuned else found


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
        slerp: whether vectors are mixed within their class while training (GenD).
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
            "min_gain": (0 <= self.min_gain < math.inf, "0 or more"),
        }
        for name, lowest in least.items():
            value = getattr(self, name)
            limits[name] = (value is None or value >= lowest, f"{lowest} or more")
        object.__setattr__(self, "augment", _absolute(self.augment))
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


def _with_underscores(name: str) -> str:
    """A decoder's name as its file has it: ``conv-20`` is conv_20."""
    return name if is_path(name) else name.replace("-", "_")


def _tuning(text: str) -> tuple[str, dict[str, Any]]:
    """A way of tuning and the settings that its text gives: ``blocks:4`` is the last four blocks.

    Raises:
        InputError: what stands behind ``blocks:`` is no number.
    """
    name, colon, number = text.partition(":")
    if name != _BLOCKS or not colon:
        return _with_underscores(text), {}
    if not number.isascii() or not number.isdigit():
        raise InputError(f"blocks:K takes a number of blocks, as in blocks:4, not {number!r}")
    return name, {_LAST: int(number)}


def _absolute(part: str) -> str:
    """A part's name; of a file its full path, which any working folder finds."""
    return str(Path(part).expanduser().absolute()) if is_path(part) else part


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
        if part in detector and _absolute(detector[part]) != getattr(base.detector, part):
            detector.setdefault(f"{part}_settings", {})
    return replace(base, detector=replace(base.detector, **detector), **rest)


def _choose_kind(given: dict[str, Any], base: DetectorConfig) -> None:
    """Settle whether fusion and classifier or a decoder is meant; each leaves the other behind."""
    if "tune" in given:
        given["tune"] = _with_underscores(given["tune"])
    if given.get("decoder"):
        given["decoder"] = _with_underscores(given["decoder"])
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


def begin_from(preset: str | None, named: Mapping[str, Any]) -> TrainConfig:
    """The preset that a training begins from.

    Args:
        preset: its name; if left out the usual one, with a decoder or without, and of the run in
            ``init_from`` the detector, unless a part of another is named.
        named: settings that are given beside it.

    Raises:
        InputError: there is no such preset, or it is one of a decoder and a fusion or classifier is
            named beside it, or the other way round; or the run's record is damaged.
    """
    if preset is None:
        parent = Path(str(named.get("init_from", ""))) / RUN_RECORD
        if parent.is_file() and not any(part in named for part in PARTS):
            detector = read_config(parent).detector
            usual = DEFAULT_DECODER_PRESET if detector.decoder else DEFAULT_PRESET
            return replace(read_preset(usual), detector=detector)
        return read_preset(DEFAULT_DECODER_PRESET if "decoder" in named else DEFAULT_PRESET)
    found = read_preset(preset)
    own = ("decoder",) if found.detector.decoder else PARTS[:2]
    if strange := [part for part in PARTS if part in named and part not in own]:
        raise InputError(
            f"preset {preset} is of a {' and a '.join(own)}, which a {strange[0]} does not replace",
            LeaveOut("preset"),
            LeaveOut(*strange),
        )
    return found


def list_presets() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_preset(name: str) -> TrainConfig:
    """A preset by name.

    Raises:
        InputError: there is no such preset.
    """
    if name not in list_presets():
        raise InputError(f"preset {name!r} is not one of {', '.join(list_presets())}")
    return replace(read_config(PRESETS / f"{name}.yaml"), preset=name)


def read_config(path: Path) -> TrainConfig:
    """A configuration from a YAML or JSON file; a run's ``config.json`` serves too.

    Raises:
        InputError: the file can't be read, or a name or value in it is not usable.
    """
    values = read_value(path, "a configuration")
    if isinstance(values, Mapping) and isinstance(values.get("config"), Mapping):
        values = values["config"]
    return from_json(TrainConfig, values, path)


def assign_settings(
    config: TrainConfig, assignments: Mapping[str, Mapping[str, Any]], *, known: Iterable[str] = ()
) -> TrainConfig:
    """Settings of parts, put where they belong.

    Args:
        config: a configuration.
        assignments: setting to value by ``fusion``, ``classifier`` or ``decoder``, the name of
            one of them, or ``train`` for the configuration itself.
        known: names of parts that may stand there although this configuration has others, as in
            a sweep.

    Raises:
        InputError: a part is none of these, or a setting is not usable.
    """
    for part, settings in assignments.items():
        detector = config.detector
        parts = detector.parts
        if part == "train":
            config = create_config(settings, config)
            continue
        called = _with_underscores(part)
        kind = next((k for k, name in parts.items() if called in (k, part_name(name))), None)
        if kind is not None:
            name = f"{kind}_settings"
            config = create_config({name: {**getattr(detector, name), **settings}}, config)
        elif called not in {_with_underscores(part_name(name)) for name in known}:
            raise InputError(
                f"{part} names no part of which a setting could be given: there are "
                f"{', '.join([*parts, *map(part_name, parts.values())])} and train"
            )
    return config


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
