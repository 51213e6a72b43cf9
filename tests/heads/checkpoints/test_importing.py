"""A published checkpoint as a run: what it is bound to, what is refused, and what is said of it."""

from pathlib import Path

import pytest
import torch

from clare.errors import InputError, WeightsError
from clare.heads.checkpoints import list_checkpoints
from clare.heads.config import DetectorConfig
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.importing import features_of, find_format, import_checkpoint, open_checkpoint
from clare.heads.published import Need, PublishedHead
from clare.heads.runs.record import read_record, read_validation
from clare.models.checkpoint import Checkpoint
from tests.heads.checkpoints.published import OPENAI, imported, one_extraction, together

CROP = {"crop": "centre", "crop_side": 224, "resize": None, "recode": None}
SHAPE = {"clip_cls": (768,)}


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    torch.save(torch.nn.Linear(768, 1).state_dict(), tmp_path / "fc_weights.pth")
    return tmp_path / "fc_weights.pth"


def test_a_run_says_where_it_comes_from_and_what_nobody_can_check(file, tmp_path):
    run = imported(file, one_extraction(SHAPE, images=CROP), tmp_path / "run")
    record = read_record(tmp_path / "run")
    assert record.imported is not None
    assert record.imported.format == "univfd" and record.imported.file == "fc_weights.pth"
    assert record.imported.about.licence == "MIT"
    assert len(record.imported.sha256) == 64
    (caveat,) = run.caveats
    assert "no leak" in caveat and "ProGAN" in caveat
    assert run.seen.unknown and not run.seen.trained
    assert read_validation(tmp_path / "run").metrics == {}


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (one_extraction({"clip_cls": (512,)}, images=CROP), r"shape \(512,\), not \(768,\)"),
        (one_extraction({"clip_tokens": (4, 768)}, images=CROP), "none that fits"),
        (
            one_extraction(SHAPE, {**OPENAI, "mean_std": "half"}, CROP),
            "mean_std is half, not clip",
        ),
        (one_extraction(SHAPE, {**OPENAI, "quick_gelu": False}, CROP), "quick_gelu is False"),
        (
            one_extraction(
                SHAPE, images=CROP, origin={"model": "ViT-L-14", "weights": "laion2b_s32b_b82k"}
            ),
            r"the model is ViT-L-14 \(laion2b_s32b_b82k\), not ViT-L-14 \(openai\)",
        ),
        (
            one_extraction(SHAPE, images=CROP, origin={"model": "ViT-B-16", "weights": "openai"}),
            r"the model is ViT-B-16 \(openai\), not ViT-L-14 \(openai\)",
        ),
        (
            one_extraction(SHAPE, images=CROP, origin={"model": "ViT-B-16", "weights": "b16.pt"}),
            r"the model is ViT-B-16 \(b16\.pt\), not",
        ),
        (
            one_extraction(SHAPE, images={**CROP, "align": "deepfakebench", "align_side": 256}),
            "align is deepfakebench, not none",
        ),
        (
            one_extraction(SHAPE, images={**CROP, "crop_side": None}),
            "crop_side is None, not 224",
        ),
        (one_extraction(SHAPE, images={**CROP, "recode": "jpeg:95"}), "recode is jpeg:95"),
    ],
)
def test_other_features_are_refused_and_nothing_is_written(file, tmp_path, features, told):
    with pytest.raises(InputError, match=told):
        imported(file, features, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["fc_weights.pth"]


def test_other_preparation_is_taken_when_asked_for_and_said(file, tmp_path):
    run = imported(
        file, one_extraction(SHAPE, images={"crop": "none"}), tmp_path / "run", as_prepared=True
    )
    assert "crop is none, not centre" in run.caveats[1]


@pytest.mark.parametrize(
    "origin",
    [
        {},
        {"model": "my-clip"},
        {"model": "hf-hub:me/clip"},
        {"model": "ViT-L-14", "weights": "ViT-L-14.pt"},
        {"model": "ViT-L-14", "weights": "openai", "local": "file"},
        {"model": "mine", "weights": "clip", "local": "folder"},
    ],
)
def test_weights_of_ones_own_are_taken_and_not_vouched_for(file, tmp_path, origin):
    run = imported(file, one_extraction(SHAPE, images=CROP, origin=origin), tmp_path / "run")
    assert "nothing proves them ViT-L-14 (openai)" in run.caveats[1]


def test_of_several_that_fit_one_is_named(file, tmp_path):
    both = together(
        one_extraction(SHAPE, images=CROP),
        one_extraction(SHAPE, {**OPENAI, "dtype": "float16"}, CROP),
    )
    with pytest.raises(InputError, match="several clip_cls features fit"):
        imported(file, both, tmp_path / "run")
    _, second = both.extractors
    run = imported(file, both, tmp_path / "run", named={"clip": second.rpartition("-")[2]})
    assert run.record.fingerprints == {"clip": second}


def test_a_published_localiser_is_tested_with_the_stores_masks(masked, tmp_path):
    """Its one channel tells the fake quarter of the store's images: it finds that untrained."""
    head = PublishedHead(
        config=DetectorConfig(decoder="linear", standardize=False),
        specs={"clip_tokens": (16, 8)},
        tensors={
            "decoder.fc.0.weight": torch.eye(8)[:1],
            "decoder.fc.0.bias": torch.tensor([-1.5]),
        },
        needs={"clip_tokens": Need("clip", {}, {})},
    )
    checkpoint = Checkpoint(Path("a.pth"), "", head.tensors, {})
    import_checkpoint("declip", checkpoint, head, features_of(masked), tmp_path / "run", named={})
    found = evaluate(
        tmp_path / "run", masked, ["local"], reals=["pool"], baselines=True, resamples=20
    )
    masks = found.record.masks
    assert masks is not None and not masks.saw_reals
    figures = masks.subsets["local"]
    iou, everything = figures.figures["iou"].value, figures.baselines["all fake"].figures["iou"]
    assert iou is not None and iou > 0.6 and everything.value == pytest.approx(0.25, abs=0.02)
    assert any("LaRE is not among the baselines" in note for note in found.record.notes)
    assert found.record.threshold == 0.0 and found.record.aucs["local"] is not None


def test_places_that_can_hold_no_run_are_refused(file, tmp_path, monkeypatch):
    features = one_extraction(SHAPE, images=CROP)
    (tmp_path / "empty").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path / "empty")
    for place in (Path(), tmp_path / "gone"):
        with pytest.raises(InputError, match=r"the working folder|there already"):
            imported(file, features, place)


