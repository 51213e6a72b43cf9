"""Which fingerprints of each extractor a run reads, where a store holds several."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clare.advice import LeaveOut, Name, Notice, Run, Set
from clare.errors import InputError, StoreError
from clare.heads.config import TrainConfig
from clare.store.feature_store import FeatureStore
from clare.store.spec import FeatureSpec, Fingerprint, describe_differences, split_field
from clare.wording import listed

LATEST = "latest"
"""In place of a fingerprint: the one whose extraction was begun last."""

BESIDE = "+"
"""Between fingerprints of one extractor that are read beside each other."""

_TEXT_ALONE = ""
"""Stands for a field where a clip extractor's text tower is all that is read."""


@dataclass(frozen=True)
class Chosen:
    """The fingerprints that runs read.

    Args:
        sources: ``<extractor>-<digest>`` by stored field.
        text: that of the text tower; empty where none is needed.
        specs: shape of one row by stored field, of these fingerprints.
        notes: what is not as it was published.
    """

    sources: Mapping[str, str]
    text: str
    specs: Mapping[str, tuple[int, ...]]
    notes: tuple[Notice, ...]

    @property
    def digests(self) -> dict[str, str]:
        """The digests by field."""
        return {field: key.rpartition("-")[2] for field, key in self.sources.items()}

    def read_by(
        self, fields: Iterable[str], *, text: bool
    ) -> tuple[dict[str, str], dict[str, str]]:
        """What one run reads of them, as its record has it.

        Args:
            fields: that it reads.
            text: whether it has a text tower.

        Returns:
            ``<extractor>-<digest>`` by name, and the name by field of extractors with several. The
            name is the extractor's, ``clip``, and that of further fingerprints ``clip_2``; the text
            tower is always of ``clip``.
        """
        sources = {field: self.sources[field] for field in fields}
        keys = list(dict.fromkeys([*([self.text] if text else []), *sources.values()]))
        extractors = {key: key.rpartition("-")[0] for key in keys}
        names: dict[str, str] = {}
        for key, extractor in extractors.items():
            numbered = (f"{extractor}_{number}" for number in itertools.count(2))
            further = (name for name in numbered if name not in {*names, *extractors.values()})
            names[next(further) if extractor in names else extractor] = key
        owners = list(extractors.values())
        by_key = {key: name for name, key in names.items()}
        split = {
            field: by_key[key]
            for field, key in sources.items()
            if owners.count(extractors[key]) > 1
        }
        return names, split

    def beside(self, other: Chosen) -> Chosen:
        """What runs side by side read.

        Raises:
            InputError: they read something of different fingerprints.
        """
        mine = {**self.sources, _TEXT_ALONE: self.text or other.text}
        theirs = {**other.sources, _TEXT_ALONE: other.text or self.text}
        if any(mine[field] != theirs[field] for field in mine.keys() & theirs.keys()):
            raise InputError(
                "runs side by side read one set of features", Name("one for all", "features")
            )
        return Chosen(
            {**self.sources, **other.sources},
            self.text or other.text,
            {**self.specs, **{field: other.specs[field] for field in other.sources}},
            tuple(dict.fromkeys([*self.notes, *other.notes])),
        )


