"""Towers that a run tuned, read by their extractor: what they give is what the run sees inside."""

import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import clare
from clare.errors import InputError
from clare.exports.export import export
from clare.heads.data.dataset import FeatureDataset
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.runs.run import open_run
from clare.models.tiny import write_tiny_clip
from clare.models.tuned import DETECTOR_METADATA
from clare.models.weights import read_header
from clare.pipeline.synthetic.toys import draw_faces
from clare.store.feature_store import open_store

LEARNING: dict[str, Any] = {
    "classifier": "linear",
    "epochs": 2,
    "batch": 16,
    "lr": 1e-2,
    "warmup_epochs": 0,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Drawn images, a store of their features and pixels, and a run that tuned its tower."""
    place = tmp_path_factory.mktemp("tuned")
    draw_faces(place / "real", 30, 0, "real", 48, "png")
    draw_faces(place / "fake", 30, 1, "fake", 48, "png")
    extract(place, features=("clip", "pixels"))
    clare.train_head(place / "f.zarr", place / "ln", fusion="cls", tune="ln", **LEARNING)
    clare.train_head(place / "f.zarr", place / "plain", fusion="cls", **LEARNING)
    extract(place, features=("clip",), tuned=place / "ln")
    return place


def extract(place, **how):
    given = {"real": place / "real", "fake": {"gan": place / "fake"}, "backbone": "tiny"}
    return clare.extract(place / "f.zarr", **given, **how)


def tuned_key(store):
    (key,) = (k for k in store.extractor_keys() if "tuning" in store.extractor(k)[0].settings)
    return key


def test_pixels_are_of_the_size_of_the_tower_beside_them(world):
    store = open_store(world / "f.zarr")
    (key,) = (key for key in store.extractor_keys() if key.startswith("pixels-"))
    assert store.extractor(key)[0].settings["size"] == 64


def test_features_of_a_tuned_tower_are_those_that_the_run_sees(world):
    store = open_store(world / "f.zarr")
    run: Any = open_run(world / "ln")
    key = tuned_key(store)
    fingerprint = store.extractor(key)[0]
    (base,) = (k for k in store.extractor_keys() if k.startswith("clip-") and k != key)
    assert fingerprint.settings["tuning"] == "ln"
    assert fingerprint.weights != store.extractor(base)[0].weights
    digests = {"clip": key.rpartition("-")[2]}
    read = FeatureDataset(store, ["clip_cls", "pixels"], split="test", digests=digests)
    batch = read.read(range(len(read)))
    with torch.no_grad():
        inside = run.detector.fusion.raw({"pixels": batch["pixels"].float()})["cls"]
    torch.testing.assert_close(batch["clip_cls"], inside, atol=1e-5, rtol=1e-5)
    plain = FeatureDataset(store, ["clip_cls"], split="test", digests={"clip": base[5:]})
    untuned = plain.read(range(len(plain)))["clip_cls"]
    assert (untuned - inside).abs().max() > 1e-3


def forged(world, place, *path, value):
    """A copy of the run whose saved detector says something else of its tower."""
    shutil.copytree(world / "ln", place)
    file = place / "best.safetensors"
    header = json.loads(read_header(file)[DETECTOR_METADATA])
    *places, last = path
    inner = header["tuned"]
    for one in places:
        inner = inner[one]
    inner[last] = value
    save_file(load_file(file), file, {DETECTOR_METADATA: json.dumps(header)})
    return place


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("tower", "weights"), None, "tower.weights can't be"),
        (("tower",), {"extractor": "clip"}, r"tower\.\w+ is missing"),
        (("tower", "settings"), [], "tower.settings can't be"),
        (("tower", "extractor"), "pixels", "says that it tuned a tower of pixels, which has none"),
        (("origin", "tuned"), 5, "origin.tuned can't be 5: it is text"),
        (("way",), "../evil", "no tuning"),
        (("settings",), {"width": 1}, "ln has no setting 'width'"),
        (("fields",), ["clip_tokens_99"], "moves nothing of this tower that clip_tokens_99 dep"),
        (("fields",), ["clip_tokens"], "moves other tensors of this tower than the run has"),
    ],
)
def test_what_a_run_says_of_its_tower_is_checked(world, tmp_path, path, value, said):
    run = forged(world, tmp_path / "run", *path, value=value)
    with pytest.raises(InputError, match=said):
        extract(world, features=("clip", "pixels"), tuned=run)


def test_a_run_that_says_it_was_tuned_in_itself_is_refused(world, tmp_path):
    place = str(tmp_path / "run")
    run = forged(world, tmp_path / "run", "origin", "tuned", value=place)
    with pytest.raises(InputError, match=r"says that its tower was tuned in .*run before"):
        extract(world, features=("clip",), tuned=run)


@pytest.mark.parametrize("head_only", [False, True])
def test_such_a_run_is_not_exported(world, tmp_path, head_only):
    with pytest.raises(InputError, match="tuned its image tower"):
        export(world / "ln", to="safetensors", out=tmp_path / "m", head_only=head_only)
    assert not (tmp_path / "m").exists()


def test_predict_sees_what_evaluate_saw(world):
    tested = evaluate(world / "ln", resamples=0)
    verdicts = clare.predict(world / "ln", [world / "fake", world / "real"])
    found = np.array([one.margin for one in verdicts])
    for margin in tested.predictions.margin:
        assert np.abs(found - margin).min() < 1e-5


def test_a_head_over_tuned_features_is_predicted_with_the_tuned_tower(world):
    store = open_store(world / "f.zarr")
    features = {"clip": tuned_key(store).rpartition("-")[2]}
    run = clare.train_head(store, world / "over", fusion="cls", features=features, **LEARNING)
    tested = evaluate(world / "over", resamples=0)
    verdicts = clare.predict(world / "over", [world / "fake", world / "real"])
    found = np.array([one.margin for one in verdicts])
    assert run.record.extractors["clip"].fingerprint.settings["tuning"] == "ln"
    for margin in tested.predictions.margin:
        assert np.abs(found - margin).min() < 1e-4


@pytest.fixture(scope="module")
def elsewhere(world):
    """Another store of the tuned tower: what the run was trained on is for tests there."""
    draw_faces(world / "real2", 20, 5, "real", 48, "png")
    draw_faces(world / "new", 20, 6, "fake", 48, "png")
    fakes = {"new": world / "new", "gan": world / "fake"}
    given: dict[str, Any] = {
        "real": world / "real2",
        "fake": fakes,
        "test_only": ["gan"],
        "backbone": "tiny",
    }
    clare.extract(world / "g.zarr", **given, features=("clip",), tuned=world / "ln")
    return world / "g.zarr"


def test_what_a_tuned_tower_was_trained_on_stays_with_its_features(world, elsewhere):
    store = open_store(elsewhere)
    kept = store.asset(tuned_key(store), "seen.json")
    assert kept.read_bytes() == (world / "ln" / "seen.json").read_bytes()
    head = clare.train_head(store, world / "head", train=["new"], fusion="cls", **LEARNING)
    before = open_run(world / "ln").seen
    assert before.trained["image"] < head.seen.trained["image"]
    with pytest.raises(InputError, match=r"of the 30 test rows of gan share .* training of .*head"):
        evaluate(world / "head", subsets=["gan"], resamples=0)


def test_probes_of_a_tuned_tower_are_not_tested_on_its_training(world, elsewhere, tmp_path):
    how: dict[str, Any] = {"train": ["new"], "reals": ["real"], "resamples": 0}
    with pytest.raises(InputError, match=r"gan share .*the tower of clip-\w+, which was tuned in"):
        clare.probe(elsewhere, tmp_path / "probes", test=["gan"], **how)
    clare.probe(elsewhere, tmp_path / "probes", test=["new"], **how)


def test_heads_over_a_tuned_tower_are_not_chosen_on_its_training(world, tmp_path):
    store = tmp_path / "h.zarr"
    (tmp_path / "real").mkdir()
    for file in (world / "real").iterdir():  # other splits than those of the run
        shutil.copy(file, tmp_path / "real" / f"{file.stem}-again.png")
    given = {"real": tmp_path / "real", "fake": {"gan": world / "fake"}, "backbone": "tiny"}
    clare.extract(store, **given, features=("clip",), tuned=world / "ln")
    with pytest.raises(InputError, match="validation rows were trained on by the tower of clip-"):
        clare.train_head(store, tmp_path / "run", fusion="cls", **LEARNING)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"tuned": "plain"}, "plain tuned no tower"),
        ({"tuned": "real"}, "real is no finished run"),
        ({"tuned": "ln", "features": ("pixels",)}, "tuned the tower of clip, which is not"),
        ({"features": ("ln",)}, "is a run, and no extractor"),
        (
            {"tuned": "ln", "settings": {"clip": {"quick_gelu": False}}},
            "was tuned with quick_gelu True, and clip has False",
        ),
        (
            {"tuned": "ln", "settings": {"clip": {"size": 32}}},
            "tuned with size 64, and clip has 32",
        ),
        ({"tuned": "ln", "settings": {"clip": {"model": "other"}}}, "are not those that .*ln was"),
    ],
)
def test_another_tower_is_refused(world, monkeypatch, how, said):
    monkeypatch.chdir(world)
    if "other" in str(how):
        write_tiny_clip(world / "other", seed=5)
    with pytest.raises(InputError, match=said):
        extract(world, **{"features": ("clip",), **how})