def test_nothing_beside_the_run_is_touched(file, tmp_path):
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "notes.txt").write_text("mine")
    (tmp_path / "run").mkdir()
    imported(file, one_extraction(SHAPE, images=CROP), tmp_path / "run")
    assert (tmp_path / "run.partial" / "notes.txt").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fc_weights.pth", "run", "run.partial"]


def test_names_of_tensors_reach_the_terminal_as_plain_text(tmp_path):
    torch.save({"\x1b[31mred\nline": torch.ones(2)}, tmp_path / "a.pth")
    with pytest.raises(InputError) as told:
        open_checkpoint(tmp_path / "a.pth", None)
    assert str(told.value).isprintable()


@pytest.mark.parametrize("holds", ["a run", "there already"])
def test_a_taken_folder_is_refused(file, tmp_path, holds):
    out = tmp_path / "run"
    if holds == "a run":
        imported(file, one_extraction(SHAPE, images=CROP), out)
    else:
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(InputError, match=holds):
        imported(file, one_extraction(SHAPE, images=CROP), out)
    assert sorted(path.name for path in out.iterdir()) == before


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"weight": torch.ones(1, 768)}, "no checkpoint that is known"),
        ({"weight": torch.ones(1, 512), "bias": torch.ones(1)}, "a width of 768 or 1024"),
        ({"weight": torch.ones(1, 768), "bias": torch.ones(2)}, "bias is float32"),
        (
            {"weight": torch.full((1, 768), torch.nan), "bias": torch.ones(1)},
            "weight has values that are no finite numbers",
        ),
        (
            {"fc.weight": torch.ones(1, 768), "fc.bias": torch.ones(1), "gate": torch.ones(1)},
            "known",
        ),
    ],
)
def test_missing_wrong_and_left_over_tensors_are_named(tmp_path, state, told):
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises((InputError, WeightsError), match=told):
        open_checkpoint(tmp_path / "a.pth", None)


def test_an_unknown_format_is_refused_before_the_file_is_read(tmp_path):
    with pytest.raises(InputError, match="no checkpoint 'nope'"):
        open_checkpoint(tmp_path / "missing.pth", "nope")


def test_a_figure_of_one_of_several_files_names_its_training():
    kinds = {"adapter": "100k", "coop": "16 contexts", "finetuned": "one epoch", "linear": "200k"}
    for kind, run in kinds.items():
        assert run in find_format(f"clipping_{kind}").about.figure


@pytest.mark.parametrize("name", list_checkpoints())
def test_every_format_says_where_its_weights_come_from(name):
    about = find_format(name).about
    assert about.url.startswith("https://") and all((about.title, about.licence, about.needs))
