"""The contract that every extractor passes by standing in its folder."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from clare.errors import InputError
from clare.models.runtime import DTYPES, Runtime
from clare.pipeline.extractor import Extractor, HostExtractor
from clare.pipeline.extractors import create_extractor, find_extractor, list_extractors
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.models.tiny import tiny_overrides
from clare.store.spec import FeatureSpec

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
    assert sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__") == NAMES
    assert {"clip", "lare", "mask", "pixels"} <= set(NAMES)


def test_unknown_extractor():
    with pytest.raises(InputError, match="clip, lare"):
        create_extractor("dino", {}, ImageSettings(), Runtime())


@pytest.mark.parametrize("name", NAMES)
def test_class_and_settings(name):
    cls = find_extractor(name)
    assert issubclass(cls, Extractor) and cls.name == name and cls.VERSION >= 1
    assert is_dataclass(cls.Settings)
    assert hash(cls.Settings()) == hash(cls.Settings())  # frozen, and comparable
    for setting in fields(cls.Settings):
        assert f"{setting.name}:" in (cls.Settings.__doc__ or "")


@pytest.mark.parametrize("name", NAMES)
def test_forward_gives_what_the_fields_say(extractors, prepare_images, run, name):
    extractor = extractors[name]
    values = run(extractor, prepare_images(3))
    assert list(values) == [spec.field for spec in extractor.fields]
    for spec in extractor.fields:
        assert isinstance(spec, FeatureSpec) and spec.channel_axis < 0
        assert values[spec.field].shape == (3, *spec.shape)
        assert values[spec.field].dtype == np.dtype(spec.dtype)
        if spec.dtype != "uint8":
            assert np.isfinite(values[spec.field]).all() and values[spec.field].std() > 0


@pytest.mark.parametrize("name", NAMES)
def test_prepare_gives_arrays_and_works_from_threads(extractors, prepare_images, name):
    extractor, images = extractors[name], prepare_images(8)
    alone = [extractor.prepare(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(extractor.prepare, prepare_images(8)))
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        for key, array in one.items():
            assert isinstance(array, np.ndarray) and np.array_equal(array, other[key])


@pytest.mark.parametrize("name", NAMES)
def test_equal_batches_give_equal_bits(extractors, prepare_images, run, name):
    images = prepare_images(6)
    first, second = (run(extractors[name], images) for _ in range(2))
    turned = run(extractors[name], images[::-1])
    for field, values in first.items():
        assert np.array_equal(values, second[field])
        assert np.array_equal(values, turned[field][::-1])


@pytest.mark.parametrize("name", NAMES)
def test_no_gradients_and_no_shared_memory_between_rows_and_inputs(
    extractors, prepare_images, name
):
    (image,) = prepare_images(1)
    row = extractors[name].prepare(image)
    out = extractors[name].forward({key: np.stack([v, v]) for key, v in row.items()})
    for tensor in out.values():
        assert not tensor.requires_grad and torch.equal(tensor[0], tensor[1])


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
    assert own.settings.get("backbone") == (None if without_model else "tiny")


@pytest.mark.parametrize("name", NAMES)
def test_recorded_settings_rebuild_the_extractor(extractors, make, name):
    cls, recorded = find_extractor(name), extractors[name].fingerprint.settings
    known = {setting.name for setting in fields(cls.Settings)}
    again = make(name, **{key: value for key, value in recorded.items() if key in known})
    assert again.fingerprint == extractors[name].fingerprint


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


def test_fingerprints_are_equal_in_another_process(extractors, tmp_path):
    """The tiny weights are written anew there, in another folder."""
    code = (
        "import json, sys, pathlib\n"
        "from clare.pipeline.extractor import Runtime\n"
        "from clare.pipeline.extractors import create_extractor, list_extractors\n"
        "from clare.pipeline.images.prepare import ImageSettings\n"
        "from clare.pipeline.models.tiny import tiny_overrides\n"
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
