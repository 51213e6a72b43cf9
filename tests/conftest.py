"""Pictures and tiny models that several tests share."""

import gc
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Before any library reads these: no test may reach for a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["COLUMNS"] = "200"  # of any terminal: a line that a test looks for is not broken
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker a core

import numpy as np
import pytest
from hypothesis import settings
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

import clare.heads
from clare.heads.metrics import plots
from clare.heads.report import svg
from clare.models.tiny import write_tiny_clip, write_tiny_diffusion
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


# Real clusters, minutes of them: `make test-cluster`.
collect_ignore = [] if os.environ.get("CLARE_TEST_CLUSTER") else ["cluster"]


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
def few_pictures(tmp_path_factory, pictures) -> Path:
    """The first 4 of each kind, for what no model learns from."""
    folder = tmp_path_factory.mktemp("few")
    for kind in ("real", "fake"):
        (folder / kind).mkdir()
        for file in sorted((pictures / kind).iterdir())[:4]:
            shutil.copy2(file, folder / kind)
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


class Blank:
    """Takes whatever is drawn on it, and gives itself for whatever is asked of it."""

    def __init__(self, *_, **__):
        pass

    def __getattr__(self, name):
        if name.startswith("__"):  # numpy asks whether it is an array
            raise AttributeError(name)
        return self

    def __call__(self, *_, **__):
        return self

    def __getitem__(self, _):
        return self

    def subplots(self, rows=1, columns=1, *, squeeze=True):
        return self if squeeze else np.full((rows, columns), self, object)


class BlankCanvas:
    """Writes one pixel, or an empty SVG, in the place of a picture."""

    def __init__(self, figure):
        pass

    def print_figure(self, filename, **_):
        Image.new("RGB", (1, 1)).save(filename, "PNG")

    def print_svg(self, file, **_):
        file.write(b'<svg xmlns="http://www.w3.org/2000/svg"/>')


DRAWING = {
    plots: {"Figure": Figure, "FigureCanvasAgg": FigureCanvasAgg},
    svg: {"Figure": Figure, "FigureCanvasSVG": FigureCanvasSVG},
}
"""What draws a run's pictures, and a page's."""


@pytest.fixture(scope="session", autouse=True)
def blank_pictures():
    """Runs, their tests and their pages hold blank pictures: to draw them takes longer than all
    else."""
    with pytest.MonkeyPatch.context() as patch:
        for module, names in DRAWING.items():
            for name in names:
                patch.setattr(module, name, Blank if name == "Figure" else BlankCanvas)
        yield


@contextmanager
def drawn_in_full() -> Iterator[None]:
    """What is drawn meanwhile is drawn in full."""
    with pytest.MonkeyPatch.context() as patch:
        for module, names in DRAWING.items():
            for name, own in names.items():
                patch.setattr(module, name, own)
        yield


@pytest.fixture
def drawn():
    """What a test draws is drawn in full."""
    with drawn_in_full():
        yield


@pytest.fixture(scope="session", autouse=True)
def lazy_disk():
    """Nothing waits for the disk: no test cuts the power, and a killed process loses no write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
