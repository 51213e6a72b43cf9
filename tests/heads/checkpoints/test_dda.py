"""DDA's file: the tower with LoRA beside its layers judges as the merged one does here."""

import pytest
import timm
import torch
from torch import nn

from clare.errors import WeightsError
from clare.inference.import_head import import_head
from tests.heads.checkpoints.published import draw_photograph, judged, normalised, seeded

SIDE, PATCH, WIDTH, RANK = 336, 56, 128, 8


class WithLora(nn.Module):
    """A linear layer and what LoRA adds to it, by the names of DDA's code."""

    def __init__(self, layer):
        super().__init__()
        self.original_layer = layer
        self.lora = nn.Module()
        self.lora.lora_A = nn.Parameter(torch.zeros(RANK, layer.in_features))
        self.lora.lora_B = nn.Parameter(torch.zeros(layer.out_features, RANK))

    def forward(self, x):
        return self.original_layer(x) + x @ self.lora.lora_A.T @ self.lora.lora_B.T / RANK


def published(native):
    """The detector whose tower was trained at a size, and its state as it is saved."""
    tower = timm.create_model(
        "vit_large_patch14_dinov2",
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=2,
        num_heads=2,
        img_size=native,
        num_classes=0,
    )
    for block in tower.blocks:
        block.attn.qkv, block.attn.proj = WithLora(block.attn.qkv), WithLora(block.attn.proj)
        block.mlp.fc1, block.mlp.fc2 = WithLora(block.mlp.fc1), WithLora(block.mlp.fc2)
    seeded(tower)
    layer = seeded(nn.Linear(WIDTH, 1), 1)
    state = {f"base_model.model.{name}": value for name, value in tower.state_dict().items()}
    state["base_model.model.mask_token"] = torch.zeros(1, WIDTH)
    state |= {f"base_model.fc.{name}": value for name, value in layer.state_dict().items()}
    return tower, layer, state


def cubic(distance):
    """The kernel of bicubic interpolation with a = -0.75, torch's."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def resampled(grid, new):
    """A grid (old, old, D) at (new, new, D), sampled as a scale of (new + 0.1) / old has it."""
    old = len(grid)
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for place in range(new):
        centre = (place + 0.5) * old / (new + 0.1) - 0.5
        low = int(centre // 1)
        for tap in range(low - 1, low + 3):
            matrix[place, min(max(tap, 0), old - 1)] += cubic(centre - tap)
    return torch.einsum("ia,jb,abd->ijd", matrix, matrix, grid.double()).float()


@pytest.mark.parametrize("native", [336, 448])
def test_dda_judges_as_a_plain_reading(tmp_path, native):
    tower, layer, state = published(native)
    torch.save({"model": state, "optimizer": {}, "total_steps": 7}, tmp_path / "ckpt.pth")
    image = draw_photograph(tmp_path / "photo.png", SIDE)
    run = import_head(tmp_path / "ckpt.pth", tmp_path / "run", store=tmp_path / "none.zarr")
    if native != SIDE:
        grid = tower.pos_embed.detach()[0, 1:].reshape(native // PATCH, native // PATCH, WIDTH)
        moved = resampled(grid, SIDE // PATCH).reshape(1, -1, WIDTH)
        tower.pos_embed = nn.Parameter(torch.cat([tower.pos_embed.detach()[:, :1], moved], dim=1))
        tower.patch_embed.img_size = (SIDE, SIDE)
    with torch.no_grad():
        expected = float(layer(tower.forward_features(normalised(image, "clip"))[:, 0]))
    assert judged(tmp_path / "run", image) == pytest.approx(expected, abs=1e-5)
    assert run.record.imported is not None and run.record.imported.format == "dda"
    images = run.record.extractors["tower"].fingerprint.settings["images"]
    assert (images["crop"], images["crop_side"]) == ("centre", 336)


def test_what_lacks_half_of_a_lora_is_refused(tmp_path):
    _, _, state = published(336)
    del state["base_model.model.blocks.1.mlp.fc2.lora.lora_B"]
    torch.save({"model": state}, tmp_path / "ckpt.pth")
    with pytest.raises(WeightsError, match=r"blocks\.1\.mlp\.fc2\.lora\.lora_B is missing"):
        import_head(tmp_path / "ckpt.pth", tmp_path / "run", store=tmp_path / "none.zarr")
    assert not (tmp_path / "run").exists()
