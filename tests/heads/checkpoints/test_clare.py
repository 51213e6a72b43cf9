"""CLaRE's file: both attentions and both kinds of prompts judge as its published formulas do."""

from typing import Any

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional

from clare.errors import InputError, WeightsError
from clare.heads.importing import open_checkpoint
from clare.heads.text.facts import TowerFacts
from clare.heads.text.tower import TextTower
from tests.heads.checkpoints.published import (
    imported,
    lare_maps,
    margins,
    one_extraction,
    seeded,
    together,
)

WIDTH, SIDE, HEADS, EMBED, TEXT, CONTEXTS = 64, 4, 8, 48, 32, 4
SCALE = torch.tensor(2.0)
KINDS = [(version, shifted) for version in (1, 2) for shifted in (True, False)]


@pytest.fixture(scope="module")
def clip_text():
    """CLIP's text side, small, as open_clip has it."""
    torch.manual_seed(0)
    model = open_clip.transformer.TextTransformer(
        width=TEXT, heads=2, layers=1, output_dim=EMBED, act_layer=open_clip.transformer.QuickGELU
    )
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tower(clip_text):
    facts = TowerFacts(
        text_config={"width": TEXT, "heads": 2, "layers": 1},
        embed_dim=EMBED,
        quick_gelu=True,
        context_length=77,
        tokenizer="SimpleTokenizer",
    )
    return TextTower({**clip_text.state_dict(), "logit_scale": SCALE}, facts)


class Plain(nn.Module):
    """The detector on cached features by CLaRE's names, written from its formulas."""

    attn_pool: Any
    channel_align: Any
    prompt_learner: Any

    def __init__(self, version, shifted):
        super().__init__()
        self.version, self.shifted = version, shifted
        self.conv, self.conv_align = nn.Conv2d(4, HEADS, 1), nn.Conv2d(4, 16, 1)
        self.image_proj, self.text_proj = nn.Linear(EMBED, WIDTH), nn.Linear(EMBED, 3 * WIDTH)
        self.channel_align = nn.Module()
        self.channel_align.fc = nn.Sequential(
            nn.Linear(4, 128, bias=False), nn.ReLU(), nn.Linear(128, WIDTH, bias=False)
        )
        self.attn_pool = nn.Module()
        self.attn_pool.attention = nn.Module()
        for name in "qkv":
            setattr(self.attn_pool.attention, f"fc_{name}", nn.Linear(WIDTH, 512))
        self.attn_pool.attention.fc_o = nn.Linear(512, WIDTH)
        self.attn_pool.layer_norm = nn.LayerNorm(WIDTH)
        names = ("positional_embedding",) if version == 1 else ("pos_embed_q", "pos_embed_kv")
        for name in names:
            setattr(self.attn_pool, name, nn.Parameter(torch.zeros(SIDE**2 + 1, WIDTH)))
        widths = (8, 32, 64, 128, 256, WIDTH)
        for k in range(1, 6) if version == 2 else ():
            step = nn.Conv2d(widths[k - 1], widths[k], 1)
            setattr(self.attn_pool, f"projection_loss_map_{k}", step)
        self.prompt_learner = nn.Module()
        self.prompt_learner.ctx = nn.Parameter(torch.zeros(CONTEXTS, TEXT))
        if shifted:
            hidden = 3 * WIDTH // 16
            self.prompt_learner.meta_net = nn.Module()
            self.prompt_learner.meta_net.linear1 = nn.Linear(3 * WIDTH, hidden)
            self.prompt_learner.meta_net.linear2 = nn.Linear(hidden, TEXT)

    def attend(self, asking, answering, bias):
        attention = self.attn_pool.attention
        query, key, value = (
            layer(tokens).unflatten(-1, (HEADS, 64)).transpose(1, 2)
            for layer, tokens in (
                (attention.fc_q, asking),
                (attention.fc_k, answering),
                (attention.fc_v, answering),
            )
        )
        weights = torch.softmax(query @ key.mT / 8 + bias, -1)
        found = attention.fc_o((weights @ value).transpose(1, 2).flatten(2))
        return self.attn_pool.layer_norm(asking + found)[:, 0]

    def fuse(self, vector, tokens, lare):
        pool = self.attn_pool
        maps = self.conv(functional.adaptive_avg_pool2d(lare, SIDE))
        if self.version == 2:
            for k in range(1, 6):
                maps = getattr(pool, f"projection_loss_map_{k}")(maps)
        maps = with_mean(maps.flatten(2).mT)
        tokens_and_mean = with_mean(tokens)
        if self.version == 2:
            asking = (maps + pool.pos_embed_q)[:, :1]
            spatial = self.attend(asking, tokens_and_mean + pool.pos_embed_kv, 0.0)
        else:
            both = tokens_and_mean + pool.positional_embedding
            spatial = self.attend(both[:, :1], both, maps.mT[:, :, None])
        channel = tokens.mean(1) * torch.sigmoid(self.channel_align.fc(lare.mean((2, 3))))
        return torch.cat([self.image_proj(vector), spatial, channel], -1)

    def forward(self, vector, tokens, lare, text):
        fused = functional.normalize(self.fuse(vector, tokens, lare), dim=-1)
        context = self.prompt_learner.ctx
        margins = []
        for row in fused:
            shift = torch.zeros(TEXT)
            if self.shifted:
                net = self.prompt_learner.meta_net
                shift = net.linear2(torch.relu(net.linear1(row)))
            texts = functional.normalize(self.text_proj(read(text, context + shift)), dim=-1)
            logits = SCALE.exp() * texts @ row
            margins.append(logits[1] - logits[0])
        return torch.stack(margins)


