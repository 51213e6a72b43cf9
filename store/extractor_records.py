"""What the store records of an extractor: its fingerprint, its fields and its asset files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clare.store.layout import Layout
from clare.store.records import canonical, checksum, damaged, read_sealed
from clare.store.spec import FeatureSpec, Fingerprint
from clare.store.zarr_shards import GROUP


def extractor_record(fingerprint: Fingerprint, fields: Sequence[FeatureSpec]) -> dict[str, Any]:
    """The record of an extractor, before sealing."""
    return {
        "fingerprint": fingerprint.to_json(),
        "fields": [spec.to_json() for spec in fields],
    }


def read_extractor(layout: Layout, key: str) -> tuple[Fingerprint, dict[str, FeatureSpec]]:
    """What an extractor's record holds.

    Raises:
        CorruptStoreError: it is damaged, or another extractor's.
        FileNotFoundError: there is none.
    """
    path = layout.extractor_record(key)
    record = read_sealed(path)
    fingerprint = Fingerprint(**record["fingerprint"])
    if fingerprint.key != key:
        raise damaged(path, "it belongs to another extractor")
    specs = [FeatureSpec.from_json(spec) for spec in record["fields"]]
    return fingerprint, {spec.field: spec for spec in specs}


def extractor_group(fingerprint: Fingerprint, fields: Sequence[FeatureSpec]) -> dict[str, Any]:
    """Metadata of an extractor's Zarr group, with a checksummed copy of its record."""
    record = json.loads(canonical(extractor_record(fingerprint, fields)))
    attributes = {"clare": record, "clare_crc32c": f"{checksum(canonical(record)):08x}"}
    return {**GROUP, "attributes": attributes}


def describe_asset(path: Path) -> Mapping[str, Any]:
    """Size and sha256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}
