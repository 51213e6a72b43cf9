"""The picture of what a detector looked at: the LaRE that it took, and no other."""

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from clare.heads.config import DetectorConfig
from clare.heads.detector import Detector
from clare.heads.evaluation.explain import lare_map, plot_explanation
from clare.heads.localizer import Localizer

STORED = (3, 4, 4, 8, 8)


def detector(**settings) -> Detector:
    return Detector(
        DetectorConfig(fusion="lare", classifier="linear", **settings), {"lare": STORED}
    ).eval()


def map_of(detector, features) -> np.ndarray:
    found = lare_map(detector, features)
    assert found is not None
    return found


@pytest.fixture
def features():
    return {"lare": np.random.default_rng(0).normal(size=STORED).astype(np.float16)}


def test_the_map_is_of_the_runs_timestep_and_draws(features):
    found = map_of(detector(timestep=1, draws=2), features)
    expected = features["lare"][1, :2].astype(np.float32).mean((0, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    everything = map_of(detector(timestep=2), features)
    expected = features["lare"][2].astype(np.float32).mean((0, 1))
    np.testing.assert_allclose(everything, expected, rtol=1e-5, atol=1e-7)


def test_a_field_of_another_name_and_none(features):
    specs = {"lare_400": STORED, "clip_cls": (5,)}
    config = DetectorConfig(fusion="lare", classifier="linear", fields={"lare": "lare_400"})
    named = {"lare_400": features["lare"]}
    assert lare_map(Detector(config, specs), named) is not None
    config = DetectorConfig(fusion="cls", classifier="linear")
    assert lare_map(Detector(config, specs), {**named, **features}) is None


def test_the_panel_names_the_timestep(features, tmp_path, monkeypatch):
    titles: list[str] = []
    monkeypatch.setattr(Axes, "set_title", lambda axes, title: titles.append(title))
    picture = np.zeros((16, 16, 3), np.uint8)
    path = tmp_path / "why.png"
    plot_explanation(detector(timestep=1), features, picture, "", path, (100, 200, 400))
    assert titles == ["image", "LaRE, timestep 200"]
    with Image.open(path) as written:
        assert written.width > written.height


def test_the_parts_of_a_face_that_are_read_are_outlined(tmp_path, monkeypatch):
    panels: list[str] = []
    drawn: list[np.ndarray] = []
    monkeypatch.setattr(Axes, "set_title", lambda axes, title: panels.append(title))
    monkeypatch.setattr(Axes, "imshow", lambda axes, values, **how: drawn.append(values))
    specs = {"clip_cls": (5,), "clip_tokens": (16, 5), "face_parts": (5, 4)}
    config = DetectorConfig(fusion="roi", classifier="linear", standardize=False)
    boxes = np.zeros((5, 4), np.float32)
    boxes[0], boxes[4] = (0.25, 0.5, 0.5, 0.75), (0, 0, 1, 1)
    boxes[1] = (0.3, 0.5, 0.301, 0.501)  # less than a pixel
    values = {name: np.zeros(shape, np.float32) for name, shape in specs.items()}
    picture = np.zeros((64, 64, 3), np.uint8)
    plot_explanation(
        Detector(config, specs).eval(),
        {**values, "face_parts": boxes},
        picture,
        "",
        tmp_path / "why.png",
    )
    assert panels == ["image", "3 parts of the face"]
    there = np.argwhere(drawn[-1][1:-1, 1:-1].any(-1)) + 1
    assert there.min(0).tolist() == [32, 16] and there.max(0).tolist() == [47, 31]
    assert not drawn[-1][40, 24].any() and drawn[-1][0].all(0).tolist() == [True, True, False]


def test_of_a_localiser_the_map_is_drawn(features, tmp_path, monkeypatch):
    panels: list[str] = []
    drawn: list[np.ndarray] = []
    imshow = Axes.imshow

    def watched(axes, values, **how):
        drawn.append(values)
        return imshow(axes, values, **how)

    monkeypatch.setattr(Axes, "imshow", watched)
    monkeypatch.setattr(Axes, "set_title", lambda axes, title: panels.append(title))
    config = DetectorConfig(decoder="linear", fields={"lare": "lare"})
    localizer = Localizer(config, {"lare": STORED}).eval()
    picture = np.zeros((64, 64, 3), np.uint8)
    title = r"a$\odd$ name.png"  # which is no formula
    plot_explanation(localizer, features, picture, title, tmp_path / "why.png", (100, 200, 400))
    assert panels == ["image", "LaRE, timestep 100", "p(fake) of each pixel", "outlined above 0.5"]
    with torch.inference_mode():
        logits = localizer.maps({"lare": torch.from_numpy(features["lare"])[None]})[0]
    np.testing.assert_allclose(drawn[5].mean(), logits.sigmoid().mean(), atol=1e-3)
    assert drawn[5].shape == (64, 64) and drawn[7].shape == (64, 64, 3)
