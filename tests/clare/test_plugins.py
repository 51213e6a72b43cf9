"""Parts from the package, from other installed packages, and from files."""

import sys
from textwrap import dedent

import pytest

from clare.advice import Run
from clare.errors import InputError
from clare.heads import classifiers, fusion
from clare.heads.base import Fusion
from clare.pipeline import extractors
from clare.plugins import find_part, list_parts, part_name, resolve_part, trust, trust_named

FILM = """
    from __future__ import annotations

    from dataclasses import dataclass

    from clare.heads.base import Fusion


    @dataclass(frozen=True)
    class FilmSettings:
        scale: float = {scale}


    class Film(Fusion):
        Settings = FilmSettings
        roles = ("cls",)

        def __init__(self, settings, shapes):
            super().__init__(settings, shapes)
            (self.width,) = self.shapes["cls"]

        def forward(self, inputs):
            return inputs["cls"] * self.settings.scale
"""


def write(file, text=FILM, **values):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dedent(text).format(**{"scale": 1.0, **values}), "utf-8")
    return file


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes an installed package of FILM, with entry points of the fusions' group."""

    def made(entry_points):
        write(tmp_path / "film_package" / "__init__.py")
        info = tmp_path / "film_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: film-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[clare.fusions]\n{entry_points}\n")
        monkeypatch.syspath_prepend(tmp_path)

    yield made
    sys.modules.pop("film_package", None)


def find(name):
    trust_named([str(name)])
    return find_part(fusion, str(name), Fusion)


@pytest.mark.parametrize("package", [fusion, classifiers, extractors])
def test_files_that_help_the_others_are_no_parts(package, tmp_path, monkeypatch):
    (tmp_path / "_shared.py").touch()
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert "_shared" not in list_parts(package)
    with pytest.raises(InputError):
        resolve_part(package, "_shared")


def test_a_file_written_meanwhile_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(fusion, "__path__", [*fusion.__path__, str(tmp_path)])
    assert "later" not in list_parts(fusion)
    write(tmp_path / "later.py")
    assert resolve_part(fusion, "later") == "later"


def test_a_package_installed_meanwhile_is_found(install, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError):
        resolve_part(fusion, "later")
    install("later = film_package:Film")
    assert resolve_part(fusion, "later") == "later"


def test_a_slip_of_the_pen_is_told_the_name_that_was_meant():
    with pytest.raises(InputError, match="did you mean cross_attn"):
        resolve_part(fusion, "cros_attn")
    with pytest.raises(InputError, match=r"cls.*concat.*cross_attn.*esa.*lare"):
        resolve_part(fusion, "zzz")


def test_a_name_without_its_ending_is_told_the_file(tmp_path, monkeypatch):
    write(tmp_path / "film.py")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"did you mean the file here, \./film\.py"):
        resolve_part(fusion, "film")


def test_a_name_that_nothing_here_has_is_told_where_others_come_from():
    with pytest.raises(InputError, match=r"'zzz'.*path.*installed"):
        resolve_part(fusion, "zzz")


def test_a_file_is_a_part_by_its_path(tmp_path, monkeypatch):
    file = write(tmp_path / "my" / "film.py")
    monkeypatch.chdir(tmp_path)
    found = find("./my/film.py")
    assert found.__name__ == "Film" and issubclass(found, Fusion)
    assert found is find(file), "one file is one class, whatever its path is written as"
    assert found.__module__.rpartition(".")[2] == "film"
    assert found.Settings() == found.Settings(scale=1.0)


def test_a_file_that_nobody_named_is_not_run(tmp_path):
    file = write(tmp_path / "film.py", "raise SystemExit('it ran')")
    with pytest.raises(InputError) as refused:
        find_part(fusion, str(file), Fusion)  # type: ignore[type-abstract]
    (advice,) = refused.value.advice
    assert isinstance(advice, Run) and (advice.operation, advice.arguments) == (
        "trust",
        (str(file),),
    )
    write(file)
    trust(file)
    write(file, scale=2.0)
    with pytest.raises(InputError, match="changed"):
        find_part(fusion, str(file), Fusion)  # type: ignore[type-abstract]
    write(file)
    assert find_part(fusion, str(file), Fusion).__name__ == "Film"  # type: ignore[type-abstract]
    assert find(file).__name__ == "Film"
    for wrong in (tmp_path / "nosuch.py", tmp_path):
        with pytest.raises(InputError):
            trust(wrong)


