"""Pairs among rows: which fake has which real, and that batches, views and shares keep them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig
from clare.heads.data.pairs import group_pairs, match_pairs, whole_batches
from clare.heads.data.samples import choose_samples
from clare.heads.training.prepare import open_tables
from clare.store.row import Row
from clare.store.rows import rows_of

CPU = torch.device("cpu")
PAIRS = TrainConfig(DetectorConfig("cls", "linear"), pair_batches=True)


def row(subset, name, label, pair="", **columns):
    columns = {"subset": subset, "label": label, "pair_id": pair, **columns}
    return Row(sample_id=name, view=0, content=name, columns=columns)


SOME = rows_of(
    [
        row("vae", "vae/r", 0, "p"),
        row("sbi", "sbi/r", 0, "p"),
        row("sbi", "sbi/f", 1, "p"),
        row("vae", "vae/f", 1, "p"),
        row("reals", "reals/7", 0),
        row("swaps", "f7", 1, "reals/7"),
        row("swaps", "f8", 1, "reals/8"),
        row("swaps", "f9", 1),
        row("other", "o", 1, "p"),
    ]
)


def test_a_fake_meets_the_real_that_it_names_of_its_own_subset_first():
    fakes, reals, alone = match_pairs(SOME)
    assert list(zip(fakes, reals, strict=True)) == [(2, 1), (3, 0), (5, 4), (8, 0)]
    assert alone == 1
    assert [len(some) for some in match_pairs(SOME.take(np.array([2, 8])))[:2]] == [0, 0]


def test_a_delivered_fake_meets_the_real_that_was_delivered_likewise():
    """By its pair, or by the name of the image that was delivered, with its subset before it."""
    told = {"parent_subset": "mine"}
    rows = [
        row("v", "r75", 0, "p", delivery="jpeg_75"),
        row("v", "r30", 0, "p", delivery="jpeg_30"),
        row("v", "f30", 1, "p", delivery="jpeg_30"),
        row("v", "f", 1, "p"),
        row("w", "1/blur", 0, delivery="blur", parent_id="1", **told),
        row("x", "g", 1, "mine/1", delivery="blur"),
    ]
    fakes, reals, alone = match_pairs(rows_of(rows))
    assert list(zip(fakes, reals, strict=True)) == [(2, 1), (5, 4)] and alone == 1


def test_a_real_and_all_its_fakes_are_one_group():
    assert group_pairs(SOME).tolist() == [0, 1, 1, 0, 2, 2, 3, 4, 0]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), st.integers(4, 9), st.integers(0, 9))
def test_batches_part_no_group_and_are_filled_with_rows_that_stand_alone(sizes, batch, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    batches = whole_batches(groups, batch, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(groups)))
    for some in batches:
        assert 0 < len(some) <= batch
        for group in groups[some]:
            assert (groups[some] == group).sum() == sizes[group]
    # Whoever stands alone never comes after a place that was left free.
    free = [number for number, some in enumerate(batches) if len(some) < batch][:1]
    for some in batches[free[0] + 1 :] if free else ():
        assert all(sizes[group] > 1 for group in groups[some])


@pytest.fixture(scope="module")
def store(tmp_path_factory, build_store, rows_of):
    """Thirty pairs in three views, the last of which some members lack, and a pool of reals."""
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
        for n in range(45)
        for label in (0, 1)
        for view in range(1 if n % 3 == 0 else 2 if label and n % 2 else 3)
    ]
    pool = rows_of["plain"]("pool", 0, 24, views=4)
    return build_store(tmp_path_factory.mktemp("pairs") / "f.zarr", {"vae": rows, "pool": pool})


def choose(store, config):
    tables, _ = open_tables(store, [config], CPU)
    return tables.train.rows, choose_samples(tables.train, config, ("clip_cls",), "train")


def test_members_of_a_pair_are_drawn_in_one_view(store):
    rows, samples = choose(store, PAIRS)
    seen = set()
    for epoch in range(1, 30):
        taken, places = samples.epoch(0, epoch, 10, views=True)
        assert sum(map(len, taken)) == len(samples) == 60 + 15
        for some, drawn in zip(taken, places, strict=True):
            assert [rows[p].sample_id for p in drawn] == [
                rows[p].sample_id for p in samples.plain[some]
            ]
            views: dict[str, list[int]] = {}
            for one in (rows[place] for place in drawn):
                if pair := one.columns.get("pair_id"):
                    views.setdefault(pair, []).append(one.view)
                    seen.add((one.columns["label"], int(pair.partition("/")[2]) % 2, one.view))
            assert all(len(pair) == 2 and len(set(pair)) == 1 for pair in views.values())
    # Of odd pairs the fake has no third view, and so the real's is never drawn.
    for which in ((0, 2), (1, 1)):
        other = [some.tolist() for some in samples.epoch(*which, 10, views=True)[0]]
        assert other != [some.tolist() for some in samples.epoch(0, 1, 10, views=True)[0]]
    again = samples.epoch(0, 29, 10, views=True)
    assert all(map(np.array_equal, [*taken, *places], [*again[0], *again[1]]))
    both = {(odd, view) for odd, views in ((0, 3), (1, 2)) for view in range(views)}
    assert seen == {(label, *one) for label in (0, 1) for one in both}
    plain, places = samples.epoch(0, 1, 10, views=False)
    assert all(map(np.array_equal, (samples.plain[some] for some in plain), places))


@given(st.floats(0.05, 1), st.integers(0, 3))
def test_a_share_of_the_rows_takes_whole_pairs(store, fraction, seed):
    config = replace(PAIRS, train=("vae",), fraction=fraction, data_seed=seed)
    _, samples = choose(store, config)
    assert samples.groups is not None and set(np.bincount(samples.groups)) == {2}
    assert abs(len(samples) - 60 * fraction) <= 2


def test_frames_of_videos_keep_their_pairs_in_a_share(tmp_path, build_store, rows_of):
    rows = [
        rows_of["row"](
            "vae",
            f"{label}/{video}-{frame}",
            label,
            "val" if video > 9 else "train",
            video_id=f"v{video}~vae" if label else f"v{video}",
            pair_id=f"mine/{video}-{frame}",
            pair_kind="vae",
        )
        for video in range(12)
        for label in (0, 1)
        for frame in range(3)
    ]
    store = build_store(tmp_path / "f.zarr", {"vae": rows})
    _, samples = choose(store, replace(PAIRS, fraction=0.3))
    assert samples.groups is not None and np.bincount(samples.groups).tolist() == [2] * 9


def test_rows_without_a_pair_are_refused(tmp_path, build_store, rows_of):
    plain = {"pool": rows_of["plain"]("pool", 0, 16), "gan": rows_of["plain"]("gan", 1, 16)}
    store = build_store(tmp_path / "f.zarr", plain)
    with pytest.raises(InputError, match=r"the training rows hold no pair.*pair_batches="):
        choose(store, PAIRS)
    with pytest.raises(InputError, match=r"hold no pair.*leave pair_loss= out"):
        choose(store, replace(PAIRS, pair_batches=False, pair_loss=0.5))
