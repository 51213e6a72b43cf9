"""Dataclasses to JSON and back, and settings as their dataclasses tell them."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from clare.errors import InputError
from clare.settings import build_settings, describe
from clare.typed_json import from_json, read_json, to_json, write_json


@dataclass(frozen=True)
class Figure:
    """A figure.

    Args:
        value: of it, or
            none.
        n: rows.
    """

    value: float | None
    n: int = 0


@dataclass(frozen=True)
class Report:
    name: str
    kind: Literal["frame", "video"]
    metrics: Mapping[str, Figure]
    subsets: tuple[str, ...] = ()
    pair: tuple[int, str] = (0, "")
    best: Figure | None = None
    seen: frozenset[str] = frozenset()
    store: Path = Path("features.zarr")
    extra: Any = None


@dataclass(frozen=True)
class Whole:
    """A settings dataclass that holds another.

    Args:
        figure: stands for its own settings.
        share: from 0 to 1.

    Raises:
        InputError: never.
    """

    share: float
    figure: Figure = field(default_factory=lambda: Figure(1.0))


FULL = Report(
    name="a",
    kind="video",
    metrics={"auc": Figure(0.5, 3), "ap": Figure(None)},
    subsets=("x", "y"),
    pair=(1, "z"),
    best=Figure(1.0),
    seen=frozenset({"p", "q"}),
    store=Path("a/b"),
    extra={"free": [1, None]},
)
LEAST = {"name": "a", "kind": "frame", "metrics": {}}


def test_a_dataclass_survives_its_file(tmp_path):
    write_json(tmp_path / "deep" / "report.json", FULL)
    assert read_json(tmp_path / "deep" / "report.json", Report) == FULL
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report.json"]


def test_plain_json_is_plain():
    assert json.loads(json.dumps(to_json(FULL))) == to_json(FULL)
    assert to_json(FULL)["seen"] == ["p", "q"]


def test_what_has_a_default_may_be_missing():
    assert from_json(Report, LEAST, "here") == Report("a", "frame", {})


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"name": 3}, "name"),
        ({"kind": "row"}, "kind"),
        ({"unknown": 1}, "unknown"),
        ({"metrics": []}, "metrics"),
        ({"metrics": {"auc": {"value": "high"}}}, "metrics.auc.value"),
        ({"metrics": {"auc": {"value": True}}}, "metrics.auc.value"),
        ({"metrics": {"auc": {"value": float("inf")}}}, "metrics.auc.value"),
        ({"metrics": {"auc": {"n": 1}}}, "metrics.auc.value"),
        ({"subsets": ["x", 2]}, "subsets[1]"),
        ({"subsets": "x"}, "subsets"),
        ({"pair": [1]}, "pair"),
        ({"pair": [1, 2]}, "pair[1]"),
        ({"best": {"value": 1, "n": 1.5}}, "best.n"),
        ({"best": 1}, "best"),
        ({"store": 1}, "store"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_place(tmp_path, change, place):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(LEAST | change))
    with pytest.raises(InputError) as error:
        read_json(path, Report)
    assert str(path) in error.value.what
    assert place in error.value.what.removeprefix(str(path))


def test_a_missing_key_is_named():
    with pytest.raises(InputError, match="kind"):
        from_json(Report, {"name": "a", "metrics": {}}, "here")


@pytest.mark.parametrize("content", [None, b"{", b"\xff", b"[]"])
def test_a_file_that_is_no_record_is_named(tmp_path, content):
    path = tmp_path / "report.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        read_json(path, Report)


def test_settings_are_described_by_their_dataclass():
    share, value, n = describe(Whole)
    assert (share.name, share.hint, share.default, share.help) == (
        "share",
        float,
        MISSING,
        "from 0 to 1.",
    )
    assert (value.name, value.default, value.help) == ("value", MISSING, "of it, or none.")
    assert (n.hint, n.default) == (int, 0)


def test_settings_take_texts():
    found = build_settings("part", Report, LEAST | {"subsets": "x, y"})
    assert found.subsets == ("x", "y")
    assert build_settings("part", Whole, {"share": "0.5"}).share == 0.5


@pytest.mark.parametrize("values", [{"share": "much"}, {"other": 1}, {"share": [0.5]}])
def test_settings_that_are_not_usable_are_refused(values):
    with pytest.raises(InputError, match=next(iter(values))):
        build_settings("part", Whole, values)
