"""A stranger's file is data of bounded size, or one sentence: never a hang, never a traceback."""

import gzip
import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clare import foreign
from clare.cli.defaults import load_defaults
from clare.errors import ClareError, CorruptStoreError, InputError
from clare.foreign import decode_thumbnail, parse_json, parse_toml, parse_yaml
from clare.heads.config import read_config
from clare.heads.detector import load_detector
from clare.heads.metrics.predictions import read_predictions
from clare.heads.runs.record import read_history, read_record
from clare.heads.sweeps.table import read_results
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.manifests.csv_io import read_rows
from clare.pipeline.official_lists.json_list import read_list
from clare.protocol import read_protocol

READERS = {
    "configuration.yaml": read_config,
    "configuration.json": read_config,
    "protocol.yaml": lambda path: read_protocol(str(path)),
    "subsets.yaml": lambda path: load_registry(path.parent),
    "clare.toml": load_defaults,
    "manifest.csv": read_rows,
    "manifest.csv.gz": read_rows,
    "scores.csv": read_predictions,
    "history.csv": lambda path: read_history(path.parent),
    "results.csv": lambda path: read_results(path.parent),
    "config.json": lambda path: read_record(path.parent),
    "best.safetensors": load_detector,
    "list.json": lambda path: read_list(path, load_registry()),
}


def as_pipe(path: Path) -> None:
    os.mkfifo(path)


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_socket(path: Path) -> None:
    # The address of a socket is short, whatever the folder of the tests is.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


def as_folder(path: Path) -> None:
    path.mkdir()


def as_noise(path: Path) -> None:
    path.write_bytes(bytes(range(255, 0, -1)) * 40)


DEEP = {".json": "[" * 5000, ".toml": "a = " + "[" * 5000 + "]" * 5000, ".csv": '"' * 300_001}


def as_deep(path: Path) -> None:
    text = DEEP.get(path.suffix, "{a: " * 5000)
    path.write_bytes(gzip.compress(b"x" * 3_000_000) if path.suffix == ".gz" else text.encode())


def as_long_number(path: Path) -> None:
    number = "9" * 5000
    if path.suffix in (".csv", ".gz"):
        text = f"label,score,sample_id,path\n{number},{number},a,b\n"
    else:
        text = {".json": f'{{"a": {number}}}', ".toml": f"a = {number}"}.get(
            path.suffix, f"a: {number}"
        )
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.mark.parametrize(
    "make", [as_pipe, as_device, as_socket, as_folder, as_noise, as_deep, as_long_number]
)
@pytest.mark.parametrize("name", READERS)
def test_no_reader_hangs_or_ends_in_a_traceback(tmp_path, name, make):
    # What is no file at all counts as missing where a file may be missing.
    make(tmp_path / name)
    if name in ("history.csv", "results.csv") and not (tmp_path / name).is_file():
        assert READERS[name](tmp_path / name) == []
    else:
        with pytest.raises(InputError) as refused:
            READERS[name](tmp_path / name)
        assert "\n" not in str(refused.value)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    for name in ("configuration.yaml", "clare.toml", "protocol.yaml", "config.json"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 40)  # a hole: it takes no room
        with pytest.raises(InputError, match="larger than"):
            READERS[name](tmp_path / name)


def test_a_packed_list_may_not_unpack_to_more_than_a_list_has(tmp_path, monkeypatch):
    path = tmp_path / "s.csv.gz"
    path.write_bytes(gzip.compress(b"sample_id,path,label,subset\n" + b"a,a.png,1,s\n" * 100_000))
    monkeypatch.setattr(foreign.bounded_lines, "__defaults__", (100_000,))
    with pytest.raises(InputError, match="larger than"):
        read_rows(path)


def test_aliases_may_repeat_a_part_but_not_without_end():
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: {<<: {d: 1}}") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"d": 1},
    }
    laughs = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    for text, told in ((laughs, "stands for more"), ("&a [*a]", "holds itself")):
        with pytest.raises(ValueError, match=told):
            parse_yaml(text)


@pytest.mark.parametrize(
    "text",
    [
        *("!!int x", "!!int ''", "!!bool x", "!!timestamp x", "2020-99-99", "!!float x"),
        *("!!python/object/apply:os.system [ls]", "!!binary x", "{[1]: 2}", "? {a: b}\n: c"),
        *("&a", "%YAML 9.9\n-", "0x", "1:99999999999999999999", "<<: 1", "<<: [1]", "!!omap [1]"),
    ],
)
def test_yaml_of_any_kind_is_a_value_or_a_sentence(text):
    try:
        parse_yaml(text)
    except ValueError as error:
        assert str(error)


@given(st.text(alphabet="{}[]:,-!&*<>|\"'#%?x1.e \n", max_size=40))
def test_whatever_is_written_parses_or_is_a_value_error(text):
    for parse in (parse_yaml, parse_json, parse_toml):
        try:
            parse(text)
        except ValueError:
            continue


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_depth_and_whole_numbers_have_an_end_that_honest_files_keep_to(parse):
    assert parse("[" * 60 + "]" * 60)
    assert parse(f"[{2**64 - 1}, -1, 1e300]") == [2**64 - 1, -1, 1e300] or parse is parse_yaml
    for text in ("[" * 70 + "]" * 70, f"[{2**64}]", f"[-{10**4000}]"):
        with pytest.raises(ValueError, match=r"deep|64 bits"):
            parse(text)


@pytest.mark.parametrize(
    "text", ['[roots]\n"a=b" = "x"', 'store = "a\\u0000"', '[roots]\n"\\u0000"="x"']
)
def test_what_no_environment_holds_is_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "clare.toml").write_text(text)
    with pytest.raises(InputError, match="has a sign that no name and no folder has"):
        load_defaults(tmp_path / "clare.toml")


def test_a_byte_order_mark_is_no_part_of_any_file(tmp_path):
    mark = "\N{ZERO WIDTH NO-BREAK SPACE}"
    (tmp_path / "clare.toml").write_text(f"{mark}[roots]\n", "utf-8")
    load_defaults(tmp_path / "clare.toml")
    (tmp_path / "c.json").write_text(f"{mark}{json.dumps({'epochs': 3})}", "utf-8")
    assert read_config(tmp_path / "c.json").epochs == 3
    (tmp_path / "c.yaml").write_text(f"{mark}epochs: 4\r\nlr: 0.1\r\n", "utf-8")
    assert read_config(tmp_path / "c.yaml").epochs == 4


def test_a_picture_of_a_store_is_a_small_jpeg_whatever_it_says():
    for data in (b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(CorruptStoreError):
            decode_thumbnail(data)
    assert issubclass(CorruptStoreError, ClareError)
