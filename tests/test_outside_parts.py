"""An extractor, a fusion and a classifier in files of one's own, through both stages."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clare
from clare.errors import InputError
from clare.heads.sweeps.axes import expand
from clare.pipeline.synthetic.toys import draw_faces

COLOURS = '''
from dataclasses import asdict, dataclass

import torch

from clare.pipeline.extractor import Extractor
from clare.store.spec import FeatureSpec


@dataclass(frozen=True)
class ColoursSettings:
    """Settings of `colours`.

    Args:
        size: side of the small picture.
    """

    size: int = 4


class ColoursExtractor(Extractor):
    """Field ``colours``: a small picture as a vector, float32."""

    Settings = ColoursSettings

    def __init__(self, settings, images, runtime):
        self.size, self.runtime = settings.size, runtime
        self.fields = (FeatureSpec("colours", (3 * self.size**2,), "float32"),)
        self.fingerprint = self.sign("", asdict(settings), images)

    def prepare(self, image):
        return {"pixels": image.pixels(self.size)}

    def forward(self, inputs):
        return {"colours": self.runtime.tensor(inputs["pixels"]).flatten(1).float() / 255}
'''
SCALED = '''
import torch

from clare.heads.base import Fusion


class Scaled(Fusion):
    """One learned factor for each value."""

    roles = ("cls",)

    def __init__(self, settings, shapes):
        super().__init__(settings, shapes)
        (self.width,) = self.shapes["cls"]
        self.scale = torch.nn.Parameter(torch.randn(self.width))

    def forward(self, inputs):
        return inputs["cls"] * self.scale
'''
TWO_LAYERS = '''
from torch import nn

from clare.heads.base import Classifier


class TwoLayers(Classifier):
    """A hidden layer."""

    normalizes = False

    def __init__(self, settings, width, text):
        super().__init__(settings, width, text)
        self.layers = nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, vectors):
        return self.layers(vectors)
'''


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with pictures, three parts, a store and a run of them."""
    folder = tmp_path_factory.mktemp("home")
    for kind in ("real", "fake"):
        draw_faces(folder / kind, 30, seed=3, kind=kind, size=48)
    for name, text in (("colours", COLOURS), ("scaled", SCALED), ("two_layers", TWO_LAYERS)):
        (folder / f"{name}.py").write_text(text, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        clare.extract(
            "features.zarr",
            real="real",
            fake={"gan": "fake"},
            features=["./colours.py"],
            settings={"colours": {"size": 6}},
        )
        clare.train_head(
            "features.zarr",
            "run",
            train=["gan"],
            reals=["real"],
            fusion="./scaled.py",
            classifier="two_layers.py",
            fields={"cls": "colours"},
            epochs=2,
            device="cpu",
        )
    return folder


def test_a_store_names_the_extractor_after_its_file(home):
    store = clare.open_store(home / "features.zarr")
    (key,) = store.extractor_keys()
    fingerprint, fields = store.extractor(key)
    assert fingerprint.extractor == "colours" and fingerprint.settings["size"] == 6
    assert fields["colours"].shape == (108,)


def test_extracting_again_does_nothing(home, monkeypatch):
    monkeypatch.chdir(home)
    report = clare.extract(
        "features.zarr",
        real="real",
        fake={"gan": "fake"},
        features=["colours.py"],
        settings={"colours": {"size": 6}},
    )
    assert report.rows == 0


def test_a_run_of_ones_own_parts_works_from_any_folder(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tested = clare.evaluate(home / "run", subsets=["gan"], reals=["real"], resamples=0)
    assert set(tested.record.subsets) == {"gan"}
    files = sorted((home / "fake").iterdir())[:3]
    verdicts = clare.predict(home / "run", files, device="cpu")
    assert [verdict.path for verdict in verdicts] == files
    assert all(0 < (verdict.p_fake or 0) < 1 for verdict in verdicts)


def test_pictures_in_memory_are_judged_like_files(home):
    detector = clare.load_detector(home / "run", device="cpu")
    file = sorted((home / "fake").iterdir())[0]
    picture = Image.open(file).convert("RGB")
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # to be turned by a quarter, clockwise
    verdicts = detector.predict([file, np.asarray(picture), picture, turned])
    assert len({verdict.margin for verdict in verdicts}) == 1
    assert detector.predict(picture.convert("CMYK"))[0].label in ("real", "fake")
    assert verdicts[1].path != verdicts[2].path
    wrong: Any
    for wrong in (np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8)):
        with pytest.raises(InputError):
            detector.predict(wrong)


@pytest.mark.slow  # each command imports torch anew
def test_a_run_of_somebody_elses_runs_no_code_of_its_own(home, tmp_path):
    photo = next(file for file in (home / "fake").iterdir())
    judge = ["predict", str(home / "run"), str(photo), "--device", "cpu"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "clare", *words], env=environment, capture_output=True, text=True
        )

    refused = run(*judge)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "clare trust" in refused.stderr and str(home) in refused.stderr
    for file in home.glob("*.py"):
        assert run("trust", str(file)).returncode == 0
    assert run(*judge).returncode == 0


