"""What a store holds, as plain data for tables and JSON."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np

from clare.dates import is_span, read_span
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore
from clare.store.rows import NO_ROWS, Rows
from clare.store.spec import Fingerprint, differences


def store_info(store: FeatureStore) -> dict[str, Any]:
    """Rows, labels and features of every subset, as plain data.

    Returns:
        ``{"subsets": {NAME: {"rows", "labels", "created", "features": {EXTRACTOR: [feature, …]}}},
        "differences": {EXTRACTOR: {DIGEST: {SETTING: value}}}}``; a feature has ``fingerprint``,
        ``complete``, ``failed``, ``pending`` (live rows), ``bytes``, ``version``, ``weights``,
        ``settings``, ``made_with``, ``fields`` and ``failures`` (reason by sample id).
        ``created`` is there where rows say when their images were made: ``rows``, ``first``,
        ``last``. ``differences`` lists extractors with several fingerprints, and only what differs.

    Raises:
        CorruptStoreError: a record is damaged.
    """
    subsets = {}
    fingerprints: dict[str, dict[str, Fingerprint]] = {}
    for name in store.subsets():
        rows, found = store.overview(name)
        features: dict[str, list[dict[str, Any]]] = {}
        for feature in found:
            extractor = feature.fingerprint.extractor
            features.setdefault(extractor, []).append(_feature_info(feature))
            fingerprints.setdefault(extractor, {})[feature.key] = feature.fingerprint
        labels = enumerate(np.bincount(rows.column("label")).tolist())
        subsets[name] = {
            "rows": len(rows),
            "labels": {str(label): count for label, count in labels if count},
            **_created(rows),
            "features": features,
        }
    several = {name: list(found.values()) for name, found in fingerprints.items() if len(found) > 1}
    return {
        "subsets": subsets,
        "differences": {name: differences(found) for name, found in sorted(several.items())},
    }


def _created(rows: Rows) -> dict[str, Any]:
    """How many rows say when their images were made, and from when to when that is."""
    told = [str(text) for text in rows.column("created") if text]
    spans = [read_span(text) for text in set(told) if is_span(text)]
    if not spans:
        return {}
    first, last = min(one.first for one in spans), max(one.last for one in spans)
    since = "" if first == date.min else str(first)
    return {"created": {"rows": len(told), "first": since, "last": str(last)}}


def _place(feature: Feature, field: str) -> str:
    """Where a field's array stands; of a bucket its URL, for the copy here may lack its shards."""
    path, mirror = feature.array_path(field), feature.layout.mirror
    return str(path) if mirror is None else f"{mirror.url}/{mirror.key(path)}"


def _feature_info(feature: Feature) -> dict[str, Any]:
    fingerprint = feature.fingerprint
    failures = feature.failures()
    failed = NO_ROWS
    if failures:
        live = feature.rows.read().live
        failed = live.take(np.isin(live.slots, list(failures)))
    names = {
        row.slot: f"{row.sample_id}, view {row.view}" if row.view else row.sample_id
        for row in failed
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
                "path": _place(feature, name),
            }
            for name, spec in feature.fields.items()
        },
        "failures": {names[slot]: reason for slot, reason in failures.items()},
    }
