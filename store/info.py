"""What a store holds, as plain data for tables and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clare.store.spec import Fingerprint

if TYPE_CHECKING:
    from clare.store.feature import Feature
    from clare.store.feature_store import FeatureStore


def store_info(store: FeatureStore) -> dict[str, Any]:
    """Rows, labels and features of every subset, in the form of ``clare store info --json``.

    Returns:
        ``{"subsets": {NAME: {"rows", "labels", "features": {EXTRACTOR: [feature, …]}}},
        "differences": {EXTRACTOR: {DIGEST: {SETTING: value}}}}``; a feature has ``fingerprint``,
        ``complete``, ``failed``, ``pending`` (live rows), ``bytes``, ``version``, ``weights``,
        ``settings``, ``made_with``, ``fields`` and ``failures`` (reason by sample id).
        ``differences`` lists extractors with several fingerprints, and only what differs.

    Raises:
        CorruptStoreError: a record is damaged.
    """
    subsets = {}
    fingerprints: dict[str, dict[str, Fingerprint]] = {}
    for name in store.subsets():
        rows = store.rows(name)
        features: dict[str, list[dict[str, Any]]] = {}
        for feature in store.features(name):
            extractor = feature.fingerprint.extractor
            features.setdefault(extractor, []).append(_feature_info(feature))
            fingerprints.setdefault(extractor, {})[feature.key] = feature.fingerprint
        labels = Counter(str(row.columns["label"]) for row in rows if "label" in row.columns)
        subsets[name] = {
            "rows": len(rows),
            "labels": dict(sorted(labels.items())),
            "features": features,
        }
    several = {name: list(found.values()) for name, found in fingerprints.items() if len(found) > 1}
    return {
        "subsets": subsets,
        "differences": {name: differences(found) for name, found in sorted(several.items())},
    }


def differences(fingerprints: Sequence[Fingerprint]) -> dict[str, dict[str, Any]]:
    """What sets the fingerprints of one extractor apart.

    Returns:
        By digest, the value of each setting in which they are not all equal; nested settings are
        named ``outer.inner``, one that a fingerprint lacks is None.
    """
    flat = {
        fingerprint.digest: _flatten(
            {
                **fingerprint.settings,
                "version": fingerprint.version,
                "weights": fingerprint.weights,
            }
        )
        for fingerprint in fingerprints
    }
    names = sorted({name for values in flat.values() for name in values})
    differing = [n for n in names if len({repr(values.get(n)) for values in flat.values()}) > 1]
    return {
        digest: {name: values.get(name) for name in differing} for digest, values in flat.items()
    }


def describe_differences(fingerprints: Sequence[Fingerprint]) -> str:
    """`differences` as one line: ``digest (name=value, …); …``."""
    found = differences(fingerprints)
    return "; ".join(
        f"{digest} ({', '.join(f'{name}={value}' for name, value in values.items())})"
        for digest, values in found.items()
    )


def _feature_info(feature: Feature) -> dict[str, Any]:
    fingerprint = feature.fingerprint
    rows = {row.slot: row for row in feature.store.rows(feature.subset)}
    names = {
        slot: f"{row.sample_id}, view {row.view}" if row.view else row.sample_id
        for slot, row in rows.items()
    }
    return {
        "fingerprint": fingerprint.digest,
        **feature.counts(),
        "version": fingerprint.version,
        "weights": fingerprint.weights,
        "settings": dict(fingerprint.settings),
        "made_with": feature.made_with(),
        "fields": {
            name: {
                "shape": list(spec.shape),
                "dtype": spec.dtype,
                "path": str(feature.array_path(name)),
            }
            for name, spec in feature.fields.items()
        },
        "failures": {names[slot]: reason for slot, reason in feature.failures().items()},
    }


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
