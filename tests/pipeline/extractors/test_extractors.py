"""What all of our own extractors promise beside the contract in `tests/clare/testing`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clare.errors import InputError
from clare.models.runtime import DTYPES, Runtime
from clare.models.tiny import tiny_overrides
from clare.pipeline.extractor import HostExtractor
from clare.pipeline.extractors import create_extractor, find_extractor, list_extractors
from clare.pipeline.images.settings import ImageSettings

NAMES = list_extractors()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_overrides(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def make(tiny):
    def build(name, runtime=None, images=None, **settings):
        settings = {**tiny.get(name, {}), **settings}
        return create_extractor(name, settings, images or ImageSettings(), runtime or Runtime())

    return build


@pytest.fixture(scope="module")
def extractors(make):
    return {name: make(name) for name in NAMES}


def test_the_files_are_the_list():
    folder = Path(sys.modules[find_extractor("clip").__module__].__file__ or "").parent
    assert sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_")) == NAMES
    assert {"clip", "lare", "mask", "pixels"} <= set(NAMES)


def test_unknown_extractor():
    with pytest.raises(InputError, match="clip, face_parts, lare"):
        create_extractor("dino", {}, ImageSettings(), Runtime())


@pytest.mark.parametrize("name", NAMES)
def test_fingerprint_is_plain_json_and_repeats(extractors, make, name):
    fingerprint = extractors[name].fingerprint
    assert json.loads(json.dumps(fingerprint.to_json())) == fingerprint.to_json()
    assert fingerprint.extractor == name and fingerprint.version == extractors[name].VERSION
    assert make(name).fingerprint == fingerprint
    assert fingerprint.settings["images"] == ImageSettings().to_json()
    text = json.dumps(fingerprint.to_json())
    assert "/" not in text.replace("images/", ""), "a place on disk decides no value"


@pytest.mark.parametrize("name", NAMES)
def test_fingerprint_tells_apart_what_decides_a_value(extractors, make, name):
    own = extractors[name].fingerprint
    assert make(name, images=ImageSettings(resize=48)).fingerprint.digest != own.digest
    low = make(name, Runtime(dtype="bfloat16")).fingerprint
    without_model = isinstance(extractors[name], HostExtractor)
    assert (low == own) == without_model
    assert own.settings.get("backbone") == ("tiny" if name in ("clip", "lare", "tower") else None)


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_checked(make, name):
    with pytest.raises(InputError, match="no setting 'colour'"):
        make(name, colour="red")
    with pytest.raises(InputError, match="size"):
        make(name, size="large")
    with pytest.raises(InputError, match="size"):
        make(name, size=True)


@pytest.mark.parametrize("name", NAMES)
def test_text_stands_for_numbers(make, name):
    assert make(name, size="64").fingerprint == make(name, size=64).fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_assets_repeat_byte_for_byte(extractors, make, name):
    first = extractors[name].assets()
    assert first == make(name).assets()
    if name == "clip":
        assert set(first) == {"origin.json", "text_tower.safetensors"}


@pytest.mark.slow
def test_fingerprints_are_equal_in_another_process(extractors, tmp_path):
    """The tiny weights are written anew there, in another folder."""
    code = (
        "import json, sys, pathlib\n"
        "from clare.pipeline.extractor import Runtime\n"
        "from clare.pipeline.extractors import create_extractor, list_extractors\n"
        "from clare.pipeline.images.prepare import ImageSettings\n"
        "from clare.models.tiny import tiny_overrides\n"
        "tiny = tiny_overrides(pathlib.Path(sys.argv[1]))\n"
        "digests = {}\n"
        "for name in list_extractors():\n"
        "    made = create_extractor(name, tiny.get(name, {}), ImageSettings(), Runtime())\n"
        "    digests[name] = made.fingerprint.digest\n"
        "print(json.dumps(digests))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {n: e.fingerprint.digest for n, e in extractors.items()}
    assert done.stderr == ""  # the model libraries have nothing to say


def test_image_towers_need_no_diffusers(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "diffusers", None)  # any import of it fails
    tiny = tiny_overrides(tmp_path, ["clip", "tower"])
    assert set(tiny) == {"clip", "tower"}
    for name, settings in tiny.items():
        create_extractor(name, settings, ImageSettings(), Runtime())


def test_runtime_refuses_unknown_types():
    with pytest.raises(InputError, match=", ".join(DTYPES)):
        Runtime(dtype="int8")  # type: ignore[arg-type]


def test_masks_and_pixels_are_exact(make, prepare_images, run):
    images = prepare_images(2)
    pixels = run(make("pixels", size=40), images)["pixels"]
    assert np.array_equal(pixels[1], images[1].pixels(40)) and pixels.dtype == np.uint8
    with pytest.raises(InputError, match="at least 1"):
        make("pixels", size=0)
    with pytest.raises(InputError, match="at least 1"):
        make("mask", size=0)


def test_a_file_can_not_take_the_name_of_another_extractor(tmp_path):
    (tmp_path / "clip.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(InputError, match=r"clip\.py"):
        find_extractor(str(tmp_path / "clip.py"))
