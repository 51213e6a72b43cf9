"""Options that a settings dataclass declares."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from clare.cli.app import app
from clare.cli.command import commands_below
from clare.cli.options import Settings, prepare_file, prepare_folder, with_settings
from clare.cli.wording import find_parameter
from clare.errors import InputError
from clare.heads.config import Machine, TrainConfig
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.extraction.trial import TrialSettings
from clare.settings import describe


@dataclass(frozen=True)
class Inner:
    """Settings within others.

    Args:
        side: in pixels.
    """

    side: int | None = None


@dataclass(frozen=True)
class Brush:
    """Settings of a brush.

    Args:
        width: of the brush, in
            pixels.
        kind: oil or water.
        colours: comma-separated.
        dry: wait for the paint
        layers: paint more than one.
        inner: what lies within.
        table: has no option.
    """

    width: float = 1.5
    kind: Literal["oil", "water"] = "oil"
    colours: tuple[str, ...] = ("red", "blue")
    dry: bool = False
    layers: bool = True
    inner: Inner = field(default_factory=Inner)
    table: Mapping[str, Any] = field(default_factory=dict)


OPTIONS = Settings(Brush, {"width": "Brush", "side": "Inside"}, "brush", {"kind": "--paint"})


@pytest.fixture
def paint():
    brushes = typer.Typer()

    @brushes.command()
    @with_settings
    def paint(
        place: Annotated[str, typer.Argument()], brush: Annotated[dict[str, Any], OPTIONS]
    ) -> None:
        """Paint."""
        print(json.dumps([place, brush]))

    return lambda *words: CliRunner().invoke(brushes, [*words])


def test_a_command_gets_what_was_given_by_the_name_of_its_setting(paint):
    assert json.loads(paint("wall").stdout) == ["wall", {}]
    words = ("--brush-width", "2", "--paint", "water", "--brush-side", "3", "--no-brush-layers")
    given = {"width": 2.0, "kind": "water", "dry": True, "layers": False, "side": 3}
    assert json.loads(paint("wall", *words, "--brush-dry").stdout) == ["wall", given]


def test_types_and_choices_are_checked(paint):
    for words in (("--brush-width", "wide"), ("--paint", "chalk"), ("--brush-table", "x")):
        assert paint("wall", *words).exit_code == 2


def test_the_help_says_what_the_dataclass_says():
    helps = {
        name: (option.annotation.__metadata__[0].help, option.annotation.__metadata__[0])
        for name, option in OPTIONS.parameters()
    }
    assert helps["width"][0] == "Of the brush, in pixels. [default: 1.5]"
    assert helps["kind"][0] == "oil or water. [default: oil]"
    assert helps["colours"][0] == "Comma-separated. [default: red,blue]"
    assert helps["dry"][0] == "Wait for the paint."
    assert helps["layers"][0] == "Paint more than one. [default: on]"
    panels = {name: option.rich_help_panel for name, (_, option) in helps.items()}
    assert (panels["layers"], panels["side"]) == ("Brush", "Inside")


@pytest.mark.parametrize(
    ("command", "cls"),
    [("extract", ExtractSettings), ("bench", TrialSettings), ("train-head", TrainConfig),
     ("train-head", Machine), ("sweep", TrainConfig)],
)  # fmt: skip
def test_every_setting_has_an_option(command, cls):
    shown = dict(commands_below(get_command(app)))[command,]
    missing = [one.name for one in describe(cls) if find_parameter(shown, one.name) is None]
    assert all("Mapping" in str(one.hint) for one in describe(cls) if one.name in missing)


def test_a_trial_takes_what_an_extraction_takes_but_how_it_ends():
    shown = dict(commands_below(get_command(app)))
    extract, bench = ({flag for one in shown[name,].params for flag in one.opts}
                      for name in ("extract", "bench"))  # fmt: skip
    assert extract - bench == {"--max-failures", "--strict", "--cluster"}


def test_a_place_is_left_as_it_is_found(tmp_path):
    there, new = tmp_path / "there", tmp_path / "deep" / "new"
    there.write_text("mine")
    prepare_file(there, "out")
    prepare_file(new, "out")
    assert there.read_text() == "mine" and not new.exists()
    prepare_folder(tmp_path / "made", "out")
    assert (tmp_path / "made").is_dir()
    for refused in (lambda: prepare_file(tmp_path, "out"), lambda: prepare_folder(there, "out")):
        with pytest.raises(InputError):
            refused()


def test_the_parts_of_a_path_that_is_a_file_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        prepare_file(Path(tmp_path / "file" / "below"), "out")
