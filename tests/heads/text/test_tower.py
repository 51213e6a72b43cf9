"""The text tower against open_clip's own, and every shortcut against the plain reading."""

import contextlib
import copy
import json
import shutil

import open_clip
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import load_file, save_file

from clare.errors import InputError
from clare.heads.text.prompt_tree import Slot
from clare.heads.text.tower import TextTower
from clare.models.clip import load_clip
from clare.models.runtime import Runtime
from clare.models.tiny import write_byte_tokenizer, write_tiny_clip
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.settings import ImageSettings

TEXTS = [
    "a real face",
    "",
    "A synthetic, AI-generated face: 100 % fake!",
    "a real person's portrait",
]
END = 49407


@pytest.fixture(scope="module")
def tower(plain_text):
    return TextTower.load(plain_text.file).double()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"quick_gelu": False},
        {"embed_dim": 32, "width": 48, "heads": 3, "layers": 1, "mlp_ratio": 3.0},
        {"eps": 1e-2, "context_length": 40},
        {"pool_type": "eos", "eos_id": END},
        {"no_causal_mask": False, "proj_type": "linear"},
    ],
)
def test_text_vectors_are_those_of_open_clip(make_text, config):
    plain = make_text(**config)
    tower = TextTower.load(plain.file).double()
    tokens = tower.tokenize(TEXTS)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (4, tower.context_length) == (4, config.get("context_length", 77))
    found = tower.encode_text(TEXTS)
    torch.testing.assert_close(found, plain.model(tokens), rtol=1e-6, atol=1e-6)
    assert found.shape == (4, tower.embed_dim) and not found.requires_grad
    assert tower.width == config.get("width", 32)
    assert tower.logit_scale == pytest.approx(plain.logit_scale, rel=1e-6)


@pytest.mark.parametrize("kind", ["vit", "rn50", "timm"])
def test_it_reads_what_extraction_writes(tmp_path, kind):
    write_tiny_clip(tmp_path, kind)
    clip = load_clip(str(tmp_path), None, "auto", None)
    save_file(clip.text, tmp_path / "text_tower.safetensors", clip.text_metadata)
    tower = TextTower.load(tmp_path / "text_tower.safetensors")
    config = json.loads((tmp_path / "open_clip_config.json").read_text())["model_cfg"]
    plain = (open_clip.CustomTextCLIP if config.pop("custom_text", 0) else open_clip.CLIP)(**config)
    plain.load_state_dict(load_file(tmp_path / "open_clip_model.safetensors"))
    assert tower.logit_scale == pytest.approx(plain.logit_scale.exp().item())
    with torch.no_grad():
        expected = plain.eval().encode_text(open_clip.tokenize(TEXTS))
    torch.testing.assert_close(tower.encode_text(TEXTS), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def kept_tokenizer(tmp_path):
    """A tower's folder whose ``tokenizer.json`` has a token a byte."""
    write_byte_tokenizer(tmp_path / "source")
    transformers.CLIPTokenizer.from_pretrained(tmp_path / "source").save_pretrained(tmp_path)
    return tmp_path


def place(file, folder):
    return shutil.copy(file, folder / "text_tower.safetensors")


def test_a_tokenizer_that_the_store_keeps_is_that_of_open_clip(make_text, kept_tokenizer):
    plain = make_text(tokenizer="owner/name", vocab_size=514)
    tower = TextTower.load(place(plain.file, kept_tokenizer)).double()
    theirs = HFTokenizer(str(kept_tokenizer))
    texts = ["real", "  a fake ", "Ünicode\n& more", ""]
    assert len(tower.tokens("real")) == 5  # bytes, and the end
    for text, row in zip(texts, theirs(texts).tolist(), strict=True):
        assert tower.tokens(text) == row[1 : row.index(513) + 1]
    expected = plain.model(tower.tokenize(texts))
    torch.testing.assert_close(tower.encode_text(texts), expected, rtol=1e-6, atol=1e-6)


def test_extraction_keeps_a_tokenizer_beside_the_weights(kept_tokenizer, tmp_path):
    folder = tmp_path / "clip"
    write_tiny_clip(folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "owner/name", "vocab_size": 514}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "open_clip_model.safetensors")
    tensors["token_embedding.weight"] = tensors["token_embedding.weight"][:514].clone()
    save_file(tensors, folder / "open_clip_model.safetensors")

    def assets():
        settings = {"model": str(folder)}
        return create_extractor("clip", settings, ImageSettings(), Runtime()).assets()

    assert "tokenizer.json" not in assets()  # it is not at hand
    shutil.copy(kept_tokenizer / "tokenizer.json", folder)
    (tmp_path / "store").mkdir()
    for name, data in assets().items():
        (tmp_path / "store" / name).write_bytes(data)
    tower = TextTower.load(tmp_path / "store" / "text_tower.safetensors")
    assert len(tower.tokens("real")) == 5 and tower.encode_text(["real"]).isfinite().all()


