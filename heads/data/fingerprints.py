"""Which fingerprint of each extractor a run reads, where a store holds several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clare.advice import Name, Notice
from clare.errors import InputError, StoreError
from clare.heads.config import TrainConfig
from clare.store.feature_store import FeatureStore
from clare.store.spec import Fingerprint, describe_differences


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

    Named ones (``features``) come first. Among several, those whose settings are the published
    ones (``extracted``) are preferred; what is then still open is refused.

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
    keys: dict[str, str] = {}
    notes: list[Notice] = []
    for extractor, names in wanted.items():
        fitting = [
            key
            for key, (fingerprint, specs) in known.items()
            if fingerprint.extractor == extractor
            and names <= set(specs)
            and fingerprint.digest.startswith(config.features.get(extractor, ""))
        ]
        fitting = [key for key in fitting if key in filled] or fitting
        published = config.extracted.get(extractor, {})
        as_published = [key for key in fitting if _has(known[key][0], published)]
        keys[extractor] = _only(extractor, as_published or fitting, known, config)
        if published and not as_published:
            as_it_was = ", ".join(f"{name}={value}" for name, value in published.items())
            what = f"{extractor} was extracted otherwise than published, where it has {as_it_was}"
            notes.append(Notice(what))
    specs = {
        name: spec.shape for key in (*known, *keys.values()) for name, spec in known[key][1].items()
    }
    return Chosen(keys, specs, tuple(notes))


def _has(fingerprint: Fingerprint, settings: Mapping[str, Any]) -> bool:
    return all(fingerprint.settings.get(name) == value for name, value in settings.items())


def _only(
    extractor: str,
    fitting: list[str],
    known: Mapping[str, tuple[Fingerprint, Any]],
    config: TrainConfig,
) -> str:
    if not fitting:
        named = config.features.get(extractor)
        asked = (
            f"no {extractor} features with a fingerprint {named}…" if named else f"no {extractor}"
        )
        there = [key for key in known if key.startswith(f"{extractor}-")]
        raise InputError(f"the store has {asked}; it has: {', '.join(there) or 'none'}")
    if len(fitting) > 1:
        differences = describe_differences([known[key][0] for key in fitting])
        raise InputError(
            f"several {extractor} features fit ({differences})",
            Name("one of them", "features", f"{extractor}=FINGERPRINT"),
        )
    return fitting[0]
