"""What each classifier computes.

That every one keeps the contract stands in `tests/clare/testing`.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clare.errors import InputError
from clare.heads import classifiers
from clare.heads.base import Classifier, NoSettings
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


def test_all_are_there():
    assert NAMES == [
        "adapter",
        "cocoop",
        "coop",
        "fixed_prompts",
        "knn",
        "linear",
        "probe",
        "text_similarity",
    ]


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


def test_text_similarity_takes_prompts_of_the_users_own(tower):
    prompts = ["a camera's picture", "a generated picture, 512 px"]
    own = make("text_similarity", tower, 24, prompts=prompts).eval()
    assert torch.equal(own.texts[0], tower.encode_text(prompts))
    assert own(draw(6, 24)).isfinite().all()
    for wrong in ([], prompts[:1], ["real", " "]):
        with pytest.raises(InputError, match="as many of each"):
            make("text_similarity", tower, 24, prompts=wrong)


def test_an_adapter_moves_vectors_and_reads_cosines(tower):
    vectors, prompts = draw(6, 24), ["a real face", "a fake face"]
    classifier = make("adapter", tower, 24, ratio=0.3, hidden=5, prompts=prompts)
    first, second = (one.detach().double() for one in classifier.parameters())
    assert (first.shape, second.shape) == ((5, 24), (24, 5))
    images, texts = vectors.double(), tower.encode_text(prompts).double()
    moved = 0.3 * ((images @ first.T).relu() @ second.T).relu() + 0.7 * images
    expected = tower.logit_scale * torch.cosine_similarity(moved[:, None], texts[None], dim=-1)
    torch.testing.assert_close(classifier(vectors).double(), expected, atol=1e-4, rtol=1e-5)


def test_the_adapter_has_the_published_size_and_prompts(make_text):
    tower = TextTower.load(make_text(width=64, layers=1, embed_dim=768).file)
    classifier = make("adapter", tower, 768)
    assert sum(p.numel() for p in classifier.parameters()) == 589_824
    assert torch.equal(classifier.texts[0], tower.encode_text(["a real photo.", "a fake photo."]))


@pytest.mark.parametrize(
    ("chosen", "told"),
    [({"ratio": 0.0}, "ratio"), ({"hidden": 0}, "hidden"), ({"prompts": ["a"]}, "two texts")],
)
def test_an_adapter_that_can_not_be_is_refused(tower, chosen, told):
    with pytest.raises(InputError, match=told):
        make("adapter", tower, 24, **chosen)


def test_a_part_without_settings_says_so():
    with pytest.raises(InputError, match="linear has no setting 'prompts'; it has normalize"):
        make("linear", None, 24, prompts="x")
    with pytest.raises(InputError, match="it has none"):
        build_settings("bare", NoSettings, {"prompts": "x"})


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
