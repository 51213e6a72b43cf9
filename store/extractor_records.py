"""What the store records of an extractor: its fingerprint, its fields and its asset files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clare.files import PARTIAL
from clare.foreign import open_bytes, parse_json
from clare.names import is_plain
from clare.store.layout import ASSETS, RECORD, ZARR, Layout
from clare.store.records import (
    canonical,
    checking,
    checksum,
    damaged,
    read_file,
    read_sealed,
    require,
)
from clare.store.spec import FeatureSpec, Fingerprint
from clare.store.zarr_shards import GROUP
from clare.typed_json import convert

_MOST_METADATA = 1 << 24


@dataclass(frozen=True)
class _Record:
    fingerprint: Fingerprint
    fields: tuple[FeatureSpec, ...]


@dataclass(frozen=True)
class Asset:
    """What is known of an asset file.

    Args:
        bytes: its size.
        sha256: of its bytes, hexadecimal.
    """

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Assets:
    """What ``assets.json`` holds.

    Args:
        assets: the files by name.
        pending: whether they are still to be written, since they never were or got lost.
    """

    assets: Mapping[str, Asset]
    pending: bool = False

    def to_json(self) -> dict[str, Any]:
        """The record, before sealing."""
        files = {name: vars(asset) for name, asset in self.assets.items()}
        return {"assets": files, **({"pending": True} if self.pending else {})}


def extractor_record(fingerprint: Fingerprint, fields: Sequence[FeatureSpec]) -> dict[str, Any]:
    """The record of an extractor, before sealing."""
    return {
        "fingerprint": fingerprint.to_json(),
        "fields": [spec.to_json() for spec in fields],
    }


def parse_extractor(record: Mapping[str, Any]) -> tuple[Fingerprint, dict[str, FeatureSpec]]:
    """What the record of an extractor says, wherever it comes from.

    Raises:
        ValueError: a member is not one of an extractor, or its name or a field can't be stored.
        MismatchError: a member is of another type, or missing.
    """
    found: _Record = convert(record, _Record)
    require(is_plain(found.fingerprint.key), "its extractor's name can't be a folder's")
    canonical(found.fingerprint.to_json())  # refuses numbers that are infinite
    for spec in found.fields:
        spec.require_storable()
    fields = {spec.field: spec for spec in found.fields}
    require(fields and len(fields) == len(found.fields), "its fields have no or equal names")
    return found.fingerprint, fields


def read_extractor(layout: Layout, key: str) -> tuple[Fingerprint, dict[str, FeatureSpec]]:
    """What an extractor's record holds.

    Raises:
        CorruptStoreError: it is damaged, or another extractor's.
        FileNotFoundError: there is none.
    """
    path = layout.extractor_record(key)
    record = read_sealed(path)
    with checking(path):
        fingerprint, fields = parse_extractor(record)
        require(fingerprint.key == key, "it belongs to another extractor")
    return fingerprint, fields


def copied_extractor(group: Path) -> tuple[Fingerprint, dict[str, FeatureSpec]]:
    """The copy of an extractor's record in the attributes of its arrays' group.

    Raises:
        CorruptStoreError: it is damaged.
        FileNotFoundError: there is none.
    """
    path = group / ZARR
    text = read_file(path, _MOST_METADATA)
    with checking(path):
        attributes = parse_json(text)["attributes"]
        record = attributes["clare"]
        same = attributes["clare_crc32c"] == f"{checksum(canonical(record)):08x}"
        require(same, "its checksum does not match")
        return parse_extractor(record)


def extractor_group(fingerprint: Fingerprint, fields: Sequence[FeatureSpec]) -> dict[str, Any]:
    """Metadata of an extractor's Zarr group, with a checksummed copy of its record."""
    record = json.loads(canonical(extractor_record(fingerprint, fields)))
    attributes = {"clare": record, "clare_crc32c": f"{checksum(canonical(record)):08x}"}
    return {**GROUP, "attributes": attributes}


def is_asset_name(name: object) -> bool:
    """Whether a file of this name may stand beside an extractor's own records."""
    return is_plain(name) and name not in (RECORD, ASSETS) and not str(name).endswith(PARTIAL)


def read_assets(layout: Layout, key: str) -> Assets:
    """The list of an extractor's asset files.

    Raises:
        CorruptStoreError: it is damaged, or names a file elsewhere.
        FileNotFoundError: there is none.
    """
    path = layout.asset_record(key)
    record = read_sealed(path)
    with checking(path):
        found: Assets = convert(record, Assets)
        for name, asset in found.assets.items():
            require(is_asset_name(name), f"{name!r} can't name a file beside it")
            require(asset.bytes >= 0, f"the size of {name} is below zero")
    return found


def describe_asset(path: Path) -> Asset:
    """Size and sha256 of a file of the store.

    Raises:
        CorruptStoreError: it is missing, is a link, or is no file.
    """
    with checking(path):
        require(not path.is_symlink(), "it is a link; what a store holds lies in it")
        require(path.exists(), "it is missing")
        with open_bytes(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Asset(file.tell(), digest)


def check_asset(path: Path, recorded: Asset, *, quick: bool = False) -> None:
    """Compare an asset file with what is recorded of it; its size first, and alone if quick.

    Raises:
        CorruptStoreError: it is another, is missing, is a link, or is no file.
    """
    if path.is_file() and path.stat().st_size != recorded.bytes:
        raise damaged(path, f"it has {path.stat().st_size} bytes instead of {recorded.bytes}")
    if quick and path.is_file() and not path.is_symlink():
        return
    if describe_asset(path) != recorded:
        raise damaged(path, "its sha256 is not the recorded one")
