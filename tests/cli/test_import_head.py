"""Published weights by commands alone, of a format in a file of one's own."""

import json

import pytest
import torch
from safetensors.torch import save_file

from clare.cli.wording import worded
from clare.errors import InputError
from clare.heads.checkpoints import list_checkpoints
from clare.heads.config import read_preset
from clare.heads.runs.record import read_record
from clare.inference.predictor import load_detector
from clare.models.tiny import write_tiny_clip
from tests.cli.pages import rows_of
from tests.heads.checkpoints.test_tuned import clip, layer
from tests.heads.checkpoints.test_tuned import published as gend

FORMAT = '''
"""One layer over the class token of a small CLIP."""

from clare.heads.config import DetectorConfig
from clare.heads.published import About, CheckpointFormat, Need, PublishedHead, require_tensors


class Mine(CheckpointFormat):
    about = About(
        title="Mine (2026)",
        url="https://example.org/mine",
        weights="on request",
        licence="CC0",
        trained_on="my own faces",
        figure="",
        needs="clip_cls of a small CLIP",
    )

    def recognises(self, checkpoint):
        return set(checkpoint.tensors) == {"w", "b"}

    def read(self, checkpoint):
        width = checkpoint.tensors["w"].shape[1]
        found = require_tensors(checkpoint, {"w": (2, width), "b": (2,)})
        return PublishedHead(
            config=DetectorConfig(fusion="cls", classifier="linear", standardize=False),
            specs={"clip_cls": (width,)},
            tensors={"classifier.layer.weight": found["w"], "classifier.layer.bias": found["b"]},
            needs={"clip_cls": Need("clip", {"mean_std": "clip"}, {})},
            remarks=("the preparation is a guess",),
        )
'''


@pytest.fixture
def published(tmp_path, features):
    """A format, a checkpoint of it for the store's class token, and its tensors."""
    from clare.store.feature_store import open_store

    store = open_store(features)
    specs = [store.extractor(key)[1] for key in store.extractor_keys()]
    (width,) = next(one["clip_cls"].shape for one in specs if "clip_cls" in one)
    torch.manual_seed(0)
    state = {"w": torch.randn(2, width), "b": torch.randn(2)}
    (tmp_path / "mine.py").write_text(FORMAT)
    torch.save(state, tmp_path / "theirs.pth")
    return state


def test_it_is_tested_compared_shown_and_judges_as_any_run(head, published, pictures, tmp_path):
    said = head("import-head", "theirs.pth", "--as", "./mine.py", "--out", "theirs")
    assert (
        "Mine (2026)" in said and "licence CC0" in said and "p(fake) 0.50 on, as published" in said
    )
    assert "no leak" in said and "clare evaluate theirs" in said

    tested = head("evaluate", "theirs", "--baselines", "--resamples", "50")
    assert "trained on my own faces" in tested and "no leak" in tested
    record = json.loads((tmp_path / "theirs" / "test_metrics.json").read_text())
    assert record["threshold"] == 0.0 and any("no leak" in note for note in record["notes"])

    head("predict", "theirs", str(pictures / "real"), "--out", "found.csv")
    assert {row["seen"] for row in rows_of(tmp_path / "found.csv")} == {""}
    said = head("predict", "theirs", str(pictures / "real" / "0004.jpg"), "--json").splitlines()
    (row,) = (json.loads(line) for line in said if line.startswith("{"))
    assert row["seen"] is None
    told = head("predict", "theirs", str(pictures / "real" / "0004.jpg"))
    assert "as published" in told and "chosen on validation" not in told
    found = {row["path"].rpartition("/")[2]: row for row in rows_of(tmp_path / "found.csv")}
    rows = rows_of(tmp_path / "theirs" / "test_predictions.csv")
    mine = {
        row["path"].rpartition("/")[2]: float(row["margin"]) for row in rows if row["label"] == "0"
    }
    assert mine
    assert {name: float(found[name]["margin"]) for name in mine} == pytest.approx(mine, abs=1e-4)
    tensors = load_detector(tmp_path / "theirs").run.detector.state_dict()
    assert torch.equal(tensors["classifier.layer.weight"], published["w"])

    head("train-head", "--train", "toy", "--fusion", "cls", "--classifier", "linear", "--epochs",
         "1", "--out", "ours", "--evaluate", "toy")  # fmt: skip
    compared = head("compare", "ours", "theirs", "--resamples", "50")
    assert compared.count("no leak") == 1 and "theirs: published weights of Mine" in compared
    file = "theirs/test_predictions.csv"
    for second in ("theirs", file):
        found = json.loads(head("compare", "ours", second, "--resamples", "0", "--json"))
        ours, theirs = found["caveats"]
        assert not ours and "licence CC0" in theirs[0] and "preparation is a guess" in theirs[1]
    head("report", "theirs", "ours", "--out", "page.html")
    head("report", "theirs", "--out", "alone.html")
    page = (tmp_path / "alone.html").read_text()
    assert "my own faces" in page and "no leak" in page and "Mine (2026)" in page
    assert "Results on test rows" in page and "AUC, test rows" in page
    both = (tmp_path / "page.html").read_text()
    assert "from real ones?" in page and "from real ones" in both
    assert not any(claim in text for claim in ("unseen", "never seen") for text in (page, both))


def test_what_begins_from_it_carries_what_nobody_can_check(head, published, tmp_path):
    head("import-head", "theirs.pth", "--as", "./mine.py", "--out", "theirs")
    for parent, heir in (("theirs", "tuned"), ("tuned", "again")):
        head("train-head", "--train", "toy", "--fusion", "cls", "--classifier", "linear",
             "--epochs", "1", "--init-from", parent, "--out", heir)  # fmt: skip
        said = head("evaluate", heir, "--resamples", "0")
        assert "began from published weights of Mine (2026), licence CC0" in said
        assert "trained on my own faces" in said and "preparation is a guess" in said
        head("report", heir, "--out", f"{heir}.html")
        assert "https://example.org/mine" in (tmp_path / f"{heir}.html").read_text()


