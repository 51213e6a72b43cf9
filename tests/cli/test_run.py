"""`clare run`: folders to a tested run and its page, and again from wherever it stopped."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clare.cli.app import app
from clare.errors import InputError
from clare.experiment import Experiment
from clare.heads.config import read_config, read_preset
from clare.heads.runs.record import read_seen
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.synthetic.toys import draw_faces
from clare.store.feature_store import open_store
from tests.conftest import drawn_in_full

FOLDERS = ("Real_youtube", "FaceSwap", "NeuralTextures")
COMMAND = (
    *("run", "--real", "Real_youtube", "--fake", "fs=FaceSwap", "--fake", "nt=NeuralTextures"),
    *("--train", "fs", "--preset", "text-similarity", "--backbone", "tiny", "--epochs", "2"),
)
OUT = Path("runs/cls-text_similarity_fs")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    place = tmp_path_factory.mktemp("faces")
    draw_faces(place / "Real_youtube", 20, seed=1, kind="real", size=48)
    draw_faces(place / "FaceSwap", 20, seed=2, kind="fake", size=48)
    draw_faces(place / "NeuralTextures", 20, seed=3, kind="fake", size=48)
    return place


@pytest.fixture
def run(clare, faces, tmp_path):
    """`clare` in a folder that holds the three folders."""
    for name in FOLDERS:
        shutil.copytree(faces / name, tmp_path / name)
    return clare


@pytest.fixture(scope="module")
def done(faces, tmp_path_factory):
    """A folder in which the command has run, and what it printed."""
    place = tmp_path_factory.mktemp("done") / "place"
    shutil.copytree(faces, place)
    with pytest.MonkeyPatch.context() as patch, drawn_in_full():
        patch.chdir(place)
        result = CliRunner().invoke(app, COMMAND)
    assert result.exit_code == 0, result.output
    return place, result.stdout


@pytest.fixture
def again(clare, done, tmp_path):
    """`clare` in such a folder of a test's own."""
    shutil.copytree(done[0], tmp_path, dirs_exist_ok=True)
    return clare


def rows_of(file):
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def states(*files):
    return [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]


def test_trained_on_one_manipulation_and_tested_on_all(again, done, faces):
    out = done[1]
    assert str(OUT / "test_predictions.csv") in out and str(OUT / "report.html") in out
    assert (OUT / "report.html").stat().st_size > 10_000
    metrics = json.loads((OUT / "test_metrics.json").read_text())
    assert metrics["subsets"].keys() == {"fs", "nt"}
    assert metrics["trained_on"] == ["fs"] and metrics["baselines"]

    tested = rows_of(OUT / "test_predictions.csv")
    assert list(tested[0])[:4] == ["path", "label", "predicted", "score"]
    for row in tested:
        assert (faces / row["path"]).is_file()
        assert row["label"] == str(int(not row["path"].startswith("Real_youtube/")))
        assert row["predicted"] == str(int(float(row["margin"]) >= metrics["threshold"]))
        assert 0 < float(row["score"]) < 1
    unseen = sorted(row["path"] for row in tested if row["subset"] == "nt")
    files = (faces / "NeuralTextures").iterdir()
    assert unseen == sorted(f"NeuralTextures/{file.name}" for file in files)

    store, seen = open_store("features.zarr"), read_seen(OUT)
    stored = {row.columns["path"]: row for name in store.subsets() for row in store.rows(name)}
    assert not any(seen.shared_with(stored[row["path"]]) for row in tested)
    untested = stored.keys() - {row["path"] for row in tested}
    assert len(untested) > 20 and all(seen.shared_with(stored[path]) for path in untested)
    assert [key.partition("-")[0] for key in store.extractor_keys()] == ["clip"]


