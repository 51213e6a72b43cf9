"""What every classifier keeps to, and what each computes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clare.errors import InputError
from clare.heads import classifiers
from clare.heads.base import Classifier
from clare.heads.classifiers.text_similarity import PROMPTS
from clare.heads.text.tower import TextTower
from clare.plugins import find_part, list_parts
from clare.settings import build_settings

NAMES = list_parts(classifiers)
WIDTH = 48


@pytest.fixture(scope="module")
def tower(plain_text):
    return TextTower.load(plain_text.file)


def make(name, text, width=WIDTH, seed=0, **chosen):
    cls = find_part(classifiers, name, Classifier)  # type: ignore[type-abstract]
    torch.manual_seed(seed)
    return cls(build_settings(name, cls.Settings, chosen), width, text)


@pytest.fixture
def ready(tower):
    """Make a classifier that has seen training vectors, in evaluation mode."""

    def build(name, width=WIDTH, **chosen):
        classifier = make(name, tower, width, **chosen)
        generator = torch.Generator().manual_seed(1)
        classifier.fit(torch.randn(20, width, generator=generator), torch.arange(20) % 2)
        return classifier.eval()

    return build


def draw(rows=6, width=WIDTH):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(2))


def test_the_five_are_there():
    assert NAMES == ["cocoop", "coop", "knn", "linear", "text_similarity"]


@pytest.mark.parametrize("width", [24, WIDTH])  # CLIP's own, and another
@pytest.mark.parametrize("name", NAMES)
def test_two_finite_logits_an_image_whatever_its_neighbours(ready, name, width):
    classifier, vectors = ready(name, width), draw(6, width)
    logits = classifier(vectors)
    assert logits.shape == (6, 2) and logits.dtype == torch.float32
    assert logits.isfinite().all() and logits.std() > 0
    one_by_one = torch.cat([classifier(vector[None]) for vector in vectors])
    torch.testing.assert_close(one_by_one, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_everything_learns(ready, name):
    classifier, vectors = ready(name), draw().requires_grad_()
    loss = torch.nn.functional.cross_entropy(classifier(vectors), torch.arange(6) % 2)
    loss.backward()
    for leaf in (vectors, *classifier.parameters()):
        assert leaf.grad is not None and leaf.grad.isfinite().all() and leaf.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_gives_the_same_logits(ready, tower, name):
    classifier, vectors = ready(name), draw()
    fresh = make(name, tower, seed=9).eval()
    state = {key: value.clone() for key, value in classifier.state_dict().items()}
    fresh.load_state_dict(state)
    assert torch.equal(fresh(vectors), classifier(vectors))
    assert not any("text." in key or "texts" in key for key in state)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_where_it_starts(tower, name):
    first, again, other = (list(make(name, tower, seed=s).parameters()) for s in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not first or any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_is_close(ready, name):
    classifier, vectors = ready(name), draw()
    expected = classifier(vectors)
    with torch.autocast("cpu", torch.bfloat16):
        found = classifier(vectors)
    assert (found - expected).abs().max() < 0.02 * expected.abs().max() + 0.01


@pytest.mark.parametrize(
    ("name", "chosen"), [*((n, {}) for n in NAMES), ("linear", {"normalize": True})]
)
def test_it_says_whether_only_the_direction_counts(ready, name, chosen):
    classifier, vectors = ready(name, **chosen), draw()
    same = torch.allclose(classifier(vectors), classifier(5 * vectors), rtol=1e-4, atol=1e-4)
    assert same == classifier.normalizes


@pytest.mark.parametrize("name", NAMES)
def test_only_those_that_need_text_ask_for_it(name):
    cls = find_part(classifiers, name, Classifier)  # type: ignore[type-abstract]
    if cls.needs_text:
        with pytest.raises(InputError, match="needs the text tower"):
            make(name, None)
    else:
        assert make(name, None) is not None
    assert cls.has_prompts == (name in ("coop", "cocoop"))


def test_linear_is_one_layer():
    classifier, vectors = make("linear", None, normalize=True), draw()
    weight, bias = classifier.parameters()
    expected = vectors / vectors.norm(dim=1, keepdim=True) @ weight.T + bias
    torch.testing.assert_close(classifier(vectors), expected)
    assert sum(p.numel() for p in make("linear", None, 1024).parameters()) == 2_050


@settings(max_examples=30, deadline=None)
@given(
    k=st.integers(1, 3), reals=st.integers(3, 9), fakes=st.integers(3, 9), seed=st.integers(0, 99)
)
def test_knn_is_the_mean_cosine_of_the_nearest(k, reals, fakes, seed):
    rng = np.random.default_rng(seed)
    bank, asked = rng.normal(size=(reals + fakes, 5)), rng.normal(size=(4, 5))
    labels = rng.permutation([0] * reals + [1] * fakes)
    classifier = make("knn", None, 5, k=k).double()
    classifier.fit(torch.from_numpy(bank), torch.from_numpy(labels))
    cosines = (asked @ bank.T) / np.outer(
        np.linalg.norm(asked, axis=1), np.linalg.norm(bank, axis=1)
    )
    expected = [np.sort(cosines[:, labels == c], axis=1)[:, -k:].mean(1) for c in (0, 1)]
    found = classifier(torch.from_numpy(asked)).numpy()
    np.testing.assert_allclose(found, 100 * np.stack(expected, 1), rtol=1e-9, atol=1e-9)


def test_knn_finds_a_training_image_again(ready):
    classifier, vectors = make("knn", None), draw(8)
    classifier.fit(vectors, torch.arange(8) % 2)
    margin = classifier(7 * vectors).diff(dim=1)[:, 0]
    assert ((margin > 0) == (torch.arange(8) % 2 == 1)).all()


def test_knn_refuses_banks_that_are_too_small():
    classifier = make("knn", None, k=3)
    with pytest.raises(InputError, match=r"k = 3 needs as many fake .* there are 2"):
        classifier.fit(draw(8), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1]))
    with pytest.raises(InputError, match="k can't be 0"):
        make("knn", None, k=0)


def test_text_similarity_reads_six_statistics_of_its_prompts(tower):
    classifier, vectors = make("text_similarity", tower, 24).eval(), draw(6, 24)
    texts = tower.encode_text(PROMPTS).numpy()
    images = vectors.numpy() / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = images @ (texts / np.linalg.norm(texts, axis=1, keepdims=True)).T
    real, fake = cosines[:, [0, 2, 4]].mean(1), cosines[:, [1, 3, 5]].mean(1)
    rest = [cosines.mean(1), real - fake, cosines.std(1, ddof=1), cosines.max(1)]
    expected = np.stack([real, fake, *rest], 1)
    seen = []
    classifier.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    classifier(vectors)
    np.testing.assert_allclose(seen[0][:, 128:].detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_text_similarity_has_the_published_size(make_text):
    tower = TextTower.load(make_text(width=64, layers=1, embed_dim=512).file)
    classifier = make("text_similarity", tower, 512)
    parts = [sum(p.numel() for p in m.parameters()) for m in (classifier.adapter, classifier.head)]
    assert parts == [164_224, 51_138]
    assert sum(p.numel() for p in classifier.parameters()) == 215_362


def test_text_similarity_drops_out_in_training_only(ready):
    classifier, vectors = ready("text_similarity"), draw()
    assert torch.equal(classifier(vectors), classifier(vectors))
    classifier.train()
    assert not torch.equal(classifier(vectors), classifier(vectors))
