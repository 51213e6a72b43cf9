"""Presets of published trainings: their rates epoch by epoch, and that each runs."""

from itertools import pairwise

import pytest
import torch

from clare.heads.config import Machine, create_config, list_presets, read_preset
from clare.heads.runs.record import read_history, read_record, read_validation
from clare.heads.training.schedule import learning_rate
from clare.heads.training.trainer import train_run
from tests.heads.tuned_store import create_tuned

STEPS = 20
LADDER = ("linear-probe", "gend-ln", "gend-ln-norm", "gend-ln-norm-slerp")
TUNED = [name for name in list_presets() if read_preset(name).detector.is_tuned]


def rates(preset, steps=STEPS):
    """Of every step, epoch after epoch."""
    config = read_preset(preset)
    return [
        [learning_rate(config, epoch, step / steps) for step in range(steps)]
        for epoch in range(1, config.epochs + 1)
    ]


@pytest.mark.parametrize("preset", ["gend", "gend-cached"])
def test_gend_s_rates(preset):
    """One epoch up from 1e-5, cosines of ten epochs, of which the third is cut at nine tenths."""
    path = rates(preset)
    assert len(path) == 30 and path[0][0] == 1e-5
    rises = [after - before for before, after in pairwise(path[0])]
    assert rises == pytest.approx([2.9e-4 / STEPS] * (STEPS - 1))
    for epoch in (2, 12, 22):
        assert path[epoch - 1][0] == pytest.approx(3e-4), epoch
        falling = [rate for one in path[epoch - 1 : min(epoch + 9, 30)] for rate in one]
        assert all(after < before for before, after in pairwise(falling)), epoch
    assert path[6][0] == pytest.approx((1e-5 + 3e-4) / 2), "half of a cycle"
    assert path[10][-1] == pytest.approx(1e-5, abs=1e-7), "the end of the first"
    assert learning_rate(read_preset(preset), 30, 1.0) == pytest.approx(1.7e-5, abs=1e-6)


def test_gend_s_rates_are_those_of_torch_s_schedulers():
    """A linear warm-up chained with warm restarts, both stepped with every batch."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=3e-4)
    schedulers = torch.optim.lr_scheduler
    chained = schedulers.SequentialLR(
        optimizer,
        [
            schedulers.LinearLR(optimizer, 1e-5 / 3e-4, 1.0, total_iters=STEPS),
            schedulers.CosineAnnealingWarmRestarts(optimizer, 10 * STEPS, eta_min=1e-5),
        ],
        milestones=[STEPS],
    )
    theirs = []
    for _ in range(30 * STEPS):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        chained.step()
    assert [rate for epoch in rates("gend") for rate in epoch] == pytest.approx(theirs)


@pytest.mark.parametrize("preset", LADDER)
def test_the_rates_of_the_work_before_it(preset):
    """One cosine from 8e-5 to 5e-5 over ten epochs, with every step, and no warm-up."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=8e-5)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10 * STEPS, eta_min=5e-5)
    theirs = []
    for _ in range(10 * STEPS):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    assert [rate for epoch in rates(preset) for rate in epoch] == pytest.approx(theirs)


def test_a_rung_differs_from_the_one_before_in_one_thing():
    one_each = []
    for below, above in pairwise(map(read_preset, LADDER)):
        before, after = below.to_json(), above.to_json()
        one_each.append({name for name in after if before[name] != after[name]} - {"preset"})
    assert one_each == [{"tune", "augment"}, {"classifier_settings"}, {"slerp"}]
    ours, last = read_preset("gend").to_json(), read_preset(LADDER[-1]).to_json()
    assert (ours["alignment"], ours["uniformity"], ours["slerp"]) == (0.1, 0.5, False)
    assert (last["alignment"], last["uniformity"], last["slerp"]) == (0.0, 0.0, True)
    assert (ours["augment"], last["augment"]) == ("gend", "yermandy")


def test_what_a_cached_preset_differs_in_from_the_one_that_tunes():
    for name, differing in (("gend", {"tune", "augment"}), ("lare2", {"tune"})):
        tuned, cached = read_preset(name).to_json(), read_preset(f"{name}-cached").to_json()
        assert {n for n in tuned if tuned[n] != cached[n]} - {"preset"} == differing


def test_what_a_preset_of_pairs_differs_in_from_the_plain_one():
    for plain, more in (("clare", set()), ("gend", {"augment"})):
        before, after = (read_preset(name).to_json() for name in (plain, f"{plain}-pairs"))
        differing = {name for name in after if before[name] != after[name]} - {"preset"}
        assert differing == {"pair_batches", "pair_loss", *more}
    assert read_preset("gend-pairs").augment == "compact"


@pytest.mark.parametrize("name", TUNED)
def test_every_preset_that_tunes_runs(name, tmp_path):
    kind = "rn50" if name == "lare2" else "vit"
    paired = read_preset(name).takes_pairs
    store = create_tuned(tmp_path / "features.zarr", kind, paired=paired)
    config = create_config({"epochs": 1, "batch": 8}, read_preset(name))
    places = {"clip": {"model": str(tmp_path / "model")}}
    train_run(config, store, tmp_path / "run", Machine(settings=places))
    assert len(read_history(tmp_path / "run")) == 1
    assert read_validation(tmp_path / "run").auc.value is not None
    kept = read_record(tmp_path / "run").config
    assert (kept.preset, kept.augment) == (name, config.augment)
