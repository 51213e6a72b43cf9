"""Commands that the pages show: every one of them exists as it is written, and is never run."""

import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer import BadParameter
from typer.main import get_command

from clare.augmentation.deliveries import read_set
from clare.cli.app import app
from clare.cli.command import commands_below
from clare.cli.options import parse_assignments
from clare.errors import InputError
from clare.heads import classifiers, decoders, fusion
from clare.heads.base import Classifier, Decoder, Fusion
from clare.heads.config import PRESETS, TrainConfig
from clare.models import tuning
from clare.models.tuned import Tuning
from clare.pipeline import extractors
from clare.pipeline import pairs as pair_kinds
from clare.pipeline.datasets.schema import Dataset, Domain, Layout, Subset
from clare.pipeline.extractor import Extractor
from clare.pipeline.pair import PairKind
from clare.plugins import find_part, list_parts
from clare.protocol import list_protocols, read_protocol
from clare.settings import describe

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for folder in (".", "miniature", "docs", "docs/study")
    for page in (ROOT / folder).glob("*.md")
    if page.name != "CHANGELOG.md"  # which names what is gone
)
# Click's, which is typer's own in some versions; its parameter errors derive from it in all.
UsageError: Any = BadParameter.__mro__[1]
TREE: Any = get_command(app)
COMMANDS: dict[tuple[str, ...], Any] = dict(commands_below(TREE))
GROUPS = {path[:1] for path in COMMANDS if len(path) > 1}

FENCE = re.compile(
    r"(<!-- not checked: .+? -->\s*\n)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL
)
SHELL = ("", "sh", "bash", "console", "shell")
THEIRS = re.compile(r"^\|[^|\n]*\||^\*\*Not here\*\*:.*?^$", re.MULTILINE | re.DOTALL)
"""Where the page on other repositories speaks of their options, and of what is not here."""
SPAN = re.compile(r"(?<!`)`(clare [^`]+|--[a-z][^`]*)`(?!`)")
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|…")

KINDS: dict[ModuleType, Any] = {
    extractors: Extractor,
    fusion: Fusion,
    classifiers: Classifier,
    decoders: Decoder,
    pair_kinds: PairKind,
    tuning: Tuning,
}
NAMES = {
    "--fusion": list_parts(fusion),
    "--classifier": list_parts(classifiers),
    "--decoder": [name.replace("_", "-") for name in list_parts(decoders)],
    "--kind": list_parts(pair_kinds),
    "--tune": ["none", *(name.replace("_", "-") for name in list_parts(tuning))],
    "--preset": [file.stem for file in PRESETS.glob("*.yaml")],
    "--backbone": ["real", "mini", "tiny"],
}


@pytest.fixture(autouse=True)
def nobodys_defaults(monkeypatch):
    for name in ("CLARE_STORE", "CLARE_MANIFESTS"):
        monkeypatch.delenv(name, raising=False)


def options_of(*commands: Any) -> set[str]:
    """The options of some commands, as they are typed."""
    return {
        word
        for command in commands
        for one in command.params
        for word in (*one.opts, *one.secondary_opts)
    }


def commands_of(text: str) -> Iterator[str]:
    """Command lines of the shell blocks of a page that are not marked."""
    for unchecked, language, block in FENCE.findall(text):
        if not unchecked and language in SHELL:
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("clare "):
                    yield line


def spans_of(text: str) -> list[str]:
    """Pieces of commands and options in the running text, outside of blocks."""
    return SPAN.findall(FENCE.sub("", text))


def words_of(line: str) -> list[str]:
    """The words after ``clare``; brackets around what may be left out are dropped."""
    _, *words = shlex.split(line, comments=True)
    return [word.strip("[]") for word in words]


def check(line: str) -> None:
    """Parse a command line as the command would, without running it.

    Raises:
        UsageError: a command, an option or a value that is not there.
        InputError: a protocol that is not there.
        AssertionError: a part or a setting that is not there.
    """
    words = words_of(line)
    if words[0].startswith("-"):
        assert words[0] in options_of(TREE), words[0]
        return
    command, context = TREE, TREE.make_context("clare", words[:1])
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, list(words), parent=context)
    for option, value in pairwise(words):
        check_value(option, value)


