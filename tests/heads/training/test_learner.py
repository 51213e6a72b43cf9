"""Optimisers, schedules and stacked runs against what they stand for."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig, create_config, read_preset
from clare.heads.detector import Detector
from clare.heads.training.learner import Learner, can_stack
from clare.heads.training.optimizers import Optimizer, clip_rows
from clare.heads.training.schedule import exhausted, learning_rate

SPECS = {"clip_cls": (8,)}
LINEAR = TrainConfig(DetectorConfig("cls", "linear"))


def column(values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_every_row_moves_as_torch_moves_it_alone(kind):
    torch.manual_seed(0)
    start = torch.randn(3, 5, dtype=torch.float64)
    rates, decays = [0.1, 0.01, 0.3], [0.0, 0.5, 0.05]
    values = start.clone()
    optimizer = Optimizer(values, kind, column(decays), column([0.9, 0.9, 0.9]))
    alone = [start[row].clone().requires_grad_() for row in range(3)]
    theirs = [
        torch.optim.AdamW([one], lr=rate, weight_decay=decay)
        if kind == "adamw"
        else torch.optim.SGD([one], lr=rate, weight_decay=decay, momentum=0.9)
        for one, rate, decay in zip(alone, rates, decays, strict=True)
    ]
    for step in range(12):
        gradient = torch.randn(len(alone), 5, dtype=torch.float64) * 10 ** (step % 3)
        clipped = gradient.clone()
        clip_rows(clipped, 2.0)
        for row in range(len(alone)):
            alone[row].grad = gradient[row].clone()
            torch.nn.utils.clip_grad_norm_([alone[row]], 2.0)
            theirs[row].step()
        optimizer.step(clipped, column(rates))
        if step == 5:  # going on with some rows changes nothing for them
            kept = [0, 2]
            values = values[kept]
            optimizer.keep(values, torch.tensor(kept))
            alone, theirs = [alone[row] for row in kept], [theirs[row] for row in kept]
            rates = [rates[row] for row in kept]
    torch.testing.assert_close(values, torch.stack([one.detach() for one in alone]))


def test_the_published_rates_are_met():
    coop = create_config({"epochs": 10}, read_preset("clip-prompt"))
    rates = [learning_rate(coop, epoch, 0.5) for epoch in range(1, 11)]
    published = [1e-5, 0.002, 0.00195, 0.00181, 0.00159, 0.00131, 0.001, 0.00069, 0.00041, 0.00019]
    assert rates == pytest.approx(published, abs=5e-6)
    clare = read_preset("clare-published")
    assert [learning_rate(clare, epoch, 0.9) for epoch in (1, 2)] == [1e-5, 0.002]
    adapter = read_preset("clipping-adapter")
    assert [learning_rate(adapter, epoch, 0.5) for epoch in (1, 2)] == [1e-5, 0.002]


def test_a_plateau_lowers_the_rate_until_it_ends():
    univfd = read_preset("univfd")
    flat = [0.9] + [0.9005] * 5  # gains below 0.001 are none
    assert learning_rate(univfd, 6, 0.0, flat[:5]) == pytest.approx(1e-4)
    assert learning_rate(univfd, 7, 0.0, flat) == pytest.approx(1e-5)
    assert learning_rate(univfd, 12, 0.0, [*flat, *[0.9] * 5]) == pytest.approx(1e-6)
    assert not exhausted(univfd, [*flat, *[0.9] * 9])
    assert exhausted(univfd, [*flat, *[0.9] * 10])
    rising = [n / 100 for n in range(80)]
    assert learning_rate(univfd, 81, 0.0, rising) == pytest.approx(1e-4)


@pytest.mark.parametrize("preset", ["lare2-cached", "lare2", "univfd"])
@given(st.lists(st.sampled_from([0.5, 0.7, 0.7005, 0.702, 0.71, 0.9]), max_size=40))
def test_a_plateau_is_that_of_torch(preset, figures):
    config = read_preset(preset)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", config.plateau_factor, config.plateau_patience,
        threshold=config.min_gain, threshold_mode="abs", eps=0.0,
    )  # fmt: skip
    for epoch, figure in enumerate(figures, 1):
        assert learning_rate(config, epoch, 0.0, figures[: epoch - 1]) == pytest.approx(
            optimizer.param_groups[0]["lr"]
        )
        theirs.step(figure)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(1, 4))
def test_patience_counts_epochs_since_the_best(figures, patience):
    since = len(figures) - 1 - figures.index(max(figures))
    assert exhausted(replace(LINEAR, patience=patience), figures) == (since >= patience)
    assert not exhausted(LINEAR, figures)


def make(config: TrainConfig) -> Detector:
    torch.manual_seed(config.seed)
    return Detector(config.detector, SPECS, None)


def test_a_stacked_run_is_the_run_alone():
    """Rates, decay and seeds differ; a run leaves on the way."""
    torch.manual_seed(1)
    base = create_config(
        {
            "classifier_settings": {"normalize": True},
            "alignment": 0.1,
            "uniformity": 0.5,
            "slerp": True,
        },
        LINEAR,
    )
    configs = [
        replace(base, seed=n, lr=0.1 / (n + 1), weight_decay=0.1 * n, momentum=0.5 + 0.1 * n)
        for n in range(3)
    ]
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 1, 1])
    batches = [torch.randn(8, 8) for _ in range(6)]
    together = Learner([make(config) for config in configs], configs, labels)
    assert can_stack(make(base), base)
    found = {}
    for number, batch in enumerate(batches):
        rates = [config.lr for config in together.configs]
        together.step({"cls": batch}, labels.expand(len(together), -1), rates)
        if number == 2:
            found[1] = together.values[1].detach()
            together.keep([0, 2])
    found |= {0: together.values[0].detach(), 2: together.values[1].detach()}
    for run, config in enumerate(configs):
        alone = Learner([make(config)], [config], labels)
        for batch in batches[: 3 if run == 1 else 6]:
            alone.step({"cls": batch}, labels[None], [config.lr])
        torch.testing.assert_close(found[run], alone.values[0].detach(), rtol=0, atol=1e-6)


def test_dropout_and_half_precision_keep_a_run_to_itself():
    specs = {"clip_cls": (8,), "clip_tokens": (4, 8), "lare": (1, 1, 4, 2, 2)}
    for settings, stacks in (({"dropout": 0.1}, False), ({"dropout": 0.0}, True)):
        config = create_config({"fusion": "esa", "fusion_settings": settings}, LINEAR)
        detector = Detector(config.detector, specs, None)
        assert can_stack(detector, config) is stacks
        assert not can_stack(detector, replace(config, precision="bfloat16"))


def test_the_state_of_a_run_brings_it_back():
    labels = torch.tensor([0, 1, 1, 0])
    first = Learner([make(LINEAR)], [LINEAR], labels)
    batches = [torch.randn(4, 8) for _ in range(4)]
    for batch in batches[:2]:
        first.step({"cls": batch}, labels[None], [0.1])
    state = {name: value.clone() for name, value in first.state(0).items()}
    for batch in batches[2:]:
        first.step({"cls": batch}, labels[None], [0.1])
    second = Learner([make(replace(LINEAR, seed=9))], [LINEAR], labels)
    second.set_state(0, state, 2)
    for batch in batches[2:]:
        second.step({"cls": batch}, labels[None], [0.1])
    assert torch.equal(first.values, second.values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0}, "lr can't be 0"),
        *(
            ({name: float("inf")}, f"{name} can't be inf")
            for name in ("lr", "warmup_lr", "weight_decay", "clip")
        ),
        ({"fraction": 1.5}, "fraction can't be 1.5"),
        ({"epochs": "many"}, "epochs can't be 'many'"),
        ({"optimizer": "adam"}, "one of adamw, sgd"),
        ({"fusion_settings": 3}, "fusion_settings can't be 3"),
        ({"speed": 3}, "no setting 'speed'"),
    ],
)
def test_values_that_can_not_be_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        create_config(values)


def test_another_part_leaves_the_settings_of_the_old_one_behind():
    published = read_preset("clare-published")
    assert create_config({"fusion": "esa"}, published).detector.fusion_settings == {}
    assert create_config({"fusion": "cross_attn"}, published).detector.fusion_settings == {
        "query": "mean"
    }
    assert create_config({"lr": "1e-5"}, published).lr == 1e-5
