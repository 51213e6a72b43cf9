"""What is said of runs that tune: what is idle, what helps, what a report calls them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clare.errors import InputError
from clare.heads.config import create_config, read_preset
from clare.heads.report.run_results import read_findings
from clare.heads.training.schedule import learning_rate
from clare.heads.training.trainer import Observer, train_run
from tests.heads.tuned_runs import LN, fresh, machine, steps_of


@pytest.fixture
def store(stores):
    return stores("vit")


class Noting(Observer):
    """Keeps what is planned."""

    def planned(self, plan):
        self.notes = [str(note) for note in plan.notes]


def test_recompute_without_a_tower_is_said_to_be_idle(store, tmp_path):
    probe = create_config({"tune": "none", "epochs": 1}, LN)
    said = []
    for name, config in (("probe", probe), ("ln", replace(LN, epochs=1))):
        noting = Noting()
        train_run(config, store, tmp_path / name, machine(store, recompute=True), noting)
        said.append([note for note in noting.notes if "recompute" in note])
    assert len(said[0]) == 1 and "no tower is tuned" in said[0][0]
    assert said[1] == []


def test_another_field_of_the_tower_is_said_to_be_read(store, tmp_path):
    noting = Noting()
    train_run(replace(LN, epochs=1), store, tmp_path / "run", machine(store), noting)
    assert "clip_cls_pre is read as cls, in place of clip_cls, and is not standardised" in (
        noting.notes
    )


@pytest.mark.parametrize("on", [False, True])
def test_recompute_is_advised_where_it_is_not_on(store, on):
    detector, batch, labels = fresh(store, LN)
    if on:
        detector.fusion.recompute()

    def full(inputs):
        raise torch.OutOfMemoryError("no memory left")

    detector.fusion.inner.forward = full
    with pytest.raises(InputError) as raised:
        steps_of(detector, LN, batch, labels)
    assert ("recompute" in str(raised.value)) == (not on)


def test_a_report_tells_the_way_of_tuning(store, tmp_path):
    probe = create_config({"tune": "none", "epochs": 1}, LN)
    tuned = create_config({"tune": "visual-prompts"}, probe)
    train_run(probe, store, tmp_path / "probe")
    train_run(tuned, store, tmp_path / "tuned", machine(store))
    one, other = read_findings([tmp_path / "probe", tmp_path / "tuned"])
    assert one.detector == "cls + linear"
    assert other.detector == "cls + linear over a tower tuned by visual-prompts"


@pytest.mark.parametrize("preset", ["lare2", "lare2-cached"])
def test_the_rate_of_lare2_falls_where_torch_lets_it_fall(preset):
    config = read_preset(preset)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], config.lr)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", config.plateau_factor, config.plateau_patience, min_lr=config.min_lr
    )
    figures = list(np.linspace(0.97, 0.9701, 30))  # rises by less than counts
    for epoch, figure in enumerate(figures, 1):
        plateau.step(figure)
        found = learning_rate(config, epoch + 1, 0.0, figures[:epoch])
        assert max(found, config.min_lr) == pytest.approx(optimizer.param_groups[0]["lr"])
