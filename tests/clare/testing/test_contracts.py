"""Our own parts keep the contracts that others' parts are asked to keep; broken ones don't."""

from types import MappingProxyType

import pytest

from clare.heads import classifiers, decoders, fusion
from clare.models.tiny import tiny_overrides
from clare.models.tuning import list_tunings
from clare.pipeline.extractors import list_extractors
from clare.plugins import list_parts
from clare.testing import (
    ClassifierContract,
    DecoderContract,
    ExtractorContract,
    FusionContract,
    TuningContract,
)
from clare.testing.tuning import Kind


class TestCls(FusionContract):
    part = "cls"


class TestConcat(FusionContract):
    part = "concat"


class TestCrossAttn(FusionContract):
    part = "cross_attn"


class TestCrossAttnByItsMean(FusionContract):
    part, settings = "cross_attn", {"query": "mean"}


class TestEsa(FusionContract):
    part = "esa"


class TestLare(FusionContract):
    part = "lare"


class TestLareTokensByEsa(FusionContract):
    part = "lare_tokens_t"


class TestLareTokensByCrossAttention(FusionContract):
    part, settings = "lare_tokens_t", {"attention": "cross_attn"}


class TestLareTrajectory(FusionContract):
    part = "lare_trajectory"


class TestPooled(FusionContract):
    part = "pooled"


class TestPooledLare(FusionContract):
    part = "pooled_lare"


class TestSideBySide(FusionContract):
    part = "side_by_side"


class TestSideBySideOfTokens(FusionContract):
    part = "side_by_side"
    settings = MappingProxyType({"parts": ("tokens:top", "tokens:by-lare", "cls", "lare:mean@2")})


class TestRoi(FusionContract):
    part = "roi"


class TestFixedPrompts(ClassifierContract):
    part = "fixed_prompts"


class TestCoCoOp(ClassifierContract):
    part = "cocoop"


class TestCoOp(ClassifierContract):
    part = "coop"


class TestKnn(ClassifierContract):
    part = "knn"


class TestProbe(ClassifierContract):
    part = "probe"


class TestUnitProbe(ClassifierContract):
    part, settings = "probe", {"norm": "l2", "kind": "centroid"}


class TestLinear(ClassifierContract):
    part = "linear"


class TestNormalizedLinear(ClassifierContract):
    part, settings = "linear", {"normalize": True}


class TestAdapter(ClassifierContract):
    part = "adapter"


class TestTextSimilarity(ClassifierContract):
    part = "text_similarity"


class TestAttentionDecoder(DecoderContract):
    part = "attention"


class TestAttentionDecoderAsPublished(DecoderContract):
    part, settings = "attention", {"causal": True, "train": "published", "start": "declip"}


class TestConv4(DecoderContract):
    part = "conv_4"


@pytest.mark.slow
class TestConv12(DecoderContract):
    part = "conv_12"


@pytest.mark.slow
class TestConv20(DecoderContract):
    part = "conv_20"


@pytest.mark.slow
class TestConv4AsPublished(DecoderContract):
    part, settings = "conv_4", {"start": "declip"}


class TestLinearDecoder(DecoderContract):
    part = "linear"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return tiny_overrides(tmp_path_factory.mktemp("tiny"))


class Tiny(ExtractorContract):
    @pytest.fixture(autouse=True)
    def _tiny(self, tiny):
        self.settings = tiny.get(self.part, {})


class TestFaceParts(Tiny):
    part = "face_parts"


class TestClip(Tiny):
    part = "clip"


class TestLareMaps(Tiny):
    part = "lare"


class TestMask(Tiny):
    part = "mask"


class TestPixels(Tiny):
    part = "pixels"


class TestTower(Tiny):
    part = "tower"


class TestXception(ExtractorContract):
    part, settings = "xception", {"size": 64}


TOWERS: tuple[Kind, ...] = ("vit", "timm", "pe", "dinov3")


class TestLayerNorms(TuningContract):
    part, kinds = "ln", TOWERS


class TestFull(TuningContract):
    part, kinds = "full", (*TOWERS, "rn50")


class TestFullWithStatistics(TuningContract):
    part, kinds, settings = "full", ("rn50",), {"batchnorm": "train"}


class TestBlocks(TuningContract):
    part, settings = "blocks", {"last": 1}


class TestAdapters(TuningContract):
    part, kinds = "adapter", TOWERS


