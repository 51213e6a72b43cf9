"""Every kind of tower under a head: the module over pixels is the extraction and the head."""

import numpy as np
import pytest
import torch

from clare.exports.export import largest_difference
from clare.exports.formats import find_format
from clare.exports.module import HALF_TOLERANCE, TOLERANCE, PixelDetector, TowerInput
from clare.heads.config import DetectorConfig
from clare.heads.detector import create_model
from clare.models.runtime import Runtime
from clare.models.tiny import write_tiny_clip, write_tiny_tower
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.settings import ImageSettings
from clare.testing.extractor import prepare_images

CLIPS = ("vit", "rn50", "timm")
TOWERS = ("pe", "dinov3", "dinov2", "siglip")


@pytest.fixture(scope="module")
def extractors(tmp_path_factory):
    """Make the extractor of a kind of tower."""
    place = tmp_path_factory.mktemp("towers")

    def make(kind, **settings):
        (write_tiny_clip if kind in CLIPS else write_tiny_tower)(place / kind, kind)
        name = "clip" if kind in CLIPS else "tower"
        settings["model"] = str(place / kind)
        return create_extractor(name, settings, ImageSettings(), Runtime())

    return make


def with_head(extractors, **fields):
    """A linear decoder, or a classifier, over fields of extractors."""
    specs = {spec.field: spec.shape for one in extractors for spec in one.fields}
    parts: dict = {"decoder": "linear"}
    if "cls" in fields:
        parts = {"fusion": "cls", "classifier": "linear"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_model(DetectorConfig(**parts, fields=fields), specs).eval()


def over(extractors, head):
    towers = []
    for number, one in enumerate(extractors):
        read = [spec for spec in one.fields if spec.field in head.fields]
        stored = {spec.field: (spec.field, spec.dtype) for spec in read}
        towers.append(TowerInput(f"pixels_{number}", one.pixel_model(), stored))
    return PixelDetector(head, towers)


def inputs_of(extractors, images):
    """Normalised pixels, an input an extractor; what extraction makes of the same images."""
    pixels: list[torch.Tensor] = []
    batch: dict[str, torch.Tensor] = {}
    for one in extractors:
        model = one.pixel_model()
        squares = torch.from_numpy(np.stack([image.pixels(model.size) for image in images]))
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.mean, model.std))
        pixels.append((squares.permute(0, 3, 1, 2).float() / 255 - mean) / std)
        rows = [one.prepare(image) for image in images]
        batch |= one.forward({name: np.stack([row[name] for row in rows]) for name in rows[0]})
    return pixels, batch


def check(extractors, head, tmp_path):
    model = over(extractors, head)
    pixels, batch = inputs_of(extractors, prepare_images(3))
    with torch.inference_mode():
        found = model(*pixels)[0]
        torch.testing.assert_close(found, head.margins(batch).float(), atol=1e-4, rtol=0)
    (data,) = find_format("torchscript").write(model, "{}").values()
    (tmp_path / "a.pt").write_bytes(data)
    run = find_format("torchscript").load(tmp_path / "a.pt", model)
    assert largest_difference(model, run) < TOLERANCE
    return model


@pytest.mark.parametrize("kind", [*CLIPS, *TOWERS])
def test_a_vector_of_a_tower_under_a_classifier(kind, extractors, tmp_path):
    one = extractors(kind)
    field = next(spec.field for spec in one.fields if len(spec.shape) == 1)
    assert check([one], with_head([one], cls=field), tmp_path).tolerance == TOLERANCE


def test_two_towers_of_two_sizes_under_one_decoder(extractors, tmp_path):
    both = [extractors("vit"), extractors("dinov3", size=96)]
    head = with_head(both, tokens="clip_tokens", tokens_2="tower_tokens")
    model = check(both, head, tmp_path)
    assert model.tolerance == HALF_TOLERANCE
    assert len(set(model.inputs.values())) == 2, "sizes differ"
