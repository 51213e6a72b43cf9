"""The commands that the pages show run as they stand, offline, in their order, on drawn images.

A comment above a block says what is otherwise: ``<!-- not run: WHY -->``; ``<!-- run with OPTIONS:
WHY -->``, where these join each command that takes them, in the place of named models; or
``<!-- file: NAME -->``, where the block is written to that file.
"""

import json
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from clare.cli.app import app
from clare.cli.command import commands_below
from clare.pipeline.synthetic.toys import draw_faces
from tests.pipeline.df40_tree import make_tree
from tests.pipeline.video.clips import write_clip

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- (?:(not run): [^>]+|run with ([^:>]+): [^>]+|file: ([^ >]+)) -->\s*\n)?"
    r"^```(\w*)\n(.*?)^```",
    re.MULTILINE | re.DOTALL,
)
SHELL = ("", "sh", "bash", "console", "shell")
MODELS = ("--clip-model", "--sd-model", "--tower-model")
COMMANDS = dict(commands_below(get_command(app)))


@dataclass(frozen=True)
class Block:
    """A block that is to be run, or written to a file.

    Args:
        line: where it stands in its page.
        text: its lines.
        options: that join its commands.
        file: that it is written to; empty where it is run.
    """

    line: int
    text: str
    options: str = ""
    file: str = ""

    @property
    def commands(self) -> list[str]:
        """Its commands, each on one line."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.startswith(("clare ", "export "))]


def blocks_of(text: str) -> list[Block]:
    """The blocks of a page."""
    found = []
    for one in BLOCK.finditer(text):
        skipped, options, file, language, body = one.groups()
        block = Block(text.count("\n", 0, one.start(5)), body, options or "", file or "")
        if file or (not skipped and language in SHELL and block.commands):
            found.append(block)
    return found


def words_of(line: str, options: str = "") -> list[str]:
    """The words after ``clare``, as a shell gives them, with a block's own options."""
    _, *words = shlex.split(line, comments=True)
    path = tuple(words[:1]) if tuple(words[:1]) in COMMANDS else tuple(words[:2])
    known = {word for one in COMMANDS[path].params for word in one.opts}
    given = shlex.split(options)
    if given and given[0] in known:
        for model in MODELS:
            if model in words:
                del words[words.index(model) : words.index(model) + 2]
        words += given
    found = []
    for word in words:
        several = sorted(map(str, Path().glob(word))) if "*" in word and "=" not in word else []
        found += several or [word.replace("=/data/", "=data/").replace("/data/", "data/")]
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """What the pages speak of: folders of images, lists, tables of scores."""
    place = tmp_path_factory.mktemp("world")
    for name in ("photos", "Real_youtube", "data/mine/photos"):
        draw_faces(place / name, 20, seed=len(name), kind="real", size=48)
    for name in ("stylegan3", "pixart", "FaceSwap", "NeuralTextures", "data/mine/swaps"):
        draw_faces(place / name, 20, seed=len(name), kind="fake", size=48)
    for number in range(6):
        video = f"data/lab/originals/p{number}"
        draw_faces(place / video, 2, seed=number, kind="real", size=48)
        draw_faces(place / video.replace("originals", "mine"), 2, 9 + number, "fake", size=48)
    for number in range(3):
        write_clip(place / "originals" / f"{number}.mp4", 8, first=10 * number)
        write_clip(place / "deepfakes" / f"{number}.mp4", 8, first=30 + 10 * number)
    write_clip(place / "clip.mp4", 40)
    mine = place / "data" / "mine"
    rows = [f"{file.relative_to(mine)},{int(file.parent.name == 'swaps')}"
            for file in sorted(mine.rglob("*.jpg"))]  # fmt: skip
    (place / "mine.csv").write_text("\n".join(["path,label", *rows]))
    theirs = [f"{n}.png,{n % 2},{n / 40},{n % 2},{n / 40}" for n in range(40)]
    head = "files,labels,prob_class_1,true_label,fake_probability_score"
    (place / "test_predictions.csv").write_text("\n".join([head, *theirs]))
    return place


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A small DF40 below data/, without its broken files, and UADFV with its list."""
    place = tmp_path_factory.mktemp("release")
    tree = make_tree(place / "data")
    for root, path in tree.having("row"):
        try:
            with Image.open(tree.roots[root] / path) as image:
                image.load()
        except OSError:
            (tree.roots[root] / path).unlink()
    labels = {}
    for side, kind, end in (("real", "UADFV_Real", ""), ("fake", "UADFV_Fake", "_fake")):
        videos: dict[str, object] = {}
        for number in range(6):
            folder = f"UADFV/{side}/frames/{number:04d}{end}"
            files = draw_faces(place / "data" / folder, 2, seed=number, kind="fake", size=32)
            for file in files:
                file.write_bytes(file.read_bytes() + folder.encode())  # no copy of another
            names = [f"{folder}/{file.name}" for file in files]
            videos[f"{number:04d}{end}"] = {"label": kind, "frames": names}
        labels[kind] = dict.fromkeys(("train", "val", "test"), videos)
    (place / "UADFV.json").write_text(json.dumps({"UADFV": labels}))
    return place


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks_of(page.read_text("utf-8"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_command_of_a_page_runs(page, world, release, tmp_path, monkeypatch):
    place = tmp_path / "here"
    for source in (world, release):
        shutil.copytree(source, place, dirs_exist_ok=True)
    monkeypatch.chdir(place)
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("CLARE_")]:
            del os.environ[name]
        for block in blocks_of(page.read_text("utf-8")):
            if block.file:
                Path(block.file).parent.mkdir(parents=True, exist_ok=True)
                Path(block.file).write_text(block.text)
            for command in () if block.file else block.commands:
                if command.startswith("export "):
                    given = shlex.split(command, comments=True)[1:]
                    os.environ |= dict(one.replace("=/data/", "=data/").split("=") for one in given)
                    continue
                result = CliRunner().invoke(app, words_of(command, block.options))
                where = f"{page.name}, block at line {block.line}: {command}\n{result.output}"
                assert result.exit_code == 0, f"{where}\n{result.exception!r}"


def test_a_mark_is_read():
    page = "\n".join(
        [
            "```", "clare one \\", "  --a", "```",
            "<!-- not run: hours -->", "```", "clare two", "```",
            "<!-- run with --backbone tiny: no network -->", "```sh", "clare three", "```",
            "<!-- file: own/mine.yaml -->", "```yaml", "clare: 5", "```",
            "```python", "clare = 4", "```",
        ]
    )  # fmt: skip
    first, third, file = blocks_of(page)
    assert [shlex.split(one) for one in first.commands] == [["clare", "one", "--a"]]
    assert (third.options, third.commands) == ("--backbone tiny", ["clare three"])
    assert (file.file, file.text, first.line) == ("own/mine.yaml", "clare: 5\n", 1)


def test_options_of_a_block_join_the_commands_that_take_them():
    line = "clare extract --real photos/ --clip-model RN50 --root ff=/data/FF"
    found = words_of(line, "--backbone tiny")
    assert found == [
        *("extract", "--real", "photos/", "--root", "ff=data/FF"),
        "--backbone",
        "tiny",
    ]
    assert words_of("clare store info", "--backbone tiny") == ["store", "info"]