def test_the_threshold_is_said_as_the_score_of_the_predictions_and_as_a_margin(again, done):
    out = done[1]
    tested = rows_of(OUT / "test_predictions.csv")
    margin = json.loads((OUT / "test_metrics.json").read_text())["threshold"]
    said = [float(one) for one in re.findall(r"threshold p\(fake\) (\d\.\d+)", out)]
    assert len(said) == 2 and out.count(f"a margin of {margin:.4f}") == 2
    for row in tested:
        for score in said:
            assert abs(float(row["score"]) - score) < 1e-4 or row["predicted"] == str(
                int(float(row["score"]) >= score)
            )


def test_again_it_does_only_what_is_missing(run):
    run(*COMMAND)
    kept = [OUT / name for name in ("best.safetensors", "run.log", "test_metrics.json")]
    before = states(*kept)
    code, out, _ = run(*COMMAND)
    assert code == 0 and "nothing is missing" in out and "is trained already" in out
    assert states(*kept) == before

    draw_faces(Path("more"), 21, seed=5, kind="fake", size=48)
    shutil.copy("more/0020.jpg", "FaceSwap/new.jpg")  # for training: no other image moves
    code, _, said = run(*COMMAND)
    assert code == 1 and "other rows than the store has now" in said
    assert states(*kept) == before


def test_stopped_anywhere_the_same_command_goes_on(run, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    for place in (
        "clare.pipeline.extraction.job.extract_subset",
        "clare.heads.training.trainer.judge_all",
        "clare.heads.sweeps.tests.evaluate",
        "clare.heads.report.write.report",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, stop)
            code, _, said = run(*COMMAND)
        assert code == 130 and "the same command goes on where this one stopped" in said, place
        assert not (OUT / "report.html").exists()
    assert run(*COMMAND)[0] == 0
    assert (OUT / "report.html").is_file() and (OUT / "test_predictions.csv").is_file()


def test_images_that_fail_are_counted_however_often_it_is_run(run, tmp_path):
    for image in sorted((tmp_path / "FaceSwap").iterdir())[:2]:
        image.write_bytes(image.name.encode())  # no copy of another
    for _ in range(2):
        code, _, said = run(*COMMAND)
        assert code == 3 and "nothing is trained, more images failed" in said
        assert not OUT.exists()
    code, _, said = run(*COMMAND, "--max-failures", "10%")
    assert code == 0, said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--train", "faceswap"), "no folder of fakes has this name: name some of fs, nt with"),
        (("--fusion", "clss"), "did you mean cls?"),
        (("--preset", "text"), "is not one of"),
        (("--fake", "df=Deepfakes"), "Deepfakes is no folder"),
        (("--timesteps", "100"), "cls reads no lare.timesteps: leave --timesteps out"),
        (("--set", "cls.no=1"), "cls has no setting 'no'"),
    ],
)
def test_a_wrong_name_is_refused_before_an_image_is_read(run, words, told):
    code, _, said = run(*COMMAND, *words)
    assert code == 1 and told in said
    assert not Path("features.zarr").exists() and not OUT.exists()


def test_both_kinds_of_folders_are_needed(run):
    assert "name one with --fake (as NAME=DIR)" in run("run", "--real", "Real_youtube")[2]
    assert "name one with --real (as DIR)" in run("run", "--fake", "fs=FaceSwap")[2]


def test_too_few_images_are_refused_before_models_are_loaded(run):
    Path("few").mkdir()
    draw_faces(Path("few"), 2, seed=3, kind="fake", size=48)
    code, _, said = run("run", "--real", "Real_youtube", "--fake", "fs=few", "--backbone", "tiny")
    assert code == 1 and "no images of fs are left for split" in said
    assert not Path("features.zarr").exists()


def draw_people():
    for number in range(0, 16, 2):
        one, other = f"{number:03d}", f"{number + 1:03d}"
        for seed, name in enumerate((f"real/{one}", f"real/{other}")):
            draw_faces(Path(name), 2, seed=99 * seed + number, kind="real", size=48)
        for seed, kind in enumerate(("fs", "nt")):
            place = Path(kind, f"{one}_{other}")
            draw_faces(place, 2, seed=999 * (seed + 1) + number, kind="fake", size=48)


