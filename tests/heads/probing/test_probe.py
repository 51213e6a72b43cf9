"""Probes of a store whose features hold known parts of the truth."""

import csv

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

import clare
from clare.heads.data.dataset import FeatureDataset
from clare.heads.linear.solvers import STRENGTHS
from clare.heads.probing.record import read_record
from tests.heads.probing.probed_store import QUICK


def test_what_tells_fakes_is_found_and_what_does_not_is_at_chance(found):
    best = found.best()
    assert best["clip_cls"].mean.value > 0.75
    assert best["clip_tokens_4:mean"].mean.value > 0.9
    assert best["lare:mean@300"].mean.value > 0.6
    for name in ("clip_tokens_2:mean", "clip_tokens_6:max"):
        assert best[name].mean.low < 0.55


def test_a_probe_is_a_plain_ridge_on_the_same_rows(probed, tmp_path):
    found = clare.probe(
        probed,
        tmp_path / "one",
        inputs=["clip_cls"],
        norms=["standard"],
        kinds=["ridge"],
        test=["swap"],
        **QUICK,
    )
    rows = {}
    for split in ("train", "val", "test"):
        subsets = ["gan"] if split != "test" else ["swap"]
        data = FeatureDataset(probed, ["clip_cls"], subsets=subsets, split=split)
        rows[split] = data.read(range(len(data)))["clip_cls"].numpy().astype(float), data.labels
    x, labels = rows["train"]
    mean, deviation = x.mean(0), x.std(0)
    plain = []
    for strength in STRENGTHS:
        one = Ridge(alpha=strength * len(x)).fit((x - mean) / deviation, 2 * labels - 1)
        aucs = [
            roc_auc_score(y, one.predict((values - mean) / deviation))
            for values, y in (rows["val"], rows["test"])
        ]
        plain.append(aucs)
    (probe,) = found.probes
    assert [*probe.path.values()] == pytest.approx([val for val, _ in plain])
    chosen = STRENGTHS.index(probe.strength)
    assert plain[chosen][0] == pytest.approx(max(val for val, _ in plain))
    assert probe.tests["swap"].value == pytest.approx(plain[chosen][1])


def test_strengths_may_come_in_any_order(probed, tmp_path):
    chosen = []
    for number, strengths in enumerate(([10, 1, 0.1], [0.1, 1, 10, 10])):
        found = clare.probe(
            probed,
            tmp_path / str(number),
            inputs=["clip_cls"],
            kinds=["ridge"],
            strengths=strengths,
            test=["swap"],
            **QUICK,
        )
        chosen.append([one.strength for one in found.probes])
        assert found.fitted == 4 * 3
    assert chosen[0] == chosen[1]


def test_smaller_shares_are_fitted_once_a_seed(probed, tmp_path):
    found = clare.probe(
        probed,
        tmp_path / "shares",
        inputs=["clip_cls"],
        norms=["none"],
        kinds=["centroid"],
        fractions=[0.25, 1],
        seeds=[0, 1, 2],
        test=["swap"],
        **QUICK,
    )
    shares = [(one.fraction, one.seed) for one in found.probes]
    assert shares == [(0.25, 0), (0.25, 1), (0.25, 2), (1, 0)]
    assert {one.rows for one in found.probes} == {80, 320}
    assert len({one.tests["swap"].value for one in found.probes}) == 4


def test_what_is_written_is_what_is_returned(found_at):
    found, folder = found_at
    assert read_record(folder) == found
    with (folder / "probes.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(found.probes) + len(found.untrained)
    assert float(lines[0]["swap_auc"]) == found.probes[0].tests["swap"].value
    assert {one.name for one in folder.iterdir()} == {"probes.json", "probes.csv"}
    assert not list(folder.parent.glob("**/*.npy"))


def test_the_page_shows_inputs_layers_answers_and_likeness(found_at, tmp_path):
    found, folder = found_at
    page = clare.report([folder], tmp_path / "page.html")
    titles = [section.title for section in page.sections]
    assert titles[:3] == ["Inputs", "Over the layers", "Does it add?"]
    assert "the control, the mean of 10 shuffles: the added" in (tmp_path / "page.html").read_text()
    assert "Validation likes clip_tokens_4:" in page.answer[0]
    clear = {said.partition(" ")[0] for said in page.answer[1:] if "it adds 0." in said}
    assert clear == {"lare:mean@300", "clip_cls"}
    assert np.allclose(np.diag(found.alike), 1)
