"""Reals that a run takes by itself, and protocols that are there in part."""

from dataclasses import replace

import pytest

from clare.advice import Set
from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig, create_config
from clare.heads.data.subsets import subsets_of, take_reals
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.runs.record import read_record
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.training.trainer import Observer, train_run

LINEAR = TrainConfig(DetectorConfig("cls", "linear"), epochs=1, batch=32, lr=0.02)


class Told(Observer):
    """What a training says before it starts."""

    def __init__(self):
        self.notes = []

    def planned(self, plan):
        self.notes += map(str, plan.notes)


@pytest.fixture(scope="module")
def world(tmp_path_factory, build_store, rows_of):
    """Fakes of two domains, the reals of each, and fakes with reals of their own."""
    domains = {"ff_reals": "ff", "cdf_reals": "cdf", "gan": "ff", "vq": "cdf", "late": "ff"}
    subsets = {}
    for name, domain in domains.items():
        subsets[name] = rows_of["plain"](name, int(not name.endswith("reals")), 32)
        for row in subsets[name]:
            row.columns["domain"] = domain
    own = rows_of["plain"]("own", 1, 32)
    own += [rows_of["row"]("own", f"r{n}", 0, "train", domain="ff") for n in range(4)]
    return build_store(tmp_path_factory.mktemp("world") / "s.zarr", {**subsets, "own": own})


def test_fakes_alone_are_trained_beside_the_reals_of_their_domain(world, tmp_path):
    told = Told()
    train_run(create_config({"train": ["gan"]}, LINEAR), world, tmp_path / "run", observer=told)
    record = read_record(tmp_path / "run")
    assert record.config.reals == ("ff_reals",)
    assert record.rows["train"] == {"real": 20, "fake": 20}
    assert [note for note in told.notes if "ff_reals" in note]
    assert evaluate(tmp_path / "run", subsets=["late"], resamples=0).record.reals == ("ff_reals",)


@pytest.mark.parametrize(
    ("asked", "reals"),
    [
        ({"train": ["gan", "vq"]}, ("cdf_reals", "ff_reals")),
        ({"train": ["gan", "vq"], "domains": ["cdf"]}, ("cdf_reals",)),
        ({"train": ["gan"], "reals": ["cdf_reals"]}, ("cdf_reals",)),
        ({"train": ["own"]}, ()),
        ({}, ()),
        ({"train": ["gan", "nosuch"]}, ()),
    ],
)
def test_which_reals_are_taken(world, asked, reals):
    (config,), _ = take_reals(world, [create_config(asked, LINEAR)])
    assert config.reals == reals


def test_a_sweep_takes_each_runs_own_reals_and_goes_on_with_them(world, tmp_path):
    axes = {"train": ["gan", "vq"]}
    for _ in range(2):  # the second finds its runs finished
        lines = run_sweep(expand(LINEAR, axes), axes, world, tmp_path / "sweep")
    assert len(lines) == 2
    taken = [
        read_record(tmp_path / "sweep" / name).config.reals for name in ("train-gan", "train-vq")
    ]
    assert taken == [("ff_reals",), ("cdf_reals",)]


def test_a_protocol_that_is_there_in_part_is_trained_in_part_and_says_so(world, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("train: {fakes: [gan, absent], reals: [ff_reals], domains: [ff]}\n")
    asked = {"protocol": str(path)}
    with pytest.raises(InputError) as refused:
        train_run(create_config(asked, LINEAR), world, tmp_path / "run")
    assert Set("partial", True) in [
        Set(one.name, one.value) for one in refused.value.advice if isinstance(one, Set)
    ]
    told = Told()
    config = create_config({**asked, "partial": True}, LINEAR)
    train_run(config, world, tmp_path / "run", observer=told)
    record = read_record(tmp_path / "run")
    assert record.lacking == ("absent",)
    assert "absent" in record.remainder
    assert any(record.remainder in note for note in told.notes)
    notes = evaluate(tmp_path / "run", subsets=["late"], resamples=0).record.notes
    assert any(record.remainder in note for note in notes)


@pytest.mark.parametrize(
    "lacks", ["fakes: [absent], reals: [ff_reals]", "fakes: [gan], reals: [none_there]"]
)
def test_a_protocol_without_a_class_is_no_part_of_it(world, tmp_path, lacks):
    path = tmp_path / "p.yaml"
    path.write_text(f"train: {{{lacks}}}\n")
    config = create_config({"protocol": str(path), "partial": True}, LINEAR)
    with pytest.raises(InputError):
        train_run(config, world, tmp_path / "run")


def test_deliveries_are_trained_on_where_they_are_named_alone(tmp_path, build_store, rows_of):
    plain = {name: rows_of["plain"](name, label, 32) for name, label in (("real", 0), ("gan", 1))}
    subsets = dict(plain)
    for name, rows in plain.items():
        subsets[f"{name}_variants"] = [
            rows_of["row"](
                f"{name}_variants",
                f"{row.sample_id}#{way}",
                row.columns["label"],
                row.columns["split"],
                content=f"{name}/{row.sample_id}",
                delivery=way,
                delivery_steps="jpeg 5",
                parent_id=row.sample_id,
                parent_subset=name,
            )
            for row in rows
            for way in ("low", "lower")
        ]
    store = build_store(tmp_path / "s.zarr", subsets)
    assert subsets_of(store, LINEAR) == ("gan", "real")
    named = replace(LINEAR, train=("gan",))
    (taken,), _ = take_reals(store, [named])
    assert taken.reals == ("real",)
    train_run(taken, store, tmp_path / "plain")
    every = replace(named, train=tuple(subsets))
    train_run(every, store, tmp_path / "every")
    rows = [read_record(tmp_path / run).rows["train"] for run in ("plain", "every")]
    assert rows[1] == {label: 3 * count for label, count in rows[0].items()}