def test_code_beside_a_tokenizer_never_runs(make_text, kept_tokenizer, tmp_path):
    marker = tmp_path / "ran"
    (kept_tokenizer / "trap.py").write_text(
        f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nclass Trap: ...\n"
    )
    settings = json.loads((kept_tokenizer / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Trap", "auto_map": {"AutoTokenizer": ["trap.Trap", None]}}
    (kept_tokenizer / "tokenizer_config.json").write_text(json.dumps(settings))
    plain = make_text(tokenizer=str(kept_tokenizer), vocab_size=514, layers=1)
    for kwargs in ({}, {"trust_remote_code": True}):

        def trust(facts, kwargs=kwargs):
            facts["text_config"].update(tokenizer_kwargs=kwargs)

        elsewhere = rewrite(plain.file, tmp_path, trust)
        for file in (elsewhere, place(elsewhere, kept_tokenizer)):
            with contextlib.suppress(InputError):
                TextTower.load(file)
            assert not marker.exists()


def test_a_tokenizer_is_no_path_that_a_file_names(make_text, kept_tokenizer, plain_text, tmp_path):
    plain = make_text(tokenizer=str(kept_tokenizer), vocab_size=514, layers=1)
    with pytest.raises(InputError, match="is not kept in the store"):
        TextTower.load(plain.file)
    words = {"bpe_path": str(kept_tokenizer / "tokenizer.json")}
    trusting = {"trust_remote_code": True}
    for kwargs in (words, trusting, {"reduction_mask": "syntax"}, {"clean": "shell"}):

        def change(facts, kwargs=kwargs):
            facts["text_config"].update(tokenizer_kwargs=kwargs)

        with pytest.raises(InputError, match="its tokenizer has"):
            TextTower.load(rewrite(plain_text.file, tmp_path, change))


symbols = st.sampled_from([320, 1710, Slot(0), Slot(1), Slot(2)])
later = st.lists(symbols, max_size=6)
prompts = st.lists(later, max_size=3).map(lambda found: [[Slot(1), 320], *found])


@settings(max_examples=60, deadline=None)
@given(prompts=prompts, images=st.integers(1, 3), seed=st.integers(0, 99))
def test_prompts_are_those_read_one_by_one_over_all_positions(
    plain_text, tower, prompts, images, seed
):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(images, 3, 32, generator=generator, dtype=torch.float64) / 4
    pull = torch.randn(images, len(prompts), 24, generator=generator, dtype=torch.float64)
    tree = tower.lay_out([[*prompt, END] for prompt in prompts])
    ours = vectors.clone().requires_grad_()
    found = tower.encode_prompts(tree, ours)
    (found * pull).sum().backward()

    theirs = vectors.clone().requires_grad_()
    table = plain_text.model.token_embedding.weight
    rows = []
    for image in theirs:
        for prompt in prompts:
            filled = [image[s.index] if isinstance(s, Slot) else table[s] for s in prompt]
            padding = [table[0]] * (75 - len(prompt))
            whole = torch.stack([table[END - 1], *filled, table[END], *padding])
            rows.append(plain_text.read(whole, 1 + len(prompt)))
    expected = torch.stack(rows).view_as(found)
    (expected * pull).sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-6)


def test_prompts_that_begin_alike_share_their_beginning(tower):
    shared = [Slot(0), Slot(1), Slot(2)]
    tree = tower.lay_out([[*shared, 10, END], [*shared, 11, END]])
    assert len(tree.order) == 3 + 2 + 2
    assert len(tower.lay_out([[10, *shared, END], [11, *shared, END]]).order) == 5 + 5


def test_it_is_neither_learned_nor_saved_and_follows_the_module_that_holds_it(plain_text):
    tower = TextTower.load(plain_text.file)
    holder = torch.nn.ModuleList([tower])
    assert not list(holder.parameters()) and not holder.state_dict()
    before = tower.encode_text(TEXTS)
    holder.double()
    after = tower.encode_text(TEXTS)
    assert before.dtype == torch.float32 and after.dtype == torch.float64
    torch.testing.assert_close(before.double(), after, rtol=1e-5, atol=1e-5)
    # Had the start token's constants stayed as they were, they would be exact in float32 only.
    fresh = TextTower.load(plain_text.file).double()
    assert torch.equal(after, fresh.encode_text(TEXTS))
    (copied,) = copy.deepcopy(holder)
    assert isinstance(copied, TextTower)
    assert torch.equal(after, copied.encode_text(TEXTS))


def test_half_precision_is_close(plain_text):
    tower = TextTower.load(plain_text.file)
    expected = tower.encode_text(TEXTS)
    with torch.autocast("cpu", torch.bfloat16):
        found = tower.encode_text(TEXTS)
    torch.testing.assert_close(
        found.float(), expected, rtol=0.05, atol=0.05 * expected.std().item()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"no_causal_mask": True}, "no_causal_mask is True"),
        ({"hf_model_name": "roberta-base"}, "hf_model_name is roberta-base"),
        ({"embed_cls": True}, "embed_cls is True"),
        ({"pool_type": "last"}, "pool_type is last"),
        ({"act_kwargs": {"approximate": "tanh"}}, "act_kwargs"),
    ],
)
def test_towers_of_another_kind_are_refused(plain_text, tmp_path, change, message):
    file = rewrite(plain_text.file, tmp_path, lambda facts: facts["text_config"].update(change))
    with pytest.raises(InputError, match=rf"can't be run here \({message}.*linear or knn"):
        TextTower.load(file)


