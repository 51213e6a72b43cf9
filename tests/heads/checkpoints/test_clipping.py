"""CLIPping the Deception's heads on a frozen CLIP: prompts, adapter and linear probe."""

import open_clip
import pytest
import torch
from torch import nn

from clare.errors import InputError, WeightsError
from clare.heads.importing import open_checkpoint
from clare.heads.text.facts import TowerFacts
from clare.heads.text.tower import TextTower
from tests.heads.checkpoints.published import (
    dassl_training,
    imported,
    margins,
    one_extraction,
    together,
)

WIDTH = 768
SCALE = torch.tensor(3.0)
VECTORS = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1)) * 0.4


@pytest.fixture(scope="module")
def clip_text():
    """A text side of the published width, as open_clip has it."""
    torch.manual_seed(0)
    model = open_clip.transformer.TextTransformer(
        width=WIDTH, heads=12, layers=1, output_dim=WIDTH, act_layer=open_clip.transformer.QuickGELU
    )
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def features(clip_text):
    """The class token of ViT-L/14, and the text side."""
    facts = TowerFacts(
        text_config={"width": WIDTH, "heads": 12, "layers": 1},
        embed_dim=WIDTH,
        quick_gelu=True,
        context_length=77,
        tokenizer="SimpleTokenizer",
    )
    tensors = {**clip_text.state_dict(), "logit_scale": SCALE}
    tower = TextTower(tensors, facts)
    return together(one_extraction({"clip_cls": (WIDTH,)}), text=tower), tower


def read_texts(model, embeddings, tokens):
    """Text vectors of embedded prompts (n, 77, width) whose end is each row's largest token."""
    x = embeddings + model.positional_embedding
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
    return x[torch.arange(len(x)), tokens.argmax(-1)] @ model.text_projection


def margins_of(vectors, texts):
    """Logits of fake less those of real, by cosines."""
    unit = nn.functional.normalize
    logits = SCALE.exp() * unit(vectors, dim=-1) @ unit(texts, dim=-1).T
    return (logits[:, 1] - logits[:, 0]).double()


def contexts(model, count):
    """A state of CoOp's prompt learner, in float16."""
    names = open_clip.tokenize([" ".join("X" * count) + f" {name}." for name in ("real", "fake")])
    embedded = model.token_embedding(names)
    generator = torch.Generator().manual_seed(count)
    ctx = torch.randn(count, WIDTH, generator=generator) * 0.02
    kept = {"token_prefix": embedded[:, :1], "token_suffix": embedded[:, 1 + count :]}
    return {name: value.half() for name, value in {"ctx": ctx, **kept}.items()}, names, embedded


@pytest.mark.parametrize("count", [4, 16])
def test_prompts_have_the_name_before_their_contexts(tmp_path, clip_text, features, count):
    state, names, embedded = contexts(clip_text, count)
    torch.save(dassl_training(state), tmp_path / "model.pth.tar-2")
    run = imported(tmp_path / "model.pth.tar-2", features[0], tmp_path / "run", text=features[1])
    learned = state["ctx"].float().expand(2, -1, -1)
    after = embedded[:, 1 + count :]  # the name of one token, a full stop, the end
    prompts = torch.cat([embedded[:, :1], after[:, :1], learned, after[:, 1:]], 1)
    expected = margins_of(VECTORS, read_texts(clip_text, prompts, names))
    assert expected.std() > 1e-3
    found = margins(run, {"clip_cls": VECTORS})
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert run.record.imported is not None and run.record.imported.format == "clipping_coop"
    assert any("before the contexts" in one for one in run.caveats)


