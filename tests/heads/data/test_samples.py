"""Which rows train and validate, and what is refused before anything is read."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clare.errors import InputError, StoreError
from clare.heads.config import DetectorConfig, TrainConfig
from clare.heads.data import table as features
from clare.heads.data.samples import choose_samples
from clare.heads.data.table import FeatureTable, load_fields, plan_memory
from clare.heads.training.prepare import open_tables
from clare.heads.training.trainer import train_run

CPU = torch.device("cpu")
CLS = TrainConfig(DetectorConfig("cls", "linear"))


def choose(store, config=CLS, fields=("clip_cls",), split="train"):
    tables, _ = open_tables(store, [config], CPU)
    table = tables.train if split == "train" else tables.val
    return table, choose_samples(table, config, fields, split)


def names(table, samples):
    return {table.rows[place].sample_id for place in samples.plain}


def test_only_train_and_val_are_taken(store):
    for split in ("train", "val"):
        table, samples = choose(store, split=split)
        assert {table.rows[place].columns["split"] for place in samples.views} == {split}
        labels = [table.rows[place].columns["label"] for place in samples.plain]
        assert samples.labels.tolist() == labels
    unknown: Any = "test"
    with pytest.raises(ValueError, match="never reads the split 'test'"):
        FeatureTable(store, ["clip_cls"], ["gan"], unknown, {}, CPU)


def test_an_epoch_takes_every_sample_once_in_a_random_view(store):
    table, samples = choose(store)

    def epoch(*which, views=True):
        found = samples.epoch(*which, 32, views=views)
        sizes = [len(some) for some in found[0]]
        assert sizes == [32] * (len(samples) // 32) + [len(samples) % 32]
        assert [len(some) for some in found[1]] == sizes
        return [np.concatenate(some) for some in found]

    order, places = epoch(3, 1)
    assert sorted(order.tolist()) == list(range(len(samples)))
    for sample, place in zip(order, places, strict=True):
        plain = table.rows[samples.plain[sample]]
        assert table.rows[place].sample_id == plain.sample_id
    gan = [table.rows[p].view for p in places if table.rows[p].columns["subset"] == "gan"]
    assert set(gan) == {0, 1}
    assert all(map(np.array_equal, (order, places), epoch(3, 1)))
    assert not np.array_equal(epoch(3, 2)[0], order)
    assert not np.array_equal(epoch(4, 1)[0], order)
    order, places = epoch(3, 1, views=False)
    assert np.array_equal(places, samples.plain[order])


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 3))
def test_a_smaller_fraction_lies_in_a_larger_one(store, first, second, seed):
    small, large = sorted((first, second))
    taken = {}
    for fraction in (small, large, 1.0):
        table, samples = choose_cached(store, fraction, seed)
        taken[fraction] = names(table, samples)
        rows = [table.rows[place] for place in samples.plain]
        videos = [row.columns["video_id"] for row in rows if "video_id" in row.columns]
        assert all(videos.count(video) == 4 for video in videos)
        for subset, label, total in (("pool", 0, 50), ("gan", 1, 50), ("swap", 1, 40)):
            mine = [
                row
                for row in rows
                if (row.columns["subset"], row.columns["label"]) == (subset, label)
            ]
            # Whole videos of four frames: at most half a video off, and never nothing.
            assert abs(len(mine) - fraction * total) <= 4
            assert mine
    assert taken[small] <= taken[large] <= taken[1.0]


tables_of: dict = {}


def choose_cached(store, fraction, seed):
    if store.path not in tables_of:
        tables_of[store.path] = open_tables(store, [CLS], CPU)[0].train
    table = tables_of[store.path]
    config = replace(CLS, fraction=fraction, data_seed=seed)
    return table, choose_samples(table, config, ("clip_cls",), "train")


def test_fractions_are_of_training_alone_and_another_seed_takes_others(store):
    _, whole = choose(store, split="val")
    _, part = choose(store, replace(CLS, fraction=0.2), split="val")
    assert np.array_equal(whole.plain, part.plain)
    table, some = choose(store, replace(CLS, fraction=0.5, data_seed=1))
    _, others = choose(store, replace(CLS, fraction=0.5, data_seed=2))
    assert names(table, some) != names(table, others)


def test_a_pool_gives_its_reals(store):
    table, samples = choose(store, replace(CLS, train=("gan",), reals=("swap",)))
    chosen = {
        (table.rows[p].columns["subset"], table.rows[p].columns["label"]) for p in samples.plain
    }
    assert chosen == {("gan", 1), ("swap", 0)}


def test_a_single_class_is_refused(store):
    with pytest.raises(InputError, match="gan has no real images in training"):
        choose(store, replace(CLS, train=("gan",)))
    with pytest.raises(InputError, match="pool has no fake images in training"):
        choose(store, replace(CLS, train=("pool",)))
    with pytest.raises(StoreError, match="no subset 'nowhere'"):
        choose(store, replace(CLS, train=("nowhere",)))


def test_rows_are_those_complete_in_what_the_fusion_reads(tmp_path, build_store, rows_of):
    rows = rows_of["plain"]("gan", 1, 16) + rows_of["plain"]("pool", 0, 16)
    rows = [replace(row, columns={**row.columns, "subset": "both"}) for row in rows]
    store = build_store(tmp_path / "s.zarr", {"both": rows}, failed=("gan-0", "pool-1"))
    tables, _ = open_tables(store, [TrainConfig(DetectorConfig("concat", "linear"))], CPU)
    every = choose_samples(tables.train, CLS, ("clip_cls",), "train")
    joint = choose_samples(tables.train, CLS, ("clip_cls", "lare"), "train")
    assert names(tables.train, every) - names(tables.train, joint) == {"gan-0", "pool-1"}


def test_an_image_in_two_subsets_counts_once(tmp_path, build_store, rows_of):
    row = rows_of["row"]
    shared = [
        row(subset, f"{subset}{n}", 0, "val" if n < 2 else "train", content=f"real{n}")
        for subset in ("a", "b")
        for n in range(8)
    ]
    fakes = [row("c", f"c{n}", 1, "val" if n < 2 else "train") for n in range(8)]
    store = build_store(tmp_path / "s.zarr", {"a": shared[:8], "b": shared[8:], "c": fakes})
    _, samples = choose(store)
    assert samples.counts() == {"real": 6, "fake": 6}
    wrong = [row("d", "d1", 1, "train", content="real3")]
    store = build_store(tmp_path / "t.zarr", {"a": shared[:8], "c": fakes, "d": wrong})
    with pytest.raises(InputError, match=r"one image has two labels: 'a3' in a and 'd1' in d"):
        choose(store)


@pytest.mark.parametrize(
    ("said", "shared"),
    [
        ("1 video in two splits, swap/v1, ", {"video_id": "v1"}),
        (
            "2 identities in two splits, ff/3, .*; ff/7, ",
            {"source_ids": "3|7", "domain": "ff"},
        ),
        ("1 image in two splits, ", {"content": "one"}),
    ],
)
def test_a_leak_is_refused_with_both_its_places(tmp_path, build_store, rows_of, said, shared):
    row = rows_of["row"]
    rows = [
        row("swap", "a", 0, "train", path="a.png", **shared),
        row("swap", "b", 0, "test", path="b.png", **shared),
        *(row("swap", f"c{n}", n % 2, "val" if n < 4 else "train") for n in range(8)),
    ]
    store = build_store(tmp_path / "s.zarr", {"swap": rows})
    places = r"a\.png of swap \(train\) and b\.png of swap \(test\)"
    with pytest.raises(InputError, match=rf"splits leak: {said}{places}") as error:
        train_run(CLS, store, tmp_path / "run")
    assert "build swap again with groups kept whole" in str(error.value)
    assert ("by their hashes" in str(error.value)) == ("content" in shared)
    assert not (tmp_path / "run").exists()


def test_features_lie_where_they_fit_and_are_the_same_everywhere(store, monkeypatch):
    fields = ("clip_cls", "clip_tokens")
    tables, _ = open_tables(store, [CLS, TrainConfig(DetectorConfig("concat", "linear"))], CPU)
    table = tables.train
    order = [np.array([5, 0, 70]), np.array([3])]
    streamed = list(table.batches(order, fields))
    size = {field: table.bytes_of(field) for field in fields}
    monkeypatch.setattr(features, "free_bytes", lambda device: 1.5 * size["clip_cls"])
    plans = plan_memory([table], fields, "auto", CPU)
    assert {plan.field: plan.place for plan in plans} == {"clip_cls": "host", "clip_tokens": "disk"}
    with pytest.raises(InputError, match=r"clip_tokens takes .* GB"):
        plan_memory([table], fields, "host", CPU)
    seen = []
    load_fields([table], plans, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (size["clip_cls"], size["clip_cls"])
    for before, after in zip(streamed, table.batches(order, fields), strict=True):
        assert all(torch.equal(before[field], after[field]) for field in fields)


def test_damage_is_met_while_streaming(tmp_path, build_store, rows_of):
    subsets = {"pool": rows_of["plain"]("pool", 0, 16), "gan": rows_of["plain"]("gan", 1, 16)}
    store = build_store(tmp_path / "s.zarr", subsets)
    path = next(store.feature("gan", "clip").array_path("clip_cls").glob("c/0/*"))
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    with pytest.raises(StoreError, match=r"gan/.*row 0"):
        train_run(CLS, store, tmp_path / "run")
