"""Pictures and jobs that several tests share."""

import os
from pathlib import Path

# Before any library reads it: no test may reach for a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

from clare.pipeline.synthetic.toys import draw_faces

# The same examples every time: a change is judged by what it changed.
settings.register_profile("clare", derandomize=True)
settings.load_profile("clare")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder with real/ and fake/, 40 toy pictures each."""
    folder = tmp_path_factory.mktemp("pictures")
    for kind in ("real", "fake"):
        draw_faces(folder / kind, 40, seed=1, kind=kind, size=96)
    return folder
