"""Training on pairs: the pair loss, and that places, kills and company change nothing."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from clare.errors import InputError
from clare.heads.base import Inputs
from clare.heads.config import DetectorConfig, Machine, TrainConfig, create_config, read_preset
from clare.heads.data.table import FeatureTable
from clare.heads.detector import Detector
from clare.heads.runs.record import read_history, read_record
from clare.heads.training.learner import Learner
from clare.heads.training.losses import pair_ranking
from clare.heads.training.trainer import Observer, Plan, train_run, train_runs

PAIRS = TrainConfig(
    DetectorConfig("cls", "linear"), lr=0.02, epochs=3, batch=10, pair_loss=0.5, pair_margin=2.0
)


@pytest.fixture(scope="module")
def store(tmp_path_factory, build_store, rows_of):
    """Pairs in two views, and further reals."""
    rows = [
        rows_of["row"](
            "vae",
            f"{'fake' if label else 'real'}/{n}",
            label,
            "train" if n % 3 else "val",
            view,
            pair_id=f"mine/{n}",
            pair_kind="vae",
        )
        for n in range(36)
        for label in (0, 1)
        for view in range(2 if n % 3 else 1)
    ]
    pool = rows_of["plain"]("pool", 0, 24)
    return build_store(tmp_path_factory.mktemp("pairs") / "f.zarr", {"vae": rows, "pool": pool})


def weights(run):
    return load_file(run / "best.safetensors")


def same(first, second, tolerance=0.0):
    one, other = weights(first), weights(second)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=tolerance)
    for mine, theirs in zip(read_history(first), read_history(second), strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=0, abs=tolerance)


def test_batches_hold_whole_pairs_and_the_rest_between_them(store, tmp_path, monkeypatch):
    seen, plans = [], []
    read = FeatureTable.batches

    def spy(self, order, fields, change=None):
        order = list(order)
        if any(self.rows.column("pair_kind").tolist()) and max(map(len, order)) <= 10:
            seen.append([[self.rows[p] for p in some] for some in order])
        return read(self, order, fields, change)

    class Look(Observer):
        def planned(self, plan: Plan) -> None:
            plans.append(plan)

    monkeypatch.setattr(FeatureTable, "batches", spy)
    whole = replace(PAIRS, pair_loss=0.0, pair_batches=True)
    train_run(whole, store, tmp_path / "run", observer=Look())
    epochs = [batches for batches in seen if len(batches) == 7]
    assert len(epochs) == 3 and sum(map(len, epochs[0])) == 48 + 15
    for batches in epochs:
        for batch in batches:
            pairs = [row.columns["pair_id"] for row in batch if "pair_id" in row.columns]
            assert all(pairs.count(pair) == 2 for pair in pairs)
    assert any("24 pairs, and 15 rows without one" in note.what for note in plans[0].notes)


def test_streams_kills_and_company_change_nothing(store, tmp_path):
    class Stopping(Observer):
        def epoch(self, run, record):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

    often = Machine(checkpoint_seconds=0)
    train_run(PAIRS, store, tmp_path / "whole", often)
    train_run(PAIRS, store, tmp_path / "disk", Machine(memory="disk"))
    with pytest.raises(KeyboardInterrupt):
        train_run(PAIRS, store, tmp_path / "cut", often, Stopping())
    train_run(PAIRS, store, tmp_path / "cut", often)
    same(tmp_path / "whole", tmp_path / "disk")
    same(tmp_path / "whole", tmp_path / "cut")
    others = ({"seed": 1}, {"pair_loss": 0.0}, {"pair_loss": 2.0})
    beside = [PAIRS, *(create_config(other, PAIRS) for other in others)]
    folders = [tmp_path / f"beside-{n}" for n in range(4)]
    assert train_runs(beside, store, folders) == [None] * 4
    same(tmp_path / "whole", folders[0], 1e-5)
    for number, config in enumerate(beside[1:], 1):
        train_run(config, store, tmp_path / f"alone-{number}")
        same(tmp_path / f"alone-{number}", folders[number], 1e-5)
    found = read_record(tmp_path / "whole").config
    assert (found.pair_loss, found.pair_margin, found.takes_pairs) == (0.5, 2.0, True)


def test_the_preset_trains_on_pairs(store, tmp_path):
    train_run(replace(read_preset("clare-pairs"), epochs=1), store, tmp_path / "run")
    assert read_record(tmp_path / "run").rows["train"] == {"real": 39, "fake": 24}


def test_the_pair_loss_is_added_with_its_weight():
    config = replace(PAIRS, balance=False)
    labels, groups = torch.tensor([0, 1, 1, 0, 0]), torch.tensor([4, 4, 2, 2, 7])
    inputs: Inputs = {"cls": torch.randn(5, 8, generator=torch.Generator().manual_seed(0))}
    losses = []
    for weight in (0.0, 0.5):
        torch.manual_seed(0)
        detector = Detector(config.detector, {"clip_cls": (8,)}, None)
        own = replace(config, pair_loss=weight)
        learner = Learner([detector], [own], labels)
        losses.append(learner.step(inputs, labels[None], [0.1], groups if weight else None))
    torch.manual_seed(0)
    fresh = Detector(config.detector, {"clip_cls": (8,)}, None)
    with torch.no_grad():
        found = pair_ranking(fresh.classifier(fresh.fusion(inputs)), labels, groups, 2.0)
    assert float(losses[1] - losses[0]) == pytest.approx(0.5 * float(found), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 1}, "a real and its fakes are up to 2 rows, and a batch takes 1.*batch=2"),
        ({"slerp": True, "classifier_settings": {"normalize": True}}, "slerp mixes each image"),
        ({"pair_loss": -1.0}, "pair_loss can't be -1.0"),
        ({"pair_margin": float("inf")}, "pair_margin can't be inf"),
    ],
)
def test_what_can_not_be_is_refused(store, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        train_run(create_config(settings, PAIRS), store, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_pairs_do_not_change_is_said(store, tmp_path):
    plans: list[Plan] = []

    class Look(Observer):
        def planned(self, plan):
            plans.append(plan)

    bank = create_config({"classifier": "knn"}, PAIRS)
    train_run(bank, store, tmp_path / "bank", observer=Look())
    train_run(replace(PAIRS, pair_loss=0.0, epochs=1), store, tmp_path / "plain", observer=Look())
    told = [" ".join(note.what for note in plan.notes) for plan in plans]
    assert "knn takes no steps, and pairs change nothing" in told[0]
    assert "pair_margin changes nothing without pair_loss" in told[1]
