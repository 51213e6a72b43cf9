"""`clare manifest import-json` and `audit` as a user types them."""

import json

import pytest
from typer import Typer
from typer.testing import CliRunner

from clare.cli.commands.manifest_audit import audit
from clare.cli.commands.manifest_import import import_json
from clare.errors import InputError
from clare.pipeline.manifests.csv_io import read_manifest
from clare.pipeline.synthetic.toys import draw_faces


@pytest.fixture
def clare(monkeypatch, tmp_path):
    """Run a command line in an empty folder; gives its output, errors pass through."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    app = Typer()
    app.command("import-json")(import_json)
    app.command("audit")(audit)

    def run(*args) -> str:
        done = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run


@pytest.fixture
def listed(tmp_path):
    """A list of real and fake faces whose val is its test, and the faces."""
    labels = {}
    for kind, form in (("real", "jpeg"), ("fake", "png")):
        files = draw_faces(tmp_path / "disk/faces" / kind, 10, seed=len(kind), size=48, format=form)
        label = f"faces_{kind.title()}"
        videos = {
            f"{kind}{file.stem}": {
                "label": label,
                "frames": [f"elsewhere/faces/{kind}/{file.name}"],
            }
            for file in files
        }
        labels[label] = {"train": {}, "test": videos, "val": videos}
    (tmp_path / "faces.json").write_text(json.dumps({"faces": labels}))
    return tmp_path / "faces.json"


def test_a_list_becomes_a_manifest_that_an_audit_reads(clare, listed, tmp_path):
    with pytest.raises(InputError, match="its val is its test, 20 of 20 videos"):
        clare("import-json", listed, "--root", "disk/faces")
    assert not list(tmp_path.glob("data_manifests/*"))

    said = clare("import-json", listed, "--root", "disk/faces", "--resplit")
    assert "100.0%" in said and "faces.csv: 20 images" in said
    manifest = read_manifest(tmp_path / "data_manifests/faces.csv")
    assert {s.path for s in manifest.samples} >= {"real/0000.jpg", "fake/0009.png"}
    with pytest.raises(InputError, match=r"faces\.csv is there already"):
        clare("import-json", listed, "--root", "disk/faces", "--resplit")
    clare("import-json", listed, "--root", "disk/faces", "--resplit", "--out", "other.csv.gz")
    assert read_manifest(tmp_path / "other.csv.gz").samples[0].subset == "other"

    said = clare("audit", "faces", "--root", "disk/faces", "--resamples", 20)
    assert "--recode jpeg:95 removes it" in said and "as it is" in said
    report = json.loads(
        clare("audit", "faces", "--root", "disk/faces", "--resamples", 0, "--resize", 64, "--json")
    )
    assert report["subsets"] == ["faces"] and report["prepared"]["resize"] == 64
    assert report["shortcuts"]["format"]["after"]["value"] == 1.0  # nobody asked for --recode


def test_an_audit_needs_no_manifest(clare, listed):
    said = clare("audit", "--real", "disk/faces/real", "--fake", "disk/faces/fake")
    assert "file format" in said and "1.000" in said


def test_roots_are_needed_and_must_be_there(clare, listed):
    with pytest.raises(InputError, match="no folder is known"):
        clare("import-json", listed, "--resplit")
    with pytest.raises(InputError, match="is not there"):
        clare("import-json", listed, "--resplit", "--root", "nowhere")
