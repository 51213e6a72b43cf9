"""Which fingerprints a run reads whose tower is tuned, and the towers of several runs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from clare.advice import LeaveOut, Name, Run
from clare.errors import InputError
from clare.heads.config import TrainConfig
from clare.heads.data.fingerprints import Chosen, choose_fingerprints, frame_of
from clare.heads.detector import blocks_read, tower_fields
from clare.heads.layers.tower import BaseTower
from clare.heads.model import fields_by_role
from clare.heads.runs.record import CARRIED, extractor_record, tower_folder
from clare.heads.runs.tower import Places, rebuild_tower, require_tower
from clare.store.feature_store import FeatureStore
from clare.store.spec import Fingerprint
from clare.wording import listed

PIXELS = "pixels"
"""The extractor that stores what a tower looks at."""

AS_BEFORE = "with the other options of the extraction that made the store"
"""What is to be added to an advised command: which images, how they are prepared, which models."""


def choose_beside_tower(
    store: FeatureStore,
    config: TrainConfig,
    subsets: Collection[str],
    fields: Collection[str],
    text: str | None,
) -> Chosen:
    """The fingerprints of a run's fields, and of the tower that it tunes where it tunes one.

    The tower is that of the fields that it makes in the run. Of several pixels those of its size
    are taken.

    Args:
        store: the store.
        config: the run.
        subsets: only fingerprints with values for one of them count.
        fields: the fields that are read.
        text: where a text tower is needed, the field of the class token.

    Raises:
        StoreError: a field is not there.
        InputError: several fingerprints fit, there are no pixels, they are of another size or
            another part of the images than the tower's, or its fields are of no single tower.
    """
    own = tower_fields(config.detector)
    if not own:
        return choose_fingerprints(store, config, subsets, fields, text=text)
    if blocks_read(config.detector):
        chosen = choose_fingerprints(store, config, subsets, [*fields, *own.values()], text=text)
        tower_key(chosen, config)
        return chosen
    pixels = fields_by_role(config.detector, ["pixels"])["pixels"]
    others = [field for field in fields if field != pixels]
    chosen = choose_fingerprints(store, config, subsets, [*others, *own.values()], text=text)
    tower = store.extractor(tower_key(chosen, config))[0]
    size = tower.settings["size"]
    if not any(pixels in store.extractor(key)[1] for key in store.extractor_keys()):
        raise InputError(
            f"the store has no {pixels}, which a tower that is tuned looks at",
            Run(
                "extract",
                settings={"features": PIXELS, f"{PIXELS}.size": size},
                effect=f"{AS_BEFORE} stores them",
            ),
        )
    sized = {**config.extracted, PIXELS: {"size": size}}
    read = choose_fingerprints(
        store, TrainConfig(features=config.features, extracted=sized), subsets, [pixels]
    )
    _require_fitting(tower, store.extractor(read.sources[pixels])[0])
    return chosen.beside(read)


def tower_key(chosen: Chosen, config: TrainConfig) -> str:
    """The ``<extractor>-<digest>`` of the tower that a run tunes.

    Raises:
        InputError: its fields are of several, or of none.
    """
    own = {**tower_fields(config.detector), **blocks_read(config.detector)}
    # Those of a block have no name yet where it is looked for.
    keys = {field: chosen.sources[field] for field in own.values() if field}
    if len(set(keys.values())) > 1:
        told = "; ".join(f"{field} of {key}" for field, key in keys.items())
        raise InputError(
            f"one tower is tuned, and fields of several are read: {told}",
            Name("fields of one of them", "fields"),
            LeaveOut("tune"),
        )
    key = next(iter(keys.values()))
    require_tower(key.rpartition("-")[0])
    return key


class BaseTowers:
    """The towers that runs begin with, each loaded once.

    Args:
        store: that has their features.
        chosen: the fingerprints of the runs.
        places: where weights are now.
    """

    def __init__(self, store: FeatureStore, chosen: Chosen, places: Places) -> None:
        self._store, self._chosen, self._places = store, chosen, places
        self._known: dict[str, BaseTower] = {}

    def of(self, config: TrainConfig) -> BaseTower | None:
        """The tower that a run begins with; None where it tunes none.

        Raises:
            InputError: the weights found are not those that the features were made with.
            WeightsError: they are not on disk and can't be fetched.
        """
        if not config.detector.is_tuned:
            return None
        key = tower_key(self._chosen, config)
        if key not in self._known:
            record = extractor_record(self._store, key)
            given = dict(self._places.get(record.fingerprint.extractor, {}))
            if record.origin.get("model") == CARRIED and config.init_from and "model" not in given:
                given["model"] = str(tower_folder(Path(config.init_from)))
            self._known[key] = rebuild_tower(record, given)
        return self._known[key]


def _require_fitting(tower: Fingerprint, pixels: Fingerprint) -> None:
    """Refuse pixels that the tower's features were not made of.

    Raises:
        InputError: they are of another size or another part of the images.
    """
    wanted, found = tower.settings["size"], pixels.settings.get("size")
    if found != wanted:
        raise InputError(
            f"the stored pixels are of {found} x {found}, and the tower takes {wanted} x {wanted}",
            Run(
                "extract",
                settings={"features": PIXELS, f"{PIXELS}.size": wanted},
                effect=f"{AS_BEFORE} stores others",
            ),
        )
    frames = frame_of(tower), frame_of(pixels)
    if frames[0] != frames[1]:
        told = listed(
            f"{name} {frame}" for name, frame in zip(("tower", "pixels"), frames, strict=True)
        )
        raise InputError(
            f"pixels and the tower's features were cut out of the images differently ({told})",
            "extract them with one crop and one alignment",
        )