def test_a_path_is_recorded_so_that_another_working_folder_finds_it(tmp_path, monkeypatch):
    write(tmp_path / "film.py")
    monkeypatch.chdir(tmp_path)
    assert resolve_part(fusion, "film.py") == str(tmp_path / "film.py")
    assert part_name(resolve_part(fusion, "film.py")) == part_name("./film.py") == "film"
    assert resolve_part(fusion, "esa") == part_name("esa") == "esa"


def test_naming_a_file_runs_nothing_of_it(tmp_path):
    file = write(tmp_path / "film.py", "raise SystemExit('run')")
    assert resolve_part(fusion, str(file)) == str(file)


def test_files_of_one_name_are_two_parts(tmp_path):
    one, two = (find(write(tmp_path / d / "film.py", scale=s)) for d, s in (("a", 1.0), ("b", 2.0)))
    assert (one.Settings().scale, two.Settings().scale) == (1.0, 2.0)


def test_a_file_that_changed_is_read_again(tmp_path):
    before = find(write(tmp_path / "film.py", scale=1.0))
    after = find(write(tmp_path / "film.py", scale=2.0))
    assert (before.Settings().scale, after.Settings().scale) == (1.0, 2.0)


def test_an_error_of_a_file_names_its_line(tmp_path):
    file = write(tmp_path / "film.py", "a = 1\nb = nothing")
    with pytest.raises(NameError) as error:
        find(file)
    assert (error.traceback[-1].path, error.traceback[-1].lineno) == (file, 1)
    with pytest.raises(NameError):
        find(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("from clare.heads.base import Fusion", "no class"),
        ("from clare.heads.fusion.esa import EsaFusion", "no class"),
        ("{film}\nclass Other(Film):\n    pass", "Film, Other"),
    ],
    ids=["none", "imported", "two"],
)
def test_a_file_holds_one_part(tmp_path, text, told):
    file = tmp_path / "film.py"
    file.write_text(text.format(film=dedent(FILM).format(scale=1.0)), "utf-8")
    with pytest.raises(InputError, match=told) as error:
        find(file)
    assert str(file) in str(error.value)


def test_helpers_and_bases_in_a_file_are_no_parts(tmp_path):
    film = dedent(FILM).format(scale=1.0)
    helpers = "\nclass Base(Fusion):\n    pass\n\nclass _Other(Film):\n    pass\n\nAlias = Film\n"
    (tmp_path / "film.py").write_text(film + helpers, "utf-8")
    assert find(tmp_path / "film.py").__name__ == "Film"


@pytest.mark.parametrize("name", ["nowhere.py", "./my-film.py"])
def test_what_can_be_no_part_is_refused_by_name(tmp_path, monkeypatch, name):
    (tmp_path / "my-film.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=name.removeprefix("./")):
        find(name)


@pytest.mark.parametrize("value", ["film_package", "film_package:Film"])
def test_an_installed_package_brings_a_part(install, value):
    install(f"film = {value}")
    assert "film_package" not in sys.modules
    assert "film" in list_parts(fusion) and "film" not in list_parts(classifiers)
    assert resolve_part(fusion, "film") == "film"
    assert "film_package" not in sys.modules, "it runs only when it is asked for"
    assert find("film").__name__ == "Film"


def test_two_parts_of_one_name_are_refused(install):
    install("esa = film_package:Film")
    assert list_parts(fusion).count("esa") == 1
    with pytest.raises(InputError, match=r"clare\.heads\.fusion\.esa.*film_package:Film"):
        find("esa")
    assert find("cls").__name__ == "ClsFusion"


def test_an_entry_point_that_is_no_part_is_refused(install):
    install("film = film_package:FilmSettings")
    with pytest.raises(InputError, match="film_package:FilmSettings"):
        find("film")
