"""The text-similarity adapter: its whole model's file, as its code judges."""

import open_clip
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from clare.errors import InputError, WeightsError
from clare.heads.importing import open_checkpoint
from clare.heads.text.tower import TextTower
from tests.heads.checkpoints.published import imported, margins, one_extraction, together

PROMPTS = [
    *("a genuine photograph of a face", "a computer-generated image of a face"),
    *("an authentic person's portrait", "a digitally manipulated face"),
    *("a real person", "a synthetic AI-generated face"),
]
SQUASHED = {"crop": "none"}


def networks():
    """Its adapter and its head, with dropout that a test leaves out."""
    torch.manual_seed(0)
    adapter = nn.Sequential(
        *(nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.1)),
        *(nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.1)),
    )
    head = nn.Sequential(
        *(nn.Linear(134, 256), nn.ReLU(), nn.Dropout(0.2)),
        *(nn.Linear(256, 64), nn.ReLU(), nn.Dropout(0.1)),
        nn.Linear(64, 2),
    )
    return adapter.eval().requires_grad_(False), head.eval().requires_grad_(False)


def state_of(adapter, head, prompts=PROMPTS):
    return {
        "prompt_tokens": open_clip.tokenize(prompts).int(),
        **{f"projection_adapter.{name}": value for name, value in adapter.state_dict().items()},
        **{f"classification_head.{name}": value for name, value in head.state_dict().items()},
        "vision_backbone.visual.proj": torch.zeros(3, 3),
    }


@pytest.mark.parametrize("prompts", [PROMPTS, ["a camera's picture, 512px", "an AI picture!"]])
def test_margins_are_those_of_a_plain_reading(tmp_path, make_text, prompts):
    text = make_text(embed_dim=512, layers=1)
    tower = TextTower.load(text.file)
    adapter, head = networks()
    torch.save(state_of(adapter, head, prompts), tmp_path / "final_model.pth")
    origin = {"model": "ViT-B-32", "weights": "openai"}
    stored = one_extraction({"clip_cls": (512,)}, images=SQUASHED, origin=origin)
    run = imported(
        tmp_path / "final_model.pth", together(stored, text=tower), tmp_path / "run", text=tower
    )
    assert run.record.imported is not None and run.record.imported.format == "text_similarity"
    assert any("bilinearly" in one for one in run.caveats)
    vectors = torch.randn(5, 512, generator=torch.Generator().manual_seed(1)) * 0.4
    with torch.no_grad():
        texts = normalize(text.model(open_clip.tokenize(prompts)).float(), dim=-1)
        images = normalize(vectors, dim=-1)
        cosines = images @ texts.T
        real, fake = cosines[:, 0::2].mean(1), cosines[:, 1::2].mean(1)
        rest = (cosines.mean(1), real - fake, cosines.std(1), cosines.max(1).values)
        logits = head(torch.cat([adapter(images), torch.stack([real, fake, *rest], 1)], 1))
    expected = (logits[:, 1] - logits[:, 0]).double()
    assert expected.std() > 1e-4
    found = margins(run, {"clip_cls": vectors})
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classification_head.6.bias": None}, r"it lacks classification_head\.6\.bias"),
        ({"classification_head.8.bias": torch.zeros(2)}, r"it has classification_head\.8\.bias"),
        ({"projection_adapter.0.weight": torch.zeros(256, 768)}, r"adapter\.0\.weight is float32"),
        ({"prompt_tokens": torch.zeros(6, 77)}, "its prompt_tokens are no texts"),
        ({"prompt_tokens": torch.zeros(6, 0, dtype=torch.int32)}, "its prompt_tokens are no texts"),
        ({"prompt_tokens": torch.full((6, 77), 60_000)}, "its prompt_tokens are no texts"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, told):
    state = {**state_of(*networks()), **change}
    kept = {name: value for name, value in state.items() if value is not None}
    torch.save(kept, tmp_path / "a.pth")
    with pytest.raises((InputError, WeightsError), match=told):
        open_checkpoint(tmp_path / "a.pth", None)


def test_another_format_is_told_apart(tmp_path):
    torch.save(state_of(*networks()), tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"no checkpoint of univfd.*look like text_similarity"):
        open_checkpoint(tmp_path / "a.pth", "univfd")
