"""Pictures and tiny models that several tests share."""

import gc
import os
from pathlib import Path
from unittest.mock import MagicMock

# Before any library reads these: no test may reach for a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["COLUMNS"] = "200"  # of any terminal: a line that a test looks for is not broken
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker a core

import numpy as np
import pytest
from hypothesis import settings
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import clare.heads
from clare.heads.metrics import plots
from clare.pipeline.models.tiny import write_tiny_clip, write_tiny_diffusion
from clare.pipeline.synthetic.toys import draw_faces

ROOT = Path(__file__).parent.parent
if not Path(clare.heads.__file__).resolve().is_relative_to(ROOT):
    # Of a second checkout beside the installed one, `clare` alone comes from here.
    raise pytest.UsageError(
        f"these tests would run the code at {Path(clare.heads.__file__).parent.parent}: "
        "set PYTHONPATH=typings and PYTHONSAFEPATH=1"
    )

# The same examples every time: a change is judged by what it changed.
settings.register_profile("clare", derandomize=True, deadline=None)  # of a busy machine
settings.load_profile("clare")


def pytest_collection_finish():
    """Leave the libraries, which are most of all objects, out of each search for garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder with real/ and fake/, 40 toy pictures each."""
    folder = tmp_path_factory.mktemp("pictures")
    for kind in ("real", "fake"):
        draw_faces(folder / kind, 40, seed=1, kind=kind, size=96)
    return folder


@pytest.fixture(scope="session")
def diffusion_folders(tmp_path_factory):
    """Prediction type to the folder of a tiny diffusion model."""
    root = tmp_path_factory.mktemp("diffusion")
    for kind in ("epsilon", "v_prediction"):
        write_tiny_diffusion(root / kind, kind)
    return {kind: root / kind for kind in ("epsilon", "v_prediction")}


@pytest.fixture(scope="session")
def clip_folders(tmp_path_factory):
    """Kind of tower to the folder of a tiny CLIP."""
    root = tmp_path_factory.mktemp("clip")
    for kind in ("vit", "rn50", "timm"):
        write_tiny_clip(root / kind, kind)
    return {kind: root / kind for kind in ("vit", "rn50", "timm")}


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory):
    """Which files a user named is kept apart from the developer's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


class BlankFigure(MagicMock):
    """Takes whatever is drawn on it."""

    def subplots(self, rows, columns, **_):
        panels = np.empty((rows, columns), object)
        for place in np.ndindex(rows, columns):
            panels[place] = MagicMock()
        return panels


class BlankCanvas:
    """Writes one pixel in the place of a picture."""

    def __init__(self, figure):
        pass

    def print_figure(self, filename, **_):
        Image.new("RGB", (1, 1)).save(filename, "PNG")


@pytest.fixture(scope="session", autouse=True)
def blank_pictures():
    """Runs and their tests write blank PNGs: to draw them takes longer than to train and score."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "Figure", BlankFigure)
        patch.setattr(plots, "FigureCanvasAgg", BlankCanvas)
        yield


@pytest.fixture
def drawn(monkeypatch):
    """What a test draws is drawn in full."""
    monkeypatch.setattr(plots, "Figure", Figure)
    monkeypatch.setattr(plots, "FigureCanvasAgg", FigureCanvasAgg)


@pytest.fixture(scope="session", autouse=True)
def lazy_disk():
    """Nothing waits for the disk: no test cuts the power, and a killed process loses no write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
