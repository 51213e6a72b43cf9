"""A text tower as open_clip runs it, and the file that extraction writes of it."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from open_clip.transformer import LayerNorm, QuickGELU, TextTransformer
from safetensors.torch import save_file


@dataclass
class PlainText:
    """open_clip's text transformer in float64 beside its file."""

    model: TextTransformer
    file: Path
    logit_scale: float

    def read(self, embeddings: torch.Tensor, end: int) -> torch.Tensor:
        """The text vector (E,) of one prompt's embeddings (positions, width): nothing left out."""
        model = self.model
        x = embeddings + model.positional_embedding[: len(embeddings)]
        mask = model.attn_mask[: len(embeddings), : len(embeddings)]
        x = model.ln_final(model.transformer(x[None], attn_mask=mask))
        return x[0, end] @ model.text_projection


@pytest.fixture(scope="session")
def make_text(tmp_path_factory):
    """Make a seeded tower; settings are those of open_clip's text configuration."""

    def make(*, embed_dim=24, quick_gelu=True, eps=None, tokenizer="SimpleTokenizer", **settings):
        config = {"width": 32, "heads": 2, "layers": 3, **settings}
        plain = {"act_layer": QuickGELU if quick_gelu else torch.nn.GELU, "output_dim": embed_dim}
        if eps is not None:
            plain["norm_layer"] = lambda width: LayerNorm(width, eps=eps)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            model = TextTransformer(**config, **plain).eval().requires_grad_(False)
            for name, parameter in model.named_parameters():
                # As it starts, norms and biases would hide what they do.
                std = 0.3 if "ln_" in name or "bias" in name else 0.02
                parameter += std * torch.randn_like(parameter)
        if eps is not None:
            config["norm_kwargs"] = {"eps": eps}
        facts = {
            "text_config": config,
            "embed_dim": embed_dim,
            "quick_gelu": quick_gelu,
            "context_length": config.get("context_length", 77),
            "tokenizer": tokenizer,
        }
        file = tmp_path_factory.mktemp("text") / "text_tower.safetensors"
        tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
        tensors["logit_scale"] = torch.tensor(3.0)
        save_file(tensors, file, {"text_tower": json.dumps(facts)})
        return PlainText(model.double(), file, torch.tensor(3.0).exp().item())

    return make


@pytest.fixture(scope="session")
def plain_text(make_text):
    """One tower for the tests that need just any: width 32, embed_dim 24."""
    return make_text()