def with_mean(tokens):
    return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)


def read(model, context):
    """Text vectors of "real." and "fake." after a context."""
    words = [" ".join("X" * len(context)) + f" {name}." for name in ("real", "fake")]
    ids = open_clip.tokenize(words)
    embedded = model.token_embedding(ids)
    learned = context.expand(2, -1, -1)
    x = torch.cat([embedded[:, :1], learned, embedded[:, 1 + len(context) :]], 1)
    x = model.ln_final(model.transformer(x + model.positional_embedding, attn_mask=model.attn_mask))
    return x[torch.arange(2), ids.argmax(-1)] @ model.text_projection


@pytest.fixture
def features(tower):
    settings = {"mean_std": "half", "quick_gelu": True, "size": 224}
    clip = {"clip_cls": (EMBED,), "clip_tokens": (SIDE**2, WIDTH)}
    return together(
        one_extraction(clip, settings, {"crop": "none"}),
        lare_maps(),
        text=tower,
    )


def published(plain):
    """What its training saves: CLIP beside, and what it takes from CLIP's own vocabulary."""
    state = dict(plain.state_dict())
    state["prompt_learner.token_prefix"] = torch.zeros(2, 1, TEXT)
    state["prompt_learner.token_suffix"] = torch.zeros(2, 76 - CONTEXTS, TEXT)
    state["clip_model.visual.proj"] = state["text_encoder.ln_final.bias"] = torch.zeros(3)
    return {"state_dict": state, "best_val": 0.9, "best_step": 50}


@pytest.mark.parametrize(("version", "shifted"), KINDS)
def test_it_judges_as_a_plain_reading(tmp_path, features, tower, clip_text, version, shifted):
    plain = seeded(Plain(version, shifted), version)
    torch.save(published(plain), tmp_path / "best.pth")
    run = imported(tmp_path / "best.pth", features, tmp_path / "run", text=tower)
    generator = torch.Generator().manual_seed(3)
    batch = {
        "clip_cls": torch.randn(4, EMBED, generator=generator),
        "clip_tokens": torch.randn(4, SIDE**2, WIDTH, generator=generator),
        "lare": torch.rand(4, 1, 4, 4, 32, 32, generator=generator) * 2,
    }
    with torch.no_grad():
        maps = batch["lare"][:, 0].mean(1)
        expected = plain(batch["clip_cls"], batch["clip_tokens"], maps, clip_text).double()
    assert expected.std() > 1e-3
    torch.testing.assert_close(margins(run, batch), expected, atol=1e-5, rtol=0)
    detector = run.record.config.detector
    assert (detector.fusion, detector.classifier) == (
        "cross_attn" if version == 2 else "esa",
        "cocoop" if shifted else "coop",
    )
    assert run.record.imported is not None and run.record.imported.format == "clare"
    assert any("moves the prompts alone" in remark for remark in run.caveats)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"roi_pool.weight": torch.zeros(1)}, r"it has roi_pool\.weight"),
        ({"visual_prompt_learner.tokens": torch.zeros(1, 16, WIDTH)}, "it has visual_prompt"),
        ({"text_proj.weight": torch.zeros(4 * WIDTH, EMBED)}, r"text_proj\.weight is"),
        ({"attn_pool.pos_embed_q": torch.zeros(3)}, "of two axes"),
        ({"prompt_learner.ctx": torch.zeros(2, CONTEXTS, TEXT)}, r"prompt_learner\.ctx is"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changed, told):
    found = published(seeded(Plain(2, shifted=True)))
    found["state_dict"] |= changed
    torch.save(found, tmp_path / "best.pth")
    with pytest.raises((InputError, WeightsError), match=told):
        open_checkpoint(tmp_path / "best.pth", "clare")


def test_a_missing_projection_is_named(tmp_path):
    found = published(seeded(Plain(2, shifted=True)))
    del found["state_dict"]["text_proj.weight"]
    torch.save(found, tmp_path / "best.pth")
    with pytest.raises(WeightsError, match=r"lacks text_proj\.weight"):
        open_checkpoint(tmp_path / "best.pth", "clare")