class TestDeepPrompts(TuningContract):
    part, kinds = "visual_prompts", ("vit", "timm")


class TestShallowPrompts(TuningContract):
    part, kinds, settings = "visual_prompts", ("vit", "timm"), {"deep": False}


def test_every_part_is_here():
    here = [cls for cls in globals().values() if isinstance(cls, type) and hasattr(cls, "part")]
    for contract, names in (
        (FusionContract, list_parts(fusion)),
        (ClassifierContract, list_parts(classifiers)),
        (DecoderContract, list_parts(decoders)),
        (ExtractorContract, list_extractors()),
        (TuningContract, list_tunings()),
    ):
        assert {cls.part for cls in here if issubclass(cls, contract)} == set(names)


FILM = """
from clare.heads.base import Fusion
import torch


class Film(Fusion):
    \"\"\"The class token, scaled.\"\"\"

    roles = ("cls",)

    def __init__(self, settings, shapes):
        super().__init__(settings, shapes)
        (self.width,) = self.shapes["cls"]
        self.scale = torch.nn.Parameter(torch.randn(self.width))
        {more}

    def forward(self, inputs):
        return {vectors}
"""

ZERO = """
from clare.heads.base import Classifier
from torch import nn


class Zero(Classifier):
    \"\"\"A linear layer that starts at zero.\"\"\"

    normalizes = False

    def __init__(self, settings, width, text):
        super().__init__(settings, width, text)
        self.layer = nn.Linear(width, 2)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, vectors):
        return self.layer(vectors).float()
"""


def keep(tmp_path, vectors, more=""):
    """What of the contract a fusion that gives these vectors keeps."""
    (tmp_path / "film.py").write_text(FILM.format(vectors=vectors, more=more), "utf-8")

    class Film(FusionContract):
        part = str(tmp_path / "film.py")

    def holds(name):
        try:
            getattr(Film(), name)()
        except (AssertionError, RuntimeError):
            return False
        return True

    plain = [name for name in dir(Film) if name.startswith("test_") and "saved" not in name]
    return {name for name in plain if holds(name)}, set(plain)


@pytest.mark.parametrize(
    ("vectors", "broken"),
    [
        ("inputs['cls'] * self.scale", None),
        ("(inputs['cls'] - inputs['cls'].mean(0)) * self.scale", "depends_on_no_other"),
        ("inputs['cls'] * self.scale.detach()", "gets_a_gradient"),
        ("inputs['cls'].mul_(2) * self.scale", "left_as_they_are"),
        ("inputs['cls'][:, 1:] * self.scale[1:]", "have_the_width"),
        ("inputs['cls'] * (self.scale if self.scale.sum() > 0 else 1)", "step_together"),
    ],
    ids=["sound", "batch norm", "no gradient", "in place", "width", "branch"],
)
def test_a_fusion_that_breaks_the_contract_is_told_so(tmp_path, vectors, broken):
    kept, every = keep(tmp_path, vectors)
    if broken is None:
        assert kept == every
    else:
        assert any(broken in name for name in every - kept)


@pytest.mark.parametrize(("inner", "reached"), [("ones", True), ("zeros", False)])
def test_a_layer_may_start_at_zero_where_steps_move_it(tmp_path, inner, reached):
    more = (
        "self.gate = torch.nn.Parameter(torch.zeros(self.width)); "
        f"self.inner = torch.nn.Parameter(torch.{inner}(self.width))"
    )
    vectors = "inputs['cls'] * (self.scale + self.gate * self.inner)"
    kept, every = keep(tmp_path, vectors, more)
    assert every - kept == (set() if reached else {"test_all_that_learns_gets_a_gradient"})


def test_a_fusion_may_start_as_what_it_reads(tmp_path):
    kept, every = keep(tmp_path, "inputs['cls'] * self.scale", "torch.nn.init.ones_(self.scale)")
    assert kept == every


def test_a_classifier_may_start_at_zero(tmp_path):
    file = tmp_path / "zero.py"
    file.write_text(ZERO, "utf-8")

    class Zero(ClassifierContract):
        part = str(file)

    Zero().test_two_finite_logits_an_image()
    Zero().test_all_that_learns_gets_a_gradient_and_so_does_what_lies_below()
    Zero().test_the_seed_decides_where_it_starts()
    Zero().test_it_says_whether_only_the_direction_counts()
