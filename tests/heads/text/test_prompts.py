"""Learned prompts against CoOp's and CoCoOp's own way, and the sizes of the published models."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from clare.errors import InputError
from clare.heads import classifiers
from clare.heads.base import Classifier
from clare.heads.text.facts import TowerFacts
from clare.heads.text.tower import TextTower
from clare.plugins import find_part
from clare.settings import build_settings

LAYOUTS = [
    {"n_ctx": n_ctx, "position": position}
    for position in ("front", "middle", "end")
    for n_ctx in (4, 5)
]
CASES = [
    *(("coop", {**layout, "class_specific": own}) for layout in LAYOUTS for own in (True, False)),
    *(("cocoop", layout) for layout in LAYOUTS),
    ("coop", {"ctx_init": "a photo of a", "class_specific": True}),
    ("cocoop", {"ctx_init": "a photo of a", "hidden": 7}),
]


def make(name, settings, width, text):
    cls = find_part(classifiers, name, Classifier)  # type: ignore[type-abstract]
    return cls(build_settings(name, cls.Settings, settings), width, text)


@pytest.fixture(scope="module")
def tower(plain_text):
    return TextTower.load(plain_text.file).double()


def published_logits(classifier, plain, tower, vectors):
    """As CoOp and CoCoOp are published: 77 positions, one prompt of one image after another."""
    settings, ctx = classifier.settings, classifier.prompts.ctx
    count = ctx.shape[-2]
    words = settings.ctx_init or " ".join("X" * count)
    tokens = tower.tokenize([f"{words} {name}." for name in ("real", "fake")])
    table = plain.model.token_embedding(tokens)
    logits = []
    for vector in functional.normalize(vectors, dim=-1):
        for label in (0, 1):
            context = ctx[label] if ctx.ndim == 3 else ctx
            if classifier.prompts.meta_net is not None:
                context = context + classifier.prompts.meta_net(vector)
            prefix, name, rest = table[label].split([1 + count, 1, 77 - 2 - count])
            half = {"front": 0, "middle": count // 2, "end": count}[settings.position]
            prompt = torch.cat([prefix[:1], context[:half], name, context[half:], rest])
            text = plain.read(prompt, tokens[label].argmax())
            text = functional.normalize(classifier.text_proj(text), dim=-1)
            logits.append(plain.logit_scale * vector @ text)
    return torch.stack(logits).view(-1, 2)


@pytest.mark.parametrize(("name", "settings"), CASES)
@pytest.mark.parametrize("width", [24, 48])
def test_logits_and_gradients_are_those_of_the_published_way(
    plain_text, tower, name, settings, width
):
    torch.manual_seed(0)
    classifier = make(name, settings, width, tower).double()
    vectors = torch.randn(3, width, dtype=torch.float64, requires_grad=True)
    leaves = [vectors, *classifier.parameters()]
    found = classifier(vectors)
    expected = published_logits(classifier, plain_text, tower, vectors)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    labels = torch.tensor([0, 1, 1])
    ours, theirs = (
        torch.autograd.grad(functional.cross_entropy(logits, labels), leaves)
        for logits in (found, expected)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.mark.parametrize(("name", "settings"), [CASES[0], CASES[-3], ("coop", {}), ("cocoop", {})])
def test_stacked_runs_equal_each_alone(tower, name, settings):
    runs = [make(name, settings, 48, tower).double() for _ in range(3)]
    stacked = {
        key: torch.stack([dict(run.named_parameters())[key].detach() for run in runs])
        for key, _ in runs[0].named_parameters()
    }
    vectors = torch.randn(5, 48, dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0, 1])

    def loss(parameters):
        return functional.cross_entropy(functional_call(runs[0], parameters, (vectors,)), labels)

    found = vmap(grad(loss))(stacked)
    for number, run in enumerate(runs):
        functional.cross_entropy(run(vectors), labels).backward()
        for key, parameter in run.named_parameters():
            torch.testing.assert_close(found[key][number], parameter.grad, rtol=1e-7, atol=1e-9)


def empty_tower(width, embed_dim):
    """A tower of a published model's widths, one block deep, whose weights are all zero."""
    shapes = {
        "token_embedding.weight": (49408, width),
        "positional_embedding": (77, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "text_projection": (width, embed_dim),
        "logit_scale": (),
    }
    block = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "mlp.c_fc.weight": (4 * width, width),
        "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (width, 4 * width),
    }
    block |= dict.fromkeys(
        ("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias", "attn.out_proj.bias"), (width,)
    )
    block["mlp.c_proj.bias"] = (width,)
    shapes |= {f"transformer.resblocks.0.{name}": shape for name, shape in block.items()}
    sizes = {"width": width, "heads": width // 64, "layers": 1}
    facts = TowerFacts(sizes, embed_dim, True, 77, "SimpleTokenizer")
    return TextTower({name: torch.zeros(shape) for name, shape in shapes.items()}, facts)


def sizes(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_at_vit_l14_are_the_published_ones():
    tower = empty_tower(768, 768)
    assert sizes(make("coop", {}, 768, tower)) == 12_288
    assert sizes(make("cocoop", {}, 768, tower)) == 86_832
    fused = make("cocoop", {}, 3072, tower)
    assert sizes(fused.prompts) == 750_528
    assert sizes(fused.prompts.meta_net) == 738_240
    assert sizes(fused.text_proj) == 2_362_368
    assert sizes(fused) == 750_528 + 2_362_368
    assert sizes(make("coop", {"class_specific": True}, 768, tower)) == 2 * 12_288


def test_sizes_at_rn50_follow_the_text_width():
    tower = empty_tower(512, 1024)
    assert (tower.width, tower.embed_dim) == (512, 1024)
    assert sizes(make("coop", {}, 1024, tower)) == 16 * 512
    fused = make("coop", {}, 3072, tower)
    assert fused.text_proj.weight.shape == (3072, 1024)


def test_prompts_alone_are_the_learner_and_the_tower_is_never_learned(tower):
    classifier = make("cocoop", {}, 48, tower)
    names = {name for name, _ in classifier.named_parameters()}
    assert {name.split(".")[0] for name in names} == {"prompts", "text_proj"}
    assert set(classifier.state_dict()) == names
    assert {n for n in names if n.startswith("prompts.")} == {
        f"prompts.{name}" for name, _ in classifier.prompts.named_parameters()
    }


def test_contexts_start_at_random_or_at_words(tower):
    torch.manual_seed(0)
    wide = make("coop", {"n_ctx": 60}, 24, tower)
    assert wide.prompts.ctx.std().item() == pytest.approx(0.02, rel=0.1)
    own = make("coop", {"class_specific": True}, 24, tower).prompts.ctx
    assert not torch.equal(own[0], own[1])
    worded = make("coop", {"ctx_init": "a photo of a"}, 24, tower)
    assert torch.equal(worded.prompts.ctx, tower.embed(tower.tokens("a photo of a")[:-1]))
    logits = worded.double()(torch.ones(1, 24, dtype=torch.float64))
    texts = tower.encode_text([f"a photo of a {name}." for name in ("real", "fake")])
    expected = functional.cosine_similarity(torch.ones(1, 24, dtype=torch.float64), texts)
    torch.testing.assert_close(logits[0], tower.logit_scale * expected, rtol=1e-6, atol=1e-6)


def test_the_image_decides_what_cocoop_reads_by_its_direction_alone(tower):
    prompts = make("cocoop", {}, 48, tower).prompts
    vectors = torch.randn(4, 48)
    shifts = prompts(vectors) - prompts.ctx
    assert shifts.shape == (4, 16, 32)
    assert torch.allclose(shifts, shifts[:, :1].expand_as(shifts), atol=1e-6)
    assert torch.allclose(prompts(3 * vectors), prompts(vectors))
    assert not torch.allclose(shifts[0], shifts[1])
    assert isinstance(prompts.meta_net, nn.Sequential)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"n_ctx": 74}, "78 positions does not fit"), ({"n_ctx": 0}, "n_ctx"), ({"hidden": 0}, "0")],
)
def test_settings_that_fit_nothing_are_refused(tower, settings, message):
    with pytest.raises(InputError, match=message):
        make("cocoop", settings, 24, tower)