def choose_fingerprints(
    store: FeatureStore,
    config: TrainConfig,
    subsets: Iterable[str],
    fields: Iterable[str],
    *,
    text: str | None = None,
) -> Chosen:
    """A fingerprint for every field: one an extractor, or several where none has all of its fields.

    Named ones (by a field's own name, ``features``, or ``latest``) come first. Then those are
    preferred that have values, whose settings are the published ones (``extracted``), and that are
    read for another field as well; what is then still open is refused at once.

    Args:
        store: the store.
        config: names fingerprints, by extractor or by field, and published settings.
        subsets: only fingerprints with values for one of them count.
        fields: the fields that are read.
        text: where a text tower is needed, the field of the class token: both are of one CLIP.

    Raises:
        StoreError: a field is not there.
        InputError: several fingerprints fit, and the message says what differs; or nothing is read
            of one that is named.
    """
    search = _Search(store, config, subsets)
    wanted: dict[str, list[str]] = {} if text is None else {"clip": []}
    for field in fields:
        wanted.setdefault(search.owner(field), []).append(field)
    sources: dict[str, str] = {}
    undecided: dict[str, Sequence[str]] = {}
    notes: list[Notice] = []
    for extractor, names in wanted.items():
        found = search.fitting(extractor, names or [_TEXT_ALONE])
        sources |= {name: keys[0] for name, keys in found.items()}
        undecided |= search.undecided(extractor, found)
        notes += search.notes(extractor, found)
    if undecided:
        raise search.several(undecided)
    search.require_use(sources)
    clip = wanted.get("clip") or [_TEXT_ALONE]
    tower = "" if text is None else sources[text if text in clip else clip[0]]
    sources.pop(_TEXT_ALONE, None)
    specs = {name: spec.shape for _, own in search.known.values() for name, spec in own.items()}
    specs |= {
        name: search.known[key][1][split_field(name)[0]].shape for name, key in sources.items()
    }
    return Chosen(sources, tower, specs, tuple(notes))


_CUTS = ("margin", "crop_side", "align", "align_side")


def frame_of(fingerprint: Fingerprint) -> dict[str, object]:
    """What of an image its values are of: the settings that decide where each of them lies."""
    images = fingerprint.settings.get("images", {})
    found = {"crop": images.get("crop", "none")}
    return found | {name: images[name] for name in _CUTS if name in images}


def begun_last(store: FeatureStore, keys: Iterable[str]) -> str:
    """The key whose extraction was begun last; by its record where no command is noted."""
    begun = [key for command in store.commands() for key in command.extractors]
    return max(
        keys,
        key=lambda key: (
            begun.index(key) if key in begun else -1,
            store.layout.extractor_record(key).stat().st_mtime_ns,
        ),
    )