def test_an_adapter_moves_the_class_token_towards_two_prompts(tmp_path, clip_text, features):
    torch.manual_seed(1)
    layers = [nn.Linear(WIDTH, 384, bias=False), nn.Linear(384, WIDTH, bias=False)]
    state = {f"fc.{2 * n}.weight": one.weight.detach() for n, one in enumerate(layers)}
    torch.save(dassl_training(state), tmp_path / "model.pth.tar-2")
    run = imported(tmp_path / "model.pth.tar-2", features[0], tmp_path / "run", text=features[1])
    tokens = open_clip.tokenize(["a real photo.", "a fake photo."])
    texts = read_texts(clip_text, clip_text.token_embedding(tokens), tokens)
    with torch.no_grad():
        network = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU())
        expected = margins_of(0.4 * network(VECTORS) + 0.6 * VECTORS, texts)
    assert expected.std() > 1e-3
    found = margins(run, {"clip_cls": VECTORS})
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert run.record.imported is not None and run.record.imported.format == "clipping_adapter"


def test_a_linear_probe_is_a_layer_in_float16(tmp_path):
    torch.manual_seed(2)
    layer = nn.Linear(WIDTH, 2).half().requires_grad_(False)
    state = {f"fc.linear.{name}": value for name, value in layer.state_dict().items()}
    state["feature_extractor.visual.proj"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "probe.pth")
    crop = {"crop": "centre", "crop_side": 224, "resize": None, "recode": None}
    features = one_extraction({"clip_cls": (WIDTH,)}, images=crop)
    run = imported(tmp_path / "probe.pth", features, tmp_path / "run")
    logits = VECTORS @ layer.weight.float().T + layer.bias.float()
    expected = (logits[:, 1] - logits[:, 0]).double()
    found = margins(run, {"clip_cls": VECTORS})
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert run.record.imported is not None and run.record.imported.format == "clipping_linear"
    assert any("red and blue are swapped" in one for one in run.caveats)


COOP = {
    "ctx": torch.zeros(16, WIDTH),
    "token_prefix": torch.zeros(2, 1, WIDTH),
    "token_suffix": torch.zeros(2, 60, WIDTH),
}
ADAPTER = {"fc.0.weight": torch.zeros(384, WIDTH), "fc.2.weight": torch.zeros(WIDTH, 384)}
LINEAR = {"fc.linear.weight": torch.zeros(2, WIDTH), "fc.linear.bias": torch.zeros(2)}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({**COOP, "ctx": torch.zeros(16, 512)}, r"ctx is float32 \(16, 512\)"),
        ({**COOP, "ctx": torch.zeros(2, 16, WIDTH)}, r"ctx is float32 \(2, 16, 768\)"),
        ({**COOP, "token_suffix": torch.zeros(2, 61, WIDTH)}, "token_suffix"),
        ({**COOP, "ctx": torch.zeros(90, WIDTH)}, "token_suffix"),
        ({**COOP, "gate": torch.zeros(1)}, "it has gate"),
        ({**ADAPTER, "fc.4.weight": torch.zeros(1)}, r"it has fc\.4\.weight"),
        ({"fc.0.weight": ADAPTER["fc.0.weight"]}, r"it lacks fc\.2\.weight"),
        ({**ADAPTER, "fc.0.weight": torch.zeros(256, 1024)}, r"fc\.0\.weight is float32"),
        ({"fc.linear.weight": LINEAR["fc.linear.weight"]}, r"it lacks fc\.linear\.bias"),
        ({**LINEAR, "fc.linear.weight": torch.zeros(2, 512)}, r"fc\.linear\.weight is float32"),
    ],
)
def test_missing_wrong_and_left_over_tensors_are_named(tmp_path, state, told):
    torch.save(dassl_training(state), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=told):
        open_checkpoint(tmp_path / "a.pth", None)


@pytest.mark.parametrize(
    ("state", "name"),
    [(COOP, "clipping_coop"), (ADAPTER, "clipping_adapter"), (LINEAR, "clipping_linear")],
)
def test_a_file_of_another_kind_says_what_it_looks_like(tmp_path, state, name):
    torch.save(dassl_training(state), tmp_path / "a.pth")
    assert open_checkpoint(tmp_path / "a.pth", None)[0] == name
    with pytest.raises(InputError, match=f"no checkpoint of declip.*look like {name}"):
        open_checkpoint(tmp_path / "a.pth", "declip")
