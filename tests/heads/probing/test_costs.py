"""What an input costs, and the frontier of cost and AUC."""

import json

import pytest

import clare
from tests.heads.probing.probed_store import CLIP, LARE, create_probed

COSTS = {
    CLIP.key: {"operations": 3_000_000_000, "shared": 0},
    LARE.key: {"operations": 10_000_000_000, "shared": 2_000_000_000},
}


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    store = create_probed(tmp_path_factory.mktemp("priced") / "features.zarr", 400, 100)
    for key, cost in COSTS.items():
        store.write_assets(key, {"cost.json": json.dumps(cost).encode()})
    return store


@pytest.fixture(scope="module")
def found(priced, tmp_path_factory):
    out = tmp_path_factory.mktemp("probes") / "out"
    names = ["clip_cls", "clip_tokens_4:mean", "clip_tokens_4:by-lare", "lare:mean@300"]
    sums = ["clip_cls+lare:mean@100+lare:mean@300", "clip_cls+lare:mean@300"]
    record = clare.probe(
        priced,
        out,
        train=["gan"],
        test=["swap"],
        inputs=[*names, *sums],
        norms=["standard"],
        kinds=["centroid"],
        ask=[],
        resamples=200,
    )
    return record, out


def test_towers_count_whole_and_of_lare_the_steps_that_are_read(found):
    costs = found[0].costs
    assert costs["clip_cls"] == costs["clip_tokens_4:mean"] == 3
    assert costs["lare:mean@300"] == 2 + 4
    assert costs["clip_tokens_4:by-lare"] == costs["clip_cls+lare:mean@300"] == 3 + 2 + 4
    assert costs["clip_cls+lare:mean@100+lare:mean@300"] == 3 + 10


def test_the_page_names_what_is_worth_its_cost(found, tmp_path):
    record, out = found
    best = {name: one.val_auc for name, one in record.best().items()}
    assert best["clip_tokens_4:mean"] > best["lare:mean@300"]
    page = clare.report([out], tmp_path / "page.html")
    (said,) = [one for one in page.answer if one.startswith("By cost")]
    assert "clip_tokens_4:mean at 3 GFLOP an image (AUC on test rows" in said
    assert said.endswith("on validation, by point estimates that were not tested for a difference.")
    assert " lare:mean@300 at" not in said  # dearer, and worse
    assert "What it costs" in [section.title for section in page.sections]


def test_without_costs_nothing_is_said_of_them(probed, tmp_path):
    out = tmp_path / "out"
    record = clare.probe(
        probed,
        out,
        train=["gan"],
        test=["swap"],
        inputs=["clip_cls"],
        norms=["none"],
        kinds=["centroid"],
        ask=[],
        resamples=0,
    )
    assert record.costs == {}
    page = clare.report([out], tmp_path / "page.html")
    assert not any(one.startswith("By cost") for one in page.answer)
