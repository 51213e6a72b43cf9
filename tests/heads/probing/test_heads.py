"""A probe becomes a run that scores as it does."""

from typing import Any

import pytest

import clare
from clare.errors import InputError
from clare.heads.tokens import tokens_of
from tests.heads.probing.probed_store import (
    CLIP,
    LARE,
    OTHER_LARE,
    SECOND,
    create_probed,
    fill,
    make_rows,
)


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


@pytest.fixture(scope="module")
def doubled(tmp_path_factory):
    """A store with two fingerprints of CLIP, and two of LaRE."""
    store = create_probed(tmp_path_factory.mktemp("doubled") / "features.zarr", 400, 100)
    for subset, count, splits in (("gan", 400, ()), ("swap", 100, (("test",),))):
        fill(store, make_rows(subset, count, *splits), [SECOND, OTHER_LARE], "other")
    return store


@pytest.mark.parametrize(
    ("field", "prints", "roles"),
    [
        ("clip_cls#{}", (CLIP, SECOND), ("cls", "cls_2")),
        ("clip_tokens_4#{}:top", (SECOND, CLIP), ("tokens", "tokens_2")),
        ("lare#{}:mean@300", (OTHER_LARE, LARE), ("lare_steps", "lare_steps_2")),
    ],
)
def test_so_do_sums_of_one_field_of_two_fingerprints(doubled, tmp_path, field, prints, roles):
    found = clare.probe(
        doubled,
        tmp_path / "sums",
        inputs=["+".join(field.format(one.digest[:8]) for one in prints)],
        norms=["standard"],
        kinds=["ridge"],
        test=["gan", "swap"],
        ask=[],
        train=["gan"],
        resamples=0,
    )
    run = check_run(found, found.probes[0], doubled, tmp_path / "run")
    name = field.partition("#")[0]
    marked = tuple(f"{name}#{one.digest[:8]}" for one in prints)
    assert run.record.config.detector.fields == dict(zip(roles, marked, strict=True))
    assert {run.record.digests[one] for one in marked} == {one.digest for one in prints}
    assert run.record.digests[marked[1]] == prints[1].digest


def test_beside_them_stand_fields_of_one_fingerprint(doubled, tmp_path):
    """What only one of them is read of is named by its extractor, as ever."""
    parts = [f"clip_cls#{one.digest[:8]}" for one in (CLIP, SECOND)]
    one = f"lare#{LARE.digest[:8]}:grid@100"
    found = clare.probe(
        doubled,
        tmp_path / "sums",
        inputs=["+".join([parts[0], one, parts[1]])],
        norms=["l2"],
        kinds=["ridge"],
        test=["gan", "swap"],
        ask=[],
        train=["gan"],
        resamples=0,
    )
    head: Any = found.head_of(found.probes[0])
    assert head["fields"] == dict(zip(("cls", "cls_2"), parts, strict=True))
    assert head["features"] == {"lare": LARE.digest}
    check_run(found, found.probes[0], doubled, tmp_path / "run")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("lare:grid@300",), "steps of LaRE, named here by their place from 0 on"),
        (("cls", "tokens_x:mean"), "has no part 'tokens_x:mean'"),
        (("cls_1",), "has no part 'cls_1'"),
        (("lare_2:mean_2",), "has no part 'lare_2:mean_2'"),
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
