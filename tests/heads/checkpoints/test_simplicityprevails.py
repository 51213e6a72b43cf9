"""Linear layers on frozen towers: each file's name tells the tower, its tensors the verdict."""

import open_clip
import pytest
import timm
import torch
from torch import nn

from clare.errors import InputError, WeightsError
from clare.heads.checkpoints.simplicityprevails import TOWERS
from clare.heads.importing import open_checkpoint
from tests.heads.checkpoints.published import imported, margins, one_extraction, seeded

NEST = ("state_dict", "model", "model_state_dict", None)


def features(tower, **changed):
    need = tower.need
    images = {"crop": "none", "crop_side": None, **need.images, **changed}
    origin = {"model": need.model[0], "weights": need.weights}
    shape = {tower.field: (tower.width,)}
    return one_extraction(shape, need.settings, images, origin, need.extractor)


@pytest.mark.parametrize(("kind", "nest"), [*zip(TOWERS, NEST * 2, strict=False)])
def test_margins_are_the_published_logits(tmp_path, kind, nest):
    tower = TOWERS[kind]
    layer = seeded(nn.Linear(tower.width, 2))
    state = {f"module.head.{name}": value for name, value in layer.state_dict().items()}
    state["module.backbone.embeddings.cls_token"] = torch.zeros(1, 1, 3)
    torch.save({nest: state, "epoch": 1} if nest else state, tmp_path / f"{kind}0.pth")
    run = imported(tmp_path / f"{kind}0.pth", features(tower), tmp_path / "run")
    values = torch.randn(4, tower.width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = layer(values).double()
    found = margins(run, {tower.field: values})
    assert torch.allclose(found, logits[:, 1] - logits[:, 0], atol=1e-5)
    assert any("copy in the file" in remark for remark in run.caveats)
    assert any("7/8" in remark for remark in run.caveats) == kind.startswith("dino")
    assert any("antialiasing" in remark for remark in run.caveats) == (kind == "dinov2lin")
    assert any("bilinearly" in remark for remark in run.caveats) == (kind == "pelin")


@pytest.mark.parametrize("tower", TOWERS.values(), ids=list(TOWERS))
def test_the_towers_are_there_and_as_wide(tower):
    """Of open_clip and of timm: the names, their weights, the width of the field."""
    model, weights = tower.need.model[0], tower.need.weights
    if tower.need.extractor == "tower":
        assert f"{model}.{weights}" in timm.list_models(f"{model}.*", pretrained=True)
        with torch.device("meta"):
            assert timm.create_model(model, num_classes=0).num_features == tower.width
    else:
        assert weights in open_clip.list_pretrained_tags_by_model(model)
        config = open_clip.get_model_config(model)
        is_pooled = tower.field == "clip_cls_pre"
        assert tower.width == (config["vision_cfg"]["width"] if is_pooled else config["embed_dim"])


def test_a_file_of_another_name_is_asked_for_its_own(tmp_path):
    torch.save(
        {"head.weight": torch.zeros(2, 1024), "head.bias": torch.zeros(2)}, tmp_path / "a.pth"
    )
    with pytest.raises(InputError, match="beginning with metacliplin"):
        open_checkpoint(tmp_path / "a.pth", None)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"head.weight": torch.zeros(2, 768), "head.bias": torch.zeros(2)}, r"\(2, 768\)"),
        ({"head.weight": torch.zeros(1, 1024), "head.bias": torch.zeros(1)}, r"\(1, 1024\)"),
    ],
)
def test_a_layer_of_another_width_is_refused(tmp_path, state, told):
    torch.save(state, tmp_path / "pelin0.pth")
    with pytest.raises(WeightsError, match=told):
        open_checkpoint(tmp_path / "pelin0.pth", None)


def test_squashed_images_are_refused_where_a_square_was_cut_out(tmp_path):
    tower = TOWERS["sigliplin"]
    state = {"head.weight": torch.zeros(2, 1024), "head.bias": torch.zeros(2)}
    torch.save(state, tmp_path / "sigliplin0.pth")
    with pytest.raises(InputError, match="crop is none, not centre"):
        imported(tmp_path / "sigliplin0.pth", features(tower, crop="none"), tmp_path / "run")
