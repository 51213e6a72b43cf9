"""Heads of every kind as files of every format, run where there is no `clare`."""

import pytest
import torch

from clare.exports.formats import find_format
from clare.exports.module import HeadAlone
from clare.heads.base import Classifier
from clare.heads.config import DetectorConfig
from clare.heads.detector import create_model
from clare.heads.text.tower import TextTower
from clare.models.tiny import write_tiny_clip
from tests.clare.exports.conftest import Outside

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

SPECS = {"clip_cls": (32,), "clip_tokens": (16, 20), "lare": (2, 3, 4, 8, 8)}
ATTENTION = {"heads": 2, "head_dim": 8}
HEADS = {
    "cls-linear": DetectorConfig("cls", "linear"),
    "cls-knn": DetectorConfig("cls", "knn"),
    "cls-coop": DetectorConfig("cls", "coop", classifier_settings={"n_ctx": 2}),
    "cls-cocoop": DetectorConfig("cls", "cocoop", classifier_settings={"n_ctx": 2}),
    "cls-text_similarity": DetectorConfig("cls", "text_similarity"),
    "lare-linear": DetectorConfig("lare", "linear", fusion_settings={"width": 8}, draws=2),
    "concat-linear": DetectorConfig("concat", "linear", timestep=1),
    "esa-linear": DetectorConfig("esa", "linear", fusion_settings=ATTENTION),
    "cross_attn-cocoop": DetectorConfig(
        "cross_attn", "cocoop", fusion_settings=ATTENTION, classifier_settings={"n_ctx": 2}
    ),
    "decoder-linear": DetectorConfig(decoder="linear"),
    "decoder-conv_4": DetectorConfig(decoder="conv_4"),
    "decoder-attention": DetectorConfig(
        decoder="attention", fields={"tokens": "clip_tokens", "lare": "lare"}, score="top"
    ),
}
SLOW = [
    *((name, "onnx") for name in HEADS if name not in ("cls-linear", "cls-coop", "lare-linear")),
    # Counters of BatchNorm are whole numbers, which safetensors puts before all others.
    *((name, "folder") for name in ("cross_attn-cocoop", "decoder-conv_4")),
]
"""They take seconds each; a whole detector goes through every format in any case."""

COUNTS = (1, 3)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> TextTower:
    """The text tower of a tiny CLIP, as the clip extractor writes it."""
    from clare.models.runtime import Runtime
    from clare.pipeline.extractors import create_extractor
    from clare.pipeline.images.settings import ImageSettings

    place = tmp_path_factory.mktemp("clip")
    write_tiny_clip(place)
    clip = create_extractor("clip", {"model": str(place)}, ImageSettings(), Runtime())
    for name, data in clip.assets().items():
        (place / name).write_bytes(data)
    return TextTower.load(place / "text_tower.safetensors")


@pytest.fixture(scope="module")
def models(text):
    """Every head, its statistics and banks those of random rows."""
    made = {}
    with torch.random.fork_rng(devices=[]):
        for name, config in HEADS.items():
            torch.manual_seed(len(name))
            head = create_model(config, SPECS, text).eval()
            rows = {field: 2 + 3 * torch.randn(8, *shape) for field, shape in SPECS.items()}
            head.fit_statistics([rows])
            if isinstance(classifier := getattr(head, "classifier", None), Classifier):
                with torch.no_grad():
                    classifier.fit(head.vectors(rows), torch.tensor([0, 1] * 4))  # type: ignore[operator]
            made[name] = HeadAlone(head)
    return made


def write(place, name, kind, model):
    file = place / f"{name}.{kind}"
    for inner, data in find_format(kind).write(model, '{"a": 1}').items():
        if inner:
            file.mkdir(exist_ok=True)
        (file / inner if inner else file).write_bytes(data)
    return file.name


@pytest.fixture(scope="module")
def ran(models, outside):
    """All heads as TorchScript, run elsewhere."""
    for name, model in models.items():
        add(outside, name, "torchscript", model)
    outside.run()
    return outside


def add(outside, name, kind, model):
    file = write(outside.place, name, kind, model)
    for count in COUNTS:
        outside.add(file, kind, model, model.examples(count, 7), f"{file}-{count}")


@pytest.mark.parametrize("name", HEADS)
def test_a_head_computes_the_same_where_there_is_no_clare(name, models, ran):
    check(models[name], f"{name}.torchscript", ran)


@pytest.fixture(scope="module")
def ran_slowly(models, tmp_path_factory):
    """All heads in the other formats, run elsewhere."""
    outside = Outside(tmp_path_factory.mktemp("slow"))
    for name, kind in SLOW:
        add(outside, name, kind, models[name])
    outside.run()
    return outside


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), SLOW)
def test_a_head_computes_the_same_in_the_other_formats(name, kind, models, ran_slowly):
    check(models[name], f"{name}.{kind}", ran_slowly)


def check(model, file, outside):
    for count in COUNTS:
        with torch.no_grad():
            ours = model(*model.examples(count, 7))
        theirs = outside.outputs(f"{file}-{count}")
        assert [one.shape[0] for one in theirs] == [count] * len(model.outputs)
        assert count == 1 or ours[0].std() > 0, "images differ"
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(other, mine, atol=1e-4, rtol=0)


def test_outputs_are_the_detectors_own(models):
    for name, model in models.items():
        inputs = model.examples(3, 1)
        batch = dict(zip(model.inputs, inputs, strict=True))
        with torch.no_grad():
            margin, p_fake, *maps = model(*inputs)
            expected = model.head.margins(batch)
            torch.testing.assert_close(margin, expected.float())
            torch.testing.assert_close(p_fake, expected.sigmoid().float())
            assert len(maps) == name.startswith("decoder")
            for one in maps:
                torch.testing.assert_close(one, model.head.maps(batch).sigmoid())


def test_prompts_that_no_image_shifts_are_two_constant_vectors(models, text):
    shared, shifted = (
        sum(one.numel() for one in models[f"cls-{kind}"].buffers()) for kind in ("coop", "cocoop")
    )
    assert shared == 2 * text.embed_dim and shifted > 10 * shared