PEOPLE = ("run", "--real", "real", "--fake", "fs=fs", "--fake", "nt=nt", *COMMAND[7:])


@pytest.mark.parametrize("trained", ["fs", "fs,nt"])
def test_a_manipulation_without_its_people_in_a_split_is_told_first(clare, trained):
    draw_people()
    for folder in sorted(Path("nt").iterdir())[1:]:
        shutil.rmtree(folder)
    code, _, said = clare(*PEOPLE, "--train", trained, "--identities")
    assert code == 1 and "no images of nt are left for split" in said
    assert not Path("features.zarr").exists()


def test_with_identities_nobody_is_both_trained_on_and_tested(clare):
    draw_people()
    code, _, err = clare(*PEOPLE, "--identities")
    assert code == 0, err
    people: dict[str, set[str]] = {"trained": set(), "tested": set()}
    tested = {row["path"] for row in rows_of(OUT / "test_predictions.csv")}
    store = open_store("features.zarr")
    for name in store.subsets():
        for row in store.rows(name):
            own = set(Path(row.columns["path"]).parent.name.split("_"))
            if row.columns["path"] in tested:
                people["tested"] |= own
            elif name != "nt":
                people["trained"] |= own
    assert people["tested"] and people["trained"] and not people["tested"] & people["trained"]
    assert any(path.startswith("nt/") for path in tested)


def test_images_of_other_folders_do_not_join(again):
    code, _, said = again("run", "--real", "NeuralTextures", "--fake", "fs=FaceSwap", *COMMAND[7:])
    assert code == 1 and "features.zarr has 20 images of real that these folders don't hold" in said
    assert "name another with --store" in said and "clare store drop features.zarr" in said


def test_a_store_keeps_the_splits_that_its_runs_were_made_with(again):
    def splits():
        store = open_store("features.zarr")
        names = store.subsets()
        return {row.sample_id: row.columns["split"] for name in names for row in store.rows(name)}

    before = splits()
    code, _, said = again(*COMMAND, "--train", "nt")
    assert code == 1 and "features.zarr has 17 images of fs in another split than now" in said
    assert "name another with --store" in said and splits() == before


def test_a_folder_keeps_its_run(again):
    before = states(OUT / "config.json")
    code, _, said = again(*COMMAND, "--seed", "3", "--out", OUT)
    assert code == 1 and "holds another run (seed was 0 and is 3)" in said
    assert states(OUT / "config.json") == before


DECODER = (
    *("run", "--real", "Real_youtube", "--fake", "fs=FaceSwap", "--decoder", "linear"),
    *("--backbone", "tiny", "--epochs", "2"),
)


def draw_masks(folder, fakes):
    folder.mkdir()
    half = Image.fromarray(np.kron([[255], [0]], np.ones((24, 48))).astype(np.uint8))
    for fake in fakes.iterdir():
        half.save(folder / f"{fake.stem}.png")


def test_a_decoder_finds_fake_pixels_by_masks(run, tmp_path):
    draw_masks(tmp_path / "masks", tmp_path / "FaceSwap")
    code, out, err = run(*DECODER, "--masks", "masks")
    assert code == 0, err
    folder = Path("runs/linear")
    metrics = json.loads((folder / "test_metrics.json").read_text())
    iou = metrics["masks"]["subsets"]["fs"]["figures"]["iou"]["value"]
    assert f"{iou:.3f}" in out and (folder / "report.html").is_file()
    store = open_store("features.zarr")
    assert [key.partition("-")[0] for key in store.extractor_keys()] == ["clip", "mask"]
    before = states(folder / "best.safetensors", folder / "test_metrics.json")
    assert run(*DECODER, "--masks", "masks")[0] == 0
    assert states(folder / "best.safetensors", folder / "test_metrics.json") == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "decoder linear learns from masks of its fakes, or is chosen by them: name their"),
        (("--masks", "none"), "none"),
        (("--masks", "nt=FaceSwap"), "there are no fakes nt for those masks"),
        (("--mask-fake", "black"), "there are no masks to be read so"),
        (("--fusion", "cls"), "a decoder stands in the place of fusion and classifier"),
    ],
)
def test_masks_that_are_missing_are_told_before_an_image_is_read(run, words, told):
    code, _, said = run(*DECODER, *words)
    assert code == 1 and told in said
    assert not Path("features.zarr").exists() and not Path("runs").exists()