def test_heirs_keep_its_detector_and_find_the_tower_that_it_brought(head, pictures, tmp_path):
    save_file(gend(clip()[0], layer()), tmp_path / "model.safetensors")
    head("import-head", "model.safetensors", "--out", "theirs", "--store", "own.zarr")
    head("extract", "--real", str(pictures / "real"), "--fake", f"toy={pictures / 'fake'}",
         "--features", "tower", "--tower-model", "theirs/tower", "--crop", "centre",
         "--dtype", "float32", "--store", "own.zarr")  # fmt: skip
    for parent, heir in (("theirs", "tuned"), ("tuned", "again")):
        head("train-head", "--train", "toy", "--epochs", "1", "--init-from", parent,
             "--out", heir, "--store", "own.zarr")  # fmt: skip
    theirs, again = (read_record(tmp_path / name).config for name in ("theirs", "again"))
    usual = read_preset("clare")
    assert again.detector == theirs.detector and again.detector != usual.detector
    assert (again.lr, again.batch) == (usual.lr, usual.batch)
    photo = str(pictures / "real" / "0004.jpg")
    assert "p(fake)" in head("predict", "again", photo)
    head("export", "again", "--out", "again.pt2")
    (tmp_path / "theirs" / "tower").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"which is not at .*theirs/tower") as refused:
        head("predict", "again", photo)
    assert "--set tower.model" in worded(refused.value), worded(refused.value)
    assert "p(fake)" in head("predict", "again", photo, "--set", "tower.model=moved")


def test_models_bind_it_where_no_store_has_their_features(head, published, tmp_path, clip_folders):
    head("import-head", "theirs.pth", "--as", "./mine.py", "--out", "bound",
         "--clip-model", str(clip_folders["vit"]))  # fmt: skip
    record = read_record(tmp_path / "bound")
    (made,) = record.extractors.values()
    assert made.fingerprint.extractor == "clip" and record.imported is not None


def test_what_it_cannot_be_bound_to_is_one_sentence(head, published, tmp_path):
    with pytest.raises(InputError, match="there is no store at nowhere"):
        head("import-head", "theirs.pth", "--as", "./mine.py", "--out", "a", "--store", "nowhere")
    with pytest.raises(InputError, match="no checkpoint that is known"):
        head("import-head", "theirs.pth", "--out", "a")
    torch.save({"weight": torch.ones(1, 768), "bias": torch.ones(1)}, tmp_path / "fc.pth")
    with pytest.raises(InputError, match="look like univfd"):
        head("import-head", "fc.pth", "--as", "./mine.py", "--out", "a")
    assert not (tmp_path / "a").exists()


def test_models_lists_every_format(head):
    formats = list_checkpoints()
    told = json.loads(head("models", *formats, "--json"))
    assert [*told] == formats and told["univfd"]["licence"] == "MIT"
    assert "UnivFD" in head("models", "univfd")


TWO_TOWERS = '''
"""A logit a patch of two small CLIPs together."""

from clare.heads.config import DetectorConfig
from clare.heads.published import About, CheckpointFormat, Need, PublishedHead, require_tensors

SPECS = {"clip_tokens_1": (64, 64), "clip_tokens_layer3": (16, 128)}


class Both(CheckpointFormat):
    about = About("Both", "https://example.org/both", "none", "CC0", "faces", "", "two towers")

    def recognises(self, checkpoint):
        return "w" in checkpoint.tensors

    def read(self, checkpoint):
        found = require_tensors(checkpoint, {"w": (1, 192), "b": (1,)})
        fields = dict(zip(("tokens", "tokens_2"), SPECS))
        models = dict(zip(SPECS, (("ViT-B-32",), ("RN50",))))
        return PublishedHead(
            config=DetectorConfig(decoder="linear", fields=fields, standardize=False),
            specs=SPECS,
            tensors={"decoder.fc.0.weight": found["w"], "decoder.fc.0.bias": found["b"]},
            needs={field: Need("clip", {}, {}, models[field], "openai") for field in SPECS},
        )
'''


def test_a_localiser_of_two_towers_is_bound_to_both(head, pictures, tmp_path):
    (tmp_path / "both.py").write_text(TWO_TOWERS)
    write_tiny_clip(tmp_path / "vit", "vit", seed=3)
    write_tiny_clip(tmp_path / "resnet", "rn50", seed=3)
    torch.manual_seed(0)
    torch.save({"w": torch.randn(1, 192), "b": torch.randn(1)}, tmp_path / "both.pth")
    given = ("import-head", "both.pth", "--as", "./both.py")
    towers = ("--clip-model", "./vit", "--set", "clip_2.model=./resnet")
    with pytest.raises(InputError, match="the head reads clip_tokens_1") as refused:
        head(*given, "--out", "a")
    assert "--clip-model ViT-B-32 --layers 1" in worded(refused.value)
    head(*given, "--out", "bound", *towers)
    record = read_record(tmp_path / "bound")
    assert record.sources == {"clip_tokens_1": "clip", "clip_tokens_layer3": "clip_2"}
    photo = str(pictures / "real" / "0004.jpg")
    assert "fake area" in head("predict", "bound", photo, "--masks", "maps", *towers)
    assert (tmp_path / "maps" / "masks.json").is_file()
    with pytest.raises(InputError, match="reads nothing of clip_3"):
        head(*given, "--out", "b", "--set", "clip_3.model=x")
