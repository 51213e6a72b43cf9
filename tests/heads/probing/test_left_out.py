"""Inputs that never vary, and shares below all rows: what is told of them is of one fit."""

from dataclasses import replace

import numpy as np
import pytest

import clare
from clare.errors import InputError
from clare.heads.report.blocks import Table
from tests.heads.probing.probed_store import store_of

SIGNS = np.where(np.arange(240) % 2, 1, -1)
SPLITS = np.resize(np.repeat(["train", "val", "test", "test"], 2), 240)


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """Four layers, of which one is the same for all images."""
    rng = np.random.default_rng(4)
    fields = {f"layer_{n}": rng.normal(size=(240, 3)) + 0.5 * SIGNS[:, None] for n in range(4)}
    fields["layer_2"] = np.ones((240, 3))
    return store_of(tmp_path_factory.mktemp("still") / "features.zarr", fields, SIGNS, SPLITS)


def test_where_nothing_varies_a_sentence_says_so_and_nothing_is_written(still, tmp_path):
    with pytest.raises(InputError, match="no input varies over the training rows"):
        clare.probe(still, tmp_path / "out", inputs=["layer_2"], resamples=0)
    assert not (tmp_path / "out").exists()


def test_an_input_that_never_varies_is_left_out_of_answers_and_page_and_told(still, tmp_path):
    found = clare.probe(
        still,
        tmp_path / "out",
        norms=(),
        kinds=["ridge"],
        ask=["does layer_1 add to layer_0?", "does layer_1 add to layer_2?"],
        resamples=0,
    )
    assert {*found.best()} == {"layer_0", "layer_1", "layer_3"}
    assert [one.base for one in found.answers] == ["layer_0"]
    said = "whether layer_1 adds to layer_2 has no answer: nothing could be fitted to layer_2"
    assert said in found.notices
    page = clare.report([tmp_path / "out"], tmp_path / "page.html")
    assert "Over the layers" in [section.title for section in page.sections]


def test_where_all_shares_are_small_figures_are_those_of_one_seed(still, tmp_path):
    found = clare.probe(
        still,
        tmp_path / "out",
        inputs=["layer_0", "layer_1", "layer_3"],
        norms=["none"],
        kinds=["ridge"],
        fractions=[0.3, 0.6],
        seeds=[3, 1, 2],
        ask=[],
        resamples=0,
    )
    # Even where another seed's validation looks better.
    lucky = [replace(p, val_auc=1.0) if p.seed != 3 else p for p in found.probes]
    best = replace(found, probes=tuple(lucky)).best()
    assert {(one.fraction, one.seed) for one in best.values()} == {(0.6, 3)}
    page = clare.report([tmp_path / "out"], tmp_path / "page.html")
    (shares,) = [one for one in page.sections if one.title == "Fewer training rows"]
    (table,) = [one for one in shares.blocks if isinstance(one, Table)]
    assert {line[0].under for line in table.rows} == {"none, ridge"}