def test_a_detector_takes_no_masks(run):
    code, _, said = run(*COMMAND, "--masks", "FaceSwap")
    assert code == 1 and "cls takes no masks, which are a decoder's: leave --masks out" in said


def test_a_decoders_layers_are_extracted(faces):
    found = Experiment(
        [faces / "Real_youtube"],
        [f"fs={faces / 'FaceSwap'}"],
        ExtractSettings(),
        read_preset("declip"),
        faces / "run",
        masks=[str(faces / "FaceSwap")],
    ).settings
    assert found.features == ("clip", "mask")
    assert found.settings == {"clip": {"layers": ("20",)}}


def experiment(faces, preset, **settings):
    fakes = [f"fs={faces / 'FaceSwap'}"]
    how = ExtractSettings(settings=settings)
    return Experiment([faces / "Real_youtube"], fakes, how, read_preset(preset), faces / "run")


def test_a_preset_is_extracted_as_it_was_published(faces):
    found = experiment(faces, "clare-published", clip={"layers": [1]}).settings
    assert found.features == ("clip", "lare")
    assert found.settings == {"clip": {"mean_std": "half", "layers": [1]}}
    assert experiment(faces, "gend").settings.features == ("clip", "pixels")
    assert experiment(faces, "gend-cached").settings.features == ("clip",)


def test_a_field_that_nothing_here_makes_is_refused(faces):
    own = read_preset("clare").from_json({"fusion": "cls", "fields": {"cls": "colours"}})
    with pytest.raises(InputError, match="no extractor here makes the field colours"):
        Experiment([faces], [f"fs={faces}"], ExtractSettings(), own, faces / "run")


@pytest.mark.parametrize("name", ["lare_trajectory", "lare_tokens_t"])
def test_a_head_over_noise_steps_is_refused_before_one_alone_is_extracted(faces, name):
    own = read_preset("clare").from_json({"fusion": name})

    def settings(**lare):
        how = ExtractSettings(settings={"lare": lare} if lare else {})
        fakes = [f"fs={faces / 'FaceSwap'}"]
        return Experiment([faces / "Real_youtube"], fakes, how, own, faces / "run").settings

    with pytest.raises(InputError, match=rf"{name} reads LaRE over several.*lare.*timesteps"):
        settings()
    assert settings(timesteps=[25, 100]).settings["lare"] == {"timesteps": [25, 100]}


def test_a_tower_is_tuned_in_the_same_command(run):
    command = [
        *("run", "--real", "Real_youtube", "--fake", "fs=FaceSwap", "--tune", "ln"),
        *("--fusion", "cls", "--classifier", "linear", "--backbone", "tiny", "--epochs", "1"),
    ]
    code, out, said = run(*command, "--out", "runs/ln")
    assert code == 0, out + said
    assert read_config(Path("runs/ln/config.json")).detector.way == "ln"
    assert rows_of(Path("runs/ln/test_predictions.csv"))
    command[command.index("ln")] = "blocks:1"
    code, _, said = run(*command, "--out", "runs/blocks")
    assert code == 1 and "blocks:1 begins behind a block of the tower" in said
    assert not Path("runs/blocks").exists()