def check_value(option: str, value: str) -> None:
    """What the command line takes as a text and the library would refuse."""
    if option in NAMES:
        for name in value.split(","):
            plain = re.sub(r"^blocks:\d+$", "blocks", name)
            assert PLACEHOLDER.fullmatch(name) or plain in NAMES[option], f"{option} {name}"
    elif option == "--set" and "=" not in value:  # of `manifest variants`
        assert all(name.endswith(".yaml") or read_set(name) for name in value.split(",")), value
    elif option == "--set" and not PLACEHOLDER.search(value):
        for part, settings in parse_assignments([value]).items():
            assert settings.keys() <= settings_of(part), value
    elif option == "--vary":
        setting, _, _ = value.partition("=")
        assert PLACEHOLDER.fullmatch(setting) or setting in settings_of("train"), value
    elif option == "--protocol" and not (value.endswith(".yaml") or PLACEHOLDER.search(value)):
        assert value.partition("/")[0] in list_protocols() or read_protocol(value), value


@cache
def settings_of(part: str) -> set[str]:
    """Names of a part's settings; an extractor and a fusion may share a name."""
    if part == "train":
        return {one.name for one in describe(TrainConfig)}
    kinds = [kind for kind in KINDS if part in list_parts(kind)]
    found = [describe(find_part(kind, part, KINDS[kind]).Settings) for kind in kinds]
    return {one.name for settings in found for one in settings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_exists(page):
    wrong = []
    for line in commands_of(page.read_text(encoding="utf-8")):
        try:
            check(line)
        except Exception as error:  # Click's exceptions are typer's own copy in some versions
            wrong.append(f"{line}: {error}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_option_in_the_text_exists(page):
    wrong = []
    text = page.read_text(encoding="utf-8")
    for span in spans_of(THEIRS.sub("", text) if page.name == "coming-from.md" else text):
        known = options_of(TREE, *COMMANDS.values())
        words = words_of(f"clare {span.removeprefix('clare ')}")
        if span.startswith("clare ") and not words[0].startswith("-"):
            named = [path for path in COMMANDS if path == tuple(words[: len(path)])]
            if not named and tuple(words) not in GROUPS:
                wrong.append(span)
            known = options_of(*map(COMMANDS.__getitem__, named))
        for option, value in pairwise(words):
            if option in ("--set", "--vary", "--protocol"):
                check_value(option, value)
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        wrong += [
            f"{span}: {option}"
            for option in sorted(options - known - {"--help", "--cache", "--cache-gib"})
        ]
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    [
        "clare extrakt",
        "clare store infos features.zarr",
        "clare train-head --fuse esa",
        "clare train-head --fusion film",
        "clare train-head --epochs",
        "clare train-head --epochs many",
        "clare train-head --set lare.no_such=1",
        "clare train-head --protocol p9-nowhere",
        "clare sweep --vary no_such=1,2",
        "clare report",
    ],
)
def test_what_does_not_exist_is_found(line):
    with pytest.raises((UsageError, InputError, AssertionError)):
        check(line)


def test_blocks_are_told_apart():
    page = "\n".join(
        [
            "```", "clare store info \\", "  --json  # why", "photo", "```",
            "<!-- not checked: of another time -->", "```", "clare never", "```",
            "```python", "clare = 1", "```", "`clare draw --mini` and ``--not this``",
        ]
    )  # fmt: skip
    assert [words_of(line) for line in commands_of(page)] == [["store", "info", "--json"]]
    assert spans_of(page) == ["clare draw --mini"]


@pytest.mark.parametrize("cls", [Dataset, Domain, Layout, Subset])
def test_every_key_of_a_registry_of_ones_own_is_told(cls):
    page = (ROOT / "docs" / "manifests.md").read_text("utf-8")
    told = page.partition("### A data set of your own")[2].partition("## From an official list")[0]
    keys = {field.name for field in fields(cls)} - {"id"}
    own = {"pairs": "identities", "own_reals": "own"}
    assert [key for key in sorted(keys) if f"`{own.get(key, key)}`" not in told] == []


def test_bytes_of_a_field_are_those_of_its_shape_and_type():
    page = (ROOT / "docs" / "extractors.md").read_text("utf-8")
    lines = re.findall(
        r"^\| `\w+.*` \| \((.+?),?\) \| float(\d+) \| ([\d,]+) \|", page, re.MULTILINE
    )
    assert len(lines) == 11
    for shape, bits, told in lines:
        plain = shape.replace("steps", "1").replace("draws", "4").replace("size", "256")
        sides = [one.partition("/") for one in plain.split(", ")]
        values = math.prod(int(a) // int(b or 1) for a, _, b in sides)
        assert values * int(bits) // 8 == int(told.replace(",", ""))