def test_a_tokenizer_without_a_start_token_is_refused(make_text, kept_tokenizer):
    plain = make_text(tokenizer="owner/name", vocab_size=514, pool_type="eos", eos_id=512, layers=1)
    with pytest.raises(InputError, match="no start token"):
        TextTower.load(place(plain.file, kept_tokenizer))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 0}, "sizes"),
        ({"heads": 5}, "sizes"),
        ({"layers": 10**9}, r"lacks transformer.resblocks.*and \d+ more"),
        ({"layers": 2}, "it has transformer.resblocks.2"),
        ({"width": "wide"}, "text_config|width"),
        ({"vocab_size": 7}, "token_embedding.weight is"),
        ({"context_length": 76}, "two lengths"),
        ({"norm_kwargs": {"eps": "small"}}, "norm_kwargs.eps"),
    ],
)
def test_facts_that_do_not_fit_the_tensors_are_refused(plain_text, tmp_path, change, message):
    file = rewrite(plain_text.file, tmp_path, lambda facts: facts["text_config"].update(change))
    with pytest.raises(InputError, match=message) as raised:
        TextTower.load(file)
    assert "\n" not in str(raised.value)


def test_files_that_are_none_are_refused(plain_text, tmp_path):
    with pytest.raises(InputError, match="is missing"):
        TextTower.load(tmp_path / "absent.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(plain_text.file.read_bytes()[:1000])
    with pytest.raises(InputError, match="can't be read as weights"):
        TextTower.load(damaged)
    tensors = load_file(plain_text.file)
    save_file(tensors, tmp_path / "bare.safetensors")
    with pytest.raises(InputError, match="is not a text tower"):
        TextTower.load(tmp_path / "bare.safetensors")
    del tensors["transformer.resblocks.1.mlp.c_fc.bias"]
    file = rewrite(plain_text.file, tmp_path, lambda facts: None, tensors)
    with pytest.raises(InputError, match=r"resblocks\.1\.mlp\.c_fc\.bias"):
        TextTower.load(file)


def test_a_prompt_that_does_not_fit_is_refused(tower):
    assert tower.encode_text(["a " * 75]).shape == (1, 24)
    with pytest.raises(InputError, match=r"78 positions does not fit .* 77"):
        tower.encode_text(["a " * 76])


def rewrite(file, folder, change, tensors=None):
    """A copy of a tower's file with other facts, or other tensors."""
    from safetensors import safe_open

    with safe_open(str(file), "pt") as opened:
        facts = json.loads(opened.metadata()["text_tower"])
    change(facts)
    out = folder / "changed.safetensors"
    save_file(tensors or load_file(file), out, {"text_tower": json.dumps(facts)})
    return out
