"""A probe becomes a run that scores as it does."""

from typing import Any

import pytest

import clare
from clare.errors import InputError
from clare.heads.tokens import tokens_of
from clare.store.feature_store import create_store
from tests.heads.probing.probed_store import CLIP, QUICK, SECOND, fill, make_rows


def check_run(found, probe, probed, folder):
    run = clare.train_head(probed, folder, **found.head_of(probe))
    assert run.validation.metrics["auc"].value == pytest.approx(probe.val_auc, abs=1e-3)
    tested = clare.evaluate(run.path, probed, ["gan", "swap"], resamples=0)
    for subset, auc in tested.record.aucs.items():
        assert auc == pytest.approx(probe.tests[subset].value, abs=1e-3)
    return run


@pytest.mark.parametrize("name", ["clip_cls", "clip_tokens_4:max", "lare:grid@300"])
def test_a_probe_becomes_a_run_with_the_same_figures(found, probed, tmp_path, name):
    check_run(found, found.best()[name], probed, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("clip_tokens_2:max+clip_tokens_4:top+lare:mean@100+lare:mean@300", "standard"),
        ("clip_cls+lare:grid@300", "l2"),
        ("clip_tokens_4:by-lare", "whiten"),
    ],
)
def test_so_do_sums_ranked_tokens_and_weighed_ones(probed, tmp_path, name, norm):
    found = clare.probe(
        probed,
        tmp_path / "sums",
        inputs=[name],
        norms=[norm],
        kinds=["ridge"],
        test=["gan", "swap"],
        ask=[],
        train=["gan"],
        resamples=0,
    )
    check_run(found, found.probes[0], probed, tmp_path / "run")


def test_so_do_three_layers_of_a_tower_beside_lare(probed, tmp_path):
    """And the run is exported as others are."""
    layers = "+".join(f"clip_tokens_{layer}:mean" for layer in (2, 4, 6))
    found = clare.probe(
        probed,
        tmp_path / "wide",
        inputs=[f"{layers}+clip_cls+lare:mean@300"],
        norms=["standard"],
        kinds=["ridge"],
        test=["gan", "swap"],
        ask=[],
        train=["gan"],
        resamples=0,
    )
    run = check_run(found, found.probes[0], probed, tmp_path / "run")
    head: Any = found.head_of(found.probes[0])
    assert head["fields"] == {
        "cls": "clip_cls",
        "tokens": "clip_tokens_2",
        "tokens_2": "clip_tokens_4",
        "tokens_3": "clip_tokens_6",
    }
    named = tokens_of(run.record.config.detector)
    assert named == "clip_tokens_2+clip_tokens_4+clip_tokens_6"
    made = clare.export(run.path, tmp_path / "head.safetensors", head_only=True)
    assert made.difference < 1e-4


def test_one_field_of_two_towers_has_no_run(tmp_path):
    store = create_store(tmp_path / "features.zarr")
    for tower in (CLIP, SECOND):
        fill(store, make_rows("gan", 80), [tower], tower.weights)
    names = [f"clip_cls#{key.rpartition('-')[2][:8]}" for key in store.extractor_keys()]
    quick: dict[str, Any] = {"norms": ["none"], "kinds": ["centroid"], "test": ["gan"], "ask": []}
    found = clare.probe(store, tmp_path / "out", inputs=["+".join(names)], **quick, **QUICK)
    assert found.head_of(found.probes[0]) is None


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("lare:grid@300",), "steps of LaRE, named here by their place from 0 on"),
        (("cls", "tokens_x:mean"), "has no part 'tokens_x:mean'"),
        (("cls_1",), "has no part 'cls_1'"),
        (("lare_2:grid",), "has no part 'lare_2:grid'"),
        (("tokens_3:mean@1",), "has no part 'tokens_3:mean@1'"),
    ],
)
def test_parts_that_are_not_there_are_said(probed, tmp_path, parts, said):
    fields = {"cls": "clip_cls", "tokens": "clip_tokens_2"}
    head: dict[str, Any] = {
        "fusion": "side_by_side",
        "fusion_settings": {"parts": list(parts)},
        "fields": fields,
    }
    with pytest.raises(InputError, match=said):
        clare.train_head(probed, tmp_path / "run", train=["gan"], classifier="probe", **head)
