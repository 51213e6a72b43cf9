"""UnivFD's head: its file, bare or of a training, as the run that its authors' code is."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.heads.checkpoints.published import imported, margins, one_extraction

SAMPLE = Path(__file__).parents[3] / "../shared/samples/weights/univfd_fc_weights.pth"
CROP = {"crop": "centre", "crop_side": 224, "resize": None, "recode": None}


def features(width):
    towers = {768: "ViT-L-14", 1024: "RN50"}
    origin = {"model": towers[width], "weights": "openai"}
    return one_extraction({"clip_cls": (width,)}, images=CROP, origin=origin)


@pytest.fixture
def vectors():
    return torch.randn(5, 768, generator=torch.Generator().manual_seed(1)) * 0.4


@pytest.mark.parametrize("width", [768, 1024])
@pytest.mark.parametrize("prefix", ["", "fc."])
def test_margins_are_the_published_logit(tmp_path, width, prefix):
    torch.manual_seed(0)
    layer = torch.nn.Linear(width, 1)
    state = OrderedDict({f"{prefix}{name}": value for name, value in layer.state_dict().items()})
    if prefix:
        state["model.visual.proj"] = torch.zeros(3, 3)
    torch.save({"model": state, "total_steps": 3} if prefix else state, tmp_path / "fc.pth")
    run = imported(tmp_path / "fc.pth", features(width), tmp_path / "run")
    values = torch.randn(4, width)
    expected = layer(values)[:, 0].detach().double()
    assert torch.allclose(margins(run, {"clip_cls": values}), expected, atol=1e-6)
    assert run.threshold == 0.0 and run.chosen_threshold == 0.0
    assert any("CLIP's copy" in one for one in run.caveats) == bool(prefix)


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the published file is not at hand")
def test_the_published_file_equals_its_own_numbers(tmp_path, vectors):
    import zipfile

    with zipfile.ZipFile(SAMPLE) as archive:  # its storages, without torch
        weight = np.frombuffer(archive.read("fc_weights/data/0"), np.float32)
        bias = np.frombuffer(archive.read("fc_weights/data/1"), np.float32)
    run = imported(SAMPLE, features(768), tmp_path / "run")
    expected = vectors.numpy().astype(np.float64) @ weight + bias
    assert np.allclose(margins(run, {"clip_cls": vectors}).numpy(), expected, atol=1e-5)
