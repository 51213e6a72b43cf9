"""What a protocol must not lose without a word: generators, pools, what a run's parents saw."""

from dataclasses import replace

import pytest

from clare.advice import Set
from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig, create_config
from clare.heads.data.frames import choose_frames
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.runs.record import read_record
from clare.heads.training.trainer import train_run
from clare.protocol import read_protocol

LINEAR = TrainConfig(DetectorConfig("cls", "linear"), epochs=1, batch=32, lr=0.02)
FAKES = ("gan", "vq", "late")


@pytest.fixture
def world(tmp_path, build_store, rows_of):
    """A store of one domain whose subsets lack splits where asked for, and a protocol."""

    def make(test="", without=(), domain="ff", failed=()):
        subsets = {}
        for name in ("pool", "second", *FAKES):
            rows = rows_of["plain"](name, int(name in FAKES), 32)
            for row in rows:
                row.columns["domain"] = domain if name == "late" else "ff"
            subsets[name] = [r for r in rows if (name, r.columns["split"]) not in without]
        # Features of LaRE alone fail by row.
        store = build_store(tmp_path / "s.zarr", subsets, failed)
        path = tmp_path / "p.yaml"
        train = "train: {fakes: [gan, vq, late], reals: [pool, second], domains: [ff]}\n"
        path.write_text(train + test)
        return store, str(path), tmp_path / "run"

    return make


def config_of(path, **values):
    return create_config({"protocol": path, **values}, LINEAR)


# ---- training


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_protocol_is_not_trained_on_a_part_of_its_generators(world, split):
    store, path, run = world(without=[("late", split)])
    said = rf"trains on late, of which .* in split {split}"
    with pytest.raises(InputError, match=said):
        train_run(config_of(path), store, run)
    train_run(create_config({"train": ["gan", "vq"]}, config_of(path)), store, run)


def test_rows_of_another_domain_are_no_rows_of_a_protocol(world):
    store, path, run = world(domain="cdf")
    with pytest.raises(InputError, match=r"late, .* rows of domain ff in split train"):
        train_run(config_of(path), store, run)


def test_nor_is_it_without_features_or_without_a_pool(world):
    store, path, run = world(failed=[f"vq-{n}" for n in range(32)])
    with pytest.raises(InputError, match="trains on vq, ") as error:
        train_run(config_of(path, fusion="concat"), store, run)
    assert Set("partial", True, "trains on gan and late alone and says so") in error.value.advice


def test_a_pool_without_training_rows_is_missed(world):
    store, path, run = world(without=[("second", "train")])
    with pytest.raises(InputError, match="trains on second, "):
        train_run(config_of(path), store, run)
    train_run(config_of(path, partial=True), store, run)
    assert read_record(run).lacking == ("second",)
    assert read_record(run).reals == ("pool",)


def test_without_any_of_its_pools_no_part_can_be_trained(world):
    store, path, run = world(without=[("pool", "train"), ("second", "train")])
    with pytest.raises(InputError, match="trains on pool and second, ") as error:
        train_run(config_of(path, partial=True), store, run)
    assert not [one for one in error.value.advice if isinstance(one, Set)]


# ---- tests


def test_a_set_without_one_of_its_pools_is_absent(world):
    test = "test: {sets: [{fakes: [gan], reals: [pool, second]}, {fakes: [vq], reals: [pool]}]}"
    store, path, run = world(test, without=[("second", "test")])
    train_run(config_of(path), store, run)
    report = evaluate(run, protocol=path, resamples=0).record
    assert report.absent == {"gan": "second has no reals in split test"}
    assert set(report.subsets) == {"vq"} and report.split == "test"


def test_a_set_with_a_pool_without_features_is_absent(world):
    test = "test: {sets: [{fakes: [gan], reals: [pool, second]}, {fakes: [vq], reals: [pool]}]}"
    store, path, run = world(test, failed=[f"second-{n}" for n in range(7, 32, 8)])
    train_run(config_of(path, fusion="concat"), store, run)
    report = evaluate(run, protocol=path, resamples=0).record
    assert list(report.absent) == ["gan"]
    assert "second has no features of this run" in report.absent["gan"]
    assert report.subsets["vq"].beside == ("pool",)


def test_sets_of_the_validation_split_are_said_to_be(world):
    test = "test: {sets: [{fakes: [late], reals: [second], split: val}]}"
    store, path, run = world(test)
    train_run(replace(LINEAR, train=("gan",), reals=("pool",)), store, run)
    assert evaluate(run, protocol=path, resamples=0).record.split == "val"


def test_a_protocol_with_seen_rows_says_what_can_be_done(world):
    store, path, run = world("test: {sets: [{fakes: [gan], reals: [pool], split: val}]}")
    train_run(config_of(path), store, run)
    with pytest.raises(InputError, match=r"rows of gan share .*take it out of a copy of protocol"):
        evaluate(run, protocol=path)


def test_what_a_parent_was_trained_on_is_in_no_mean_of_others(world):
    test = "test: {others: true, sets: [{fakes: [gan, vq, late], reals: [pool]}]}"
    store, path, run = world(test)
    before = ""
    for name in ("gan", "vq"):
        config = replace(LINEAR, train=(name,), reals=("pool",), init_from=before or None)
        train_run(config, store, run / name)
        before = str(run / name)
    train_run(replace(LINEAR, train=("gan",), reals=("pool",), init_from=before), store, run / "c")
    report = evaluate(run / "c", protocol=path, resamples=0).record
    assert report.trained_on == ("gan", "vq") and set(report.aside) == {"gan", "vq"}
    assert read_record(run / "c").all_subsets == ("gan", "pool", "vq")


# ---- rows


def test_rows_that_shared_an_id_stay_in_their_clip(rows_of):
    rows = []
    for n in range(6):
        place = {"root": "second", "path": f"elsewhere/b@c/{n}.png", "frame_idx": n}
        plain = f"a/c@d/{n}"  # ids may hold the sign themselves
        renamed = f"{plain}@second/elsewhere/b@c/{n}.png"
        rows.append(rows_of["row"]("a", renamed if n % 2 else plain, 1, "test", **place))
    assert choose_frames(rows, 2, "even") == [0, 5]


# ---- protocols of parts of others


def test_a_part_may_be_that_of_a_protocol_that_has_it_from_another(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("train: p1-ff/fs\ntest: clare-82k")
    second.write_text(f"train: {first}\ntest: p1-ff/fs")
    found, ours = read_protocol(str(second)), read_protocol("p1-ff")
    assert dict(found.trainings) == {"": ours.training("fs")}
    assert found.targets == ours.targets
    assert read_protocol(str(first)).targets == read_protocol("clare-41k").targets
    first.write_text("train: p1-ff")
    assert read_protocol(str(first)).trainings == ours.trainings
    second.write_text(f"train: {first}/fs")
    assert dict(read_protocol(str(second)).trainings) == {"": ours.training("fs")}


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ("{b}", "goes round in a circle"),
        ("p1-ff/none", "no training p1-ff/none, but p1-ff/fs, p1-ff/fr, p1-ff/efs"),
        ("clare-41k/fs", "no training clare-41k/fs, but clare-41k"),
        ("p1-ff/fr", "has one training: leave /fs out"),
    ],
)
def test_a_wrong_name_of_a_part_is_one_sentence(tmp_path, train, said):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("train: " + train.format(b=second))
    second.write_text(f"train: {first}/fs" if "leave" in said else f"train: {first}")
    with pytest.raises(InputError, match=said):
        read_protocol(str(second))