class _Search:
    """The fingerprints of a store, from the point of view of a configuration.

    Args:
        store: the store.
        config: the configuration.
        subsets: whose values count.

    Attributes:
        known: fingerprint and fields by ``<extractor>-<digest>``.
    """

    def __init__(self, store: FeatureStore, config: TrainConfig, subsets: Iterable[str]) -> None:
        self.known: Mapping[str, tuple[Fingerprint, Mapping[str, FeatureSpec]]] = {
            key: store.extractor(key) for key in store.extractor_keys()
        }
        self._filled = {feature.key for name in subsets for feature in store.features(name)}
        self._store, self._config = store, config

    def owner(self, name: str) -> str:
        """The extractor that has a field.

        Raises:
            StoreError: none has, or several have.
        """
        field, _ = split_field(name)
        owners = {one.extractor for one, specs in self.known.values() if field in specs}
        if not owners:
            there = sorted({name for _, specs in self.known.values() for name in specs})
            raise StoreError(
                f"{self._store.path} has no field {field!r}; it has: {', '.join(there)}."
            )
        if len(owners) > 1:
            raise StoreError(
                f"Several extractors have a field {field!r}: {', '.join(sorted(owners))}."
            )
        return owners.pop()

    def fitting(self, extractor: str, names: Sequence[str]) -> dict[str, list[str]]:
        """The keys that may serve each field of an extractor, one where that is decided.

        Raises:
            InputError: none may.
        """
        found = {name: self._named(extractor, name) for name in names}
        found = {
            name: [key for key in keys if key in self._filled] or keys
            for name, keys in found.items()
        }
        beside = len(self._asked(extractor)) > 1
        of_all = [key for key in self.known if all(key in keys for keys in found.values())]
        if of_all and not beside:
            found = dict.fromkeys(found, of_all)
        for name, keys in found.items():
            left = [key for key in keys if self._is_published(extractor, key)] or keys
            latest = self._asked(extractor, name) == [LATEST]
            found[name] = [begun_last(self._store, left)] if latest else left
        read = {keys[0] for keys in found.values() if len(keys) == 1}
        return {
            # Of those that are named beside each other every one is to be read.
            name: keys if len(keys) == 1 else [k for k in keys if (k in read) != beside] or keys
            for name, keys in found.items()
        }

    def undecided(
        self, extractor: str, found: Mapping[str, Sequence[str]]
    ) -> dict[str, Sequence[str]]:
        """Several keys by field; by extractor where one of them would serve all of its fields."""
        if len(self._asked(extractor)) == 1 and len(set(map(tuple, found.values()))) == 1:
            found = {extractor: next(iter(found.values()))}
        return {name or extractor: keys for name, keys in found.items() if len(keys) > 1}

    def notes(self, extractor: str, found: Mapping[str, Sequence[str]]) -> list[Notice]:
        """That it was extracted otherwise than published, where it was."""
        if all(self._is_published(extractor, keys[0]) for keys in found.values()):
            return []
        settings = self._config.extracted[extractor].items()
        as_it_was = ", ".join(f"{name}={value}" for name, value in settings)
        return [
            Notice(f"{extractor} was extracted otherwise than published, where it has {as_it_was}")
        ]

    def require_use(self, sources: Mapping[str, str]) -> None:
        """Refuse that nothing is read of one of several that are named beside each other.

        Raises:
            InputError: nothing is.
        """
        for extractor in {key.rpartition("-")[0] for key in sources.values()}:
            asked = self._asked(extractor)
            read = {key for key in sources.values() if key.startswith(f"{extractor}-")}
            for one in asked if len(asked) > 1 else ():
                if not any(key.startswith(f"{extractor}-{one}") for key in read):
                    raise InputError(
                        f"{extractor} features {one} are named, and no field is read of them",
                        Name("the fingerprint of each field", "features", "FIELD=FINGERPRINT"),
                        LeaveOut("features"),
                    )

    def several(self, undecided: Mapping[str, Sequence[str]]) -> InputError:
        """One refusal for all extractors, with what sets their fingerprints apart."""
        extractors = dict.fromkeys(keys[0].rpartition("-")[0] for keys in undecided.values())
        told = [
            f"{name}: {describe_differences([self.known[key][0] for key in keys])}"
            for name, keys in undecided.items()
        ]
        example = {name: keys[0].rpartition("-")[2] for name, keys in undecided.items()}
        dropped = {
            extractor: digest
            for keys in undecided.values()
            for extractor, _, digest in [keys[0].rpartition("-")]
        }
        return InputError(
            f"the store has several {listed(extractors)} features: {'. '.join(told)}",
            Set("features", dict.fromkeys(undecided, LATEST), effect="takes those begun last"),
            Set("features", example, effect="takes these"),
            Run("store.drop", (self._store.path,), {"features": dropped}, effect="removes some"),
        )

    def _asked(self, extractor: str, name: str | None = None) -> list[str]:
        """The digests that are named for a field, by itself too, or for its extractor."""
        if name is not None and (own := split_field(name)[1]):
            return [own]
        named: Mapping[Any, str] = self._config.features
        return named.get(name, named.get(extractor, "")).split(BESIDE)

    def _named(self, extractor: str, name: str) -> list[str]:
        """The keys that have a field, and are named if any are.

        Raises:
            InputError: there are none.
        """
        asked = self._asked(extractor, name)
        own = {key: one for key, one in self.known.items() if one[0].extractor == extractor}
        field, _ = split_field(name)
        having = [key for key, (_, specs) in own.items() if field in {*specs, _TEXT_ALONE}]
        fitting = [
            key
            for key, (fingerprint, _) in own.items()
            if asked == [LATEST] or any(map(fingerprint.digest.startswith, asked))
        ]
        if found := [key for key in having if key in fitting]:
            return found
        if not fitting:
            which = f"{extractor} features with a fingerprint {BESIDE.join(asked)}…"
            what = f"the store has no {which if any(asked) else extractor}"
            raise InputError(f"{what}; it has: {', '.join(own) or 'none'}")
        together = BESIDE.join([*asked, having[0].rpartition("-")[2]])
        raise InputError(
            f"{listed(fitting)} has no field {name!r}, which {listed(having)} has",
            Set("features", {extractor: together}, effect="reads them beside each other"),
        )

    def _is_published(self, extractor: str, key: str) -> bool:
        settings = self.known[key][0].settings
        published = self._config.extracted.get(extractor, {})
        return all(settings.get(name) == value for name, value in published.items())