def test_a_run_whose_part_is_gone_says_which_file(home, tmp_path):
    moved = tmp_path / "moved.py"
    (home / "scaled.py").rename(moved)
    try:
        with pytest.raises(InputError, match=r"scaled\.py"):
            clare.load_detector(home / "run", device="cpu")
    finally:
        moved.rename(home / "scaled.py")


def test_code_that_changed_since_a_training_is_told(home, caplog):
    file = home / "scaled.py"
    clare.load_detector(home / "run", device="cpu")
    assert not any("has changed" in message for message in caplog.messages)
    file.write_text(SCALED.replace("* self.scale", "* self.scale * 2"), "utf-8")
    try:
        clare.trust(file)
        clare.load_detector(home / "run", device="cpu")
    finally:
        file.write_text(SCALED, "utf-8")
    (told,) = (message for message in caplog.messages if "has changed" in message)
    assert str(file) in told and str(home / "run") in told


def test_a_sweep_has_a_short_name_for_a_file(home):
    base = {"train": ["gan"], "reals": ["real"], "fields": {"cls": "colours"}}
    file = str(home / "two_layers.py")
    configs = expand(base, {"fusion": ["cls"], "classifier": ["linear", file]})
    assert list(configs) == ["cls_linear", "cls_two_layers"]
    with pytest.raises(InputError, match="cls_linear"):
        expand(base, {"fusion": ["cls"], "classifier": ["linear", "elsewhere/linear.py"]})


@pytest.mark.parametrize(
    ("forward", "told"),
    [
        ("{}", r"colours.*float32 \(8, 48\).*nothing"),
        (
            "{'colors': self.runtime.tensor(inputs['pixels']).flatten(1).float()}",
            "colours.*nothing",
        ),
        ("{'colours': self.runtime.tensor(inputs['pixels']).flatten(1)}", "float32.*uint8"),
        (
            "{'colours': self.runtime.tensor(inputs['pixels']).flatten(1)[:, :1].float()}",
            r"\(8, 1\)",
        ),
    ],
    ids=["none", "name", "type", "shape"],
)
def test_an_extractor_whose_values_are_not_what_it_promised_is_refused(
    tmp_path, home, forward, told
):
    promised = COLOURS.partition("    def forward")[0]
    file = tmp_path / "colours.py"
    file.write_text(
        f"{promised}    def forward(self, inputs):\n        return {forward}\n", "utf-8"
    )
    with pytest.raises(InputError, match=told):
        clare.extract(
            tmp_path / "store",
            real=home / "real",
            features=[str(file)],
            device="cpu",
            micro_batch=8,
        )


def test_a_field_that_another_extractor_writes_is_refused_before_it_is_written(tmp_path, home):
    file = tmp_path / "hues.py"
    file.write_text(COLOURS, "utf-8")
    names = [str(home / "colours.py"), str(file)]
    with pytest.raises(InputError, match=r"hues.*'colours'.*colours"):
        clare.extract(tmp_path / "store", real=home / "real", features=names)
    assert clare.extract(tmp_path / "store", real=home / "real", features=names[:1]).rows == 30
    with pytest.raises(InputError, match=r"hues.*'colours'.*colours"):
        clare.extract(tmp_path / "store", real=home / "real", features=names[1:])


def test_two_extractors_of_one_name_are_refused(tmp_path, home):
    file = tmp_path / "colours.py"
    file.write_text(COLOURS.replace('"colours"', '"hues"'), "utf-8")
    names = [str(home / "colours.py"), str(file)]
    with pytest.raises(InputError, match="of one name"):
        clare.extract(tmp_path / "store", real=home / "real", features=names)


def test_what_a_parts_settings_refuse_is_told_in_their_words(tmp_path, home):
    checked = COLOURS.replace(
        "    size: int = 4\n",
        "    size: int = 4\n\n    def __post_init__(self):\n        if self.size < 1:\n"
        "            raise ValueError('size is at least 1')\n",
    )
    file = tmp_path / "colours.py"
    file.write_text(checked, "utf-8")
    with pytest.raises(InputError, match=r"colours.*size is at least 1"):
        clare.extract(
            tmp_path / "store",
            real=home / "real",
            features=[str(file)],
            settings={"colours": {"size": 0}},
        )


def test_wrong_names_are_told_the_near_one(home):
    with pytest.raises(InputError, match="did you mean"):
        clare.train_head(home / "features.zarr", home / "other", fusion="cross_atn")
    with pytest.raises(InputError, match="did you mean"):
        clare.train_head(home / "features.zarr", home / "other", classifier="cocop")
    with pytest.raises(InputError, match="did you mean"):
        clare.extract(home / "other.zarr", real=home / "real", features=["clipp"])


def test_settings_that_no_one_has_are_refused(home):
    with pytest.raises(InputError, match="epoks"):
        clare.train_head(home / "features.zarr", home / "other", epoks=3)
    with pytest.raises(InputError, match="viewz"):
        clare.extract(home / "other.zarr", real=home / "real", viewz=3)
    assert not Path(home / "other").exists()
