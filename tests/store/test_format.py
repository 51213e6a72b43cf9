"""The format as its page promises it, through the eyes of other libraries."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec

from clare.errors import CorruptStoreError
from clare.store.export import export_hdf5
from clare.store.layout import shard_path
from clare.store.records import seal, unseal
from clare.store.spec import SHARD_ROWS
from clare.store.zarr_shards import array_metadata, write_shard_file
from tests.store.conftest import FIELDS, values_of

PAGE = Path(__file__).parents[2] / "docs" / "store-format.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def run_example(marker: str, monkeypatch, folder: Path) -> dict:
    (example,) = [text for text in EXAMPLES if marker in text]
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(compile(example, str(PAGE), "exec"), names)
    return names


@pytest.mark.parametrize("library", ["zarr.open_array", "da.from_zarr", "ts.open"])
def test_the_examples_read_what_was_stored(filled, monkeypatch, library):
    rows = run_example(library, monkeypatch, filled.path.parent)["rows"]
    stored = {row.slot: row for row in filled.rows("faces")}
    assert sorted(rows) == sorted(set(stored) - {3, 70})
    for slot, values in rows.items():
        np.testing.assert_array_equal(values, values_of(stored[slot], FIELDS[1]))


def test_the_example_for_sealed_lines_checks_one(filled, monkeypatch):
    marker = run_example("google_crc32c", monkeypatch, filled.path.parent)["marker"]
    assert marker["format"] == 1


def test_the_example_for_the_exported_file(filled, monkeypatch, tmp_path):
    export_hdf5(filled, "faces", tmp_path / "faces.h5")
    names = run_example("h5py", monkeypatch, tmp_path)
    assert len(names["samples"]) == 98 and names["settings"]["model"] == "tiny"


@pytest.mark.parametrize("spec", FIELDS, ids=lambda spec: spec.dtype)
def test_metadata_and_shards_are_those_of_zarr_python(tmp_path, spec):
    values = np.random.default_rng(0).integers(0, 99, (SHARD_ROWS, *spec.shape)).astype(spec.dtype)
    theirs = zarr.create_array(
        tmp_path / "theirs",
        shape=(2 * SHARD_ROWS, *spec.shape),
        dtype=spec.dtype,
        chunks=(1, *spec.shape),
        shards=(SHARD_ROWS, *spec.shape),
        compressors=[Crc32cCodec()],
        fill_value=0 if spec.dtype == "uint8" else np.nan,
        config={"write_empty_chunks": True},
    )
    theirs[SHARD_ROWS:] = values
    metadata = json.loads((tmp_path / "theirs" / "zarr.json").read_bytes())
    metadata.pop("storage_transformers", None)
    assert array_metadata(spec, shards=2) == metadata
    write_shard_file(shard_path(tmp_path / "ours", 1, spec), values)
    written = [shard_path(tmp_path / name, 1, spec).read_bytes() for name in ("ours", "theirs")]
    assert written[0] == written[1]


def test_every_library_sees_one_root_group(filled):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = zarr.open_group(filled.path / "arrays", mode="r")
        faces = root["faces"]
        assert isinstance(faces, zarr.Group)
        found = {name for name, _ in faces.members()}
    assert found == {filled.feature("faces", "clip").key}


def test_the_reader_follows_the_index_of_a_writer_that_orders_rows_differently(filled):
    feature = filled.feature("faces", "clip")
    path = shard_path(feature.array_path("clip_cls"), 0, FIELDS[1])
    before = feature.reader("clip_cls").read([1, 5, 62])
    raw, cell = path.read_bytes(), FIELDS[1].row_bytes + 4
    order = np.random.default_rng(0).permutation(SHARD_ROWS)
    cells = np.frombuffer(raw[: SHARD_ROWS * cell], np.uint8).reshape(SHARD_ROWS, cell)
    index = np.full((SHARD_ROWS, 2), cell, "<u8")
    index[order, 0] = np.arange(SHARD_ROWS) * cell
    packed = index.tobytes()
    crc = google_crc32c.value(packed).to_bytes(4, "little")
    path.write_bytes(cells[order].tobytes() + packed + crc)
    reader = filled.feature("faces", "clip").reader("clip_cls")
    np.testing.assert_array_equal(reader.read([1, 5, 62]), before)
    # An index that is intact but lacks a row is refused.
    index[7] = 2**64 - 1
    crc = google_crc32c.value(index.tobytes()).to_bytes(4, "little")
    path.write_bytes(cells[order].tobytes() + index.tobytes() + crc)
    with pytest.raises(CorruptStoreError, match="all 64 rows"):
        reader.read([1])


records = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False)
        | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=4,
    ),
    min_size=1,
    max_size=4,
).filter(lambda record: not any(map(np.isinf, _floats(record))))


def _floats(value) -> list[float]:
    if isinstance(value, float):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [number for each in inner for number in _floats(each)]


@given(record=records, data=st.data())
def test_a_sealed_line_gives_its_record_back_and_shows_every_change(record, data):
    line = seal(record)
    assert unseal(line) == record and json.loads(line).keys() == {*record, "crc32c"}
    changed = bytearray(line)
    changed[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(changed), line[:-1], line[1:], line + b"\n", b""):
        with pytest.raises(ValueError, match="checksum"):
            unseal(bad)
