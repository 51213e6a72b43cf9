"""Which fingerprint of each extractor a run reads, where a store holds several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clare.advice import Notice, Run, Set
from clare.errors import InputError, StoreError
from clare.heads.config import TrainConfig
from clare.store.feature_store import FeatureStore
from clare.store.spec import Fingerprint, describe_differences
from clare.wording import listed

LATEST = "latest"
"""In place of a fingerprint: the one whose extraction was begun last."""


@dataclass(frozen=True)
class Chosen:
    """The fingerprints that a run reads.

    Args:
        keys: ``<extractor>-<digest>`` by extractor.
        specs: shape of one row by stored field, of these fingerprints.
        notes: what is not as it was published.
    """

    keys: Mapping[str, str]
    specs: Mapping[str, tuple[int, ...]]
    notes: tuple[Notice, ...]

    @property
    def digests(self) -> dict[str, str]:
        """The digests by extractor."""
        return {name: key.rpartition("-")[2] for name, key in self.keys.items()}


def choose_fingerprints(
    store: FeatureStore,
    config: TrainConfig,
    subsets: Iterable[str],
    fields: Iterable[str],
    *,
    text: bool,
) -> Chosen:
    """One fingerprint for every extractor whose fields are read.

    Named ones (``features``, or ``latest``) come first. Among several, those whose settings are the
    published ones (``extracted``) are preferred; what is then still open is refused at once.

    Args:
        store: the store.
        config: names fingerprints and published settings.
        subsets: only fingerprints with values for one of them count.
        fields: the fields that are read.
        text: whether the text tower of a clip extractor is needed too.

    Raises:
        StoreError: a field is not there.
        InputError: several fingerprints fit; the message says what differs.
    """
    known = {key: store.extractor(key) for key in store.extractor_keys()}
    filled = {feature.key for name in subsets for feature in store.features(name)}
    wanted: dict[str, set[str]] = {"clip": set()} if text else {}
    for field in fields:
        owners = {fp.extractor for fp, specs in known.values() if field in specs}
        if not owners:
            there = sorted({name for _, specs in known.values() for name in specs})
            raise StoreError(f"{store.path} has no field {field!r}; it has: {', '.join(there)}.")
        if len(owners) > 1:
            raise StoreError(
                f"Several extractors have a field {field!r}: {', '.join(sorted(owners))}."
            )
        wanted.setdefault(owners.pop(), set()).add(field)
    fitting: dict[str, list[str]] = {}
    notes: list[Notice] = []
    for extractor, names in wanted.items():
        asked = config.features.get(extractor, "")
        found = [
            key
            for key, (fingerprint, specs) in known.items()
            if fingerprint.extractor == extractor
            and names <= set(specs)
            and (asked == LATEST or fingerprint.digest.startswith(asked))
        ]
        found = [key for key in found if key in filled] or found
        if not found:
            raise _none(extractor, asked, known)
        published = config.extracted.get(extractor, {})
        as_published = [key for key in found if _has(known[key][0], published)]
        found = as_published or found
        fitting[extractor] = [_latest(store, found)] if asked == LATEST else found
        if published and not as_published:
            as_it_was = ", ".join(f"{name}={value}" for name, value in published.items())
            what = f"{extractor} was extracted otherwise than published, where it has {as_it_was}"
            notes.append(Notice(what))
    if any(len(found) > 1 for found in fitting.values()):
        raise _several(store, fitting, known)
    keys = {extractor: key for extractor, (key,) in fitting.items()}
    specs = {
        name: spec.shape for key in (*known, *keys.values()) for name, spec in known[key][1].items()
    }
    return Chosen(keys, specs, tuple(notes))


def _has(fingerprint: Fingerprint, settings: Mapping[str, Any]) -> bool:
    return all(fingerprint.settings.get(name) == value for name, value in settings.items())


def _latest(store: FeatureStore, keys: Sequence[str]) -> str:
    """The fingerprint whose extraction was begun last; by its record where no command is noted."""
    begun = [key for command in store.commands() for key in command.extractors]
    return max(
        keys,
        key=lambda key: (
            begun.index(key) if key in begun else -1,
            store.layout.extractor_record(key).stat().st_mtime_ns,
        ),
    )


def _none(extractor: str, asked: str, known: Mapping[str, Any]) -> InputError:
    there = ", ".join(key for key in known if key.startswith(f"{extractor}-")) or "none"
    which = f"{extractor} features with a fingerprint {asked}…" if asked else extractor
    return InputError(f"the store has no {which}; it has: {there}")


def _several(
    store: FeatureStore,
    fitting: Mapping[str, Sequence[str]],
    known: Mapping[str, tuple[Fingerprint, Any]],
) -> InputError:
    """One refusal for all extractors, with what sets their fingerprints apart."""
    several = {name: keys for name, keys in fitting.items() if len(keys) > 1}
    told = [
        f"{name}: {describe_differences([known[key][0] for key in keys])}"
        for name, keys in several.items()
    ]
    example = {name: keys[0].rpartition("-")[2] for name, keys in several.items()}
    return InputError(
        f"the store has several {listed(several)} features: {'. '.join(told)}",
        Set("features", dict.fromkeys(several, LATEST), effect="takes those begun last"),
        Set("features", example, effect="takes these"),
        Run("store.drop", (store.path,), {"features": example}, effect="removes some"),
    )
