"""A FeatureDataset in this process and in DataLoader workers, forked and spawned."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

from clare.errors import CorruptStoreError, StoreError
from clare.heads.data.dataset import FeatureDataset
from clare.store.feature_store import create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

TOKENS = FeatureSpec("clip_tokens", (4, 8), "float16")
LARE = FeatureSpec("lare", (2, 3), "float32")
CLIP, LARE_FP = Fingerprint("clip", 1, "aa"), Fingerprint("lare", 1, "bb")


def value(subset: str, slot: int, spec: FeatureSpec) -> np.ndarray:
    start = slot + (1000 if subset == "b" else 0)
    return np.full(spec.shape, start, spec.dtype)


def fill(store, subset: str, fingerprint: Fingerprint, spec: FeatureSpec, failed=()) -> None:
    store.declare(fingerprint, [spec])
    feature = store.feature(subset, fingerprint.extractor, fingerprint.digest)
    for shard in feature.pending():
        assert feature.claim(shard)
        values = np.stack([value(subset, 64 * shard + n, spec) for n in range(SHARD_ROWS)])
        reasons = {slot % 64: "bad" for slot in failed if slot // 64 == shard}
        feature.write_shard(shard, {spec.field: values}, reasons, {})
        feature.release(shard)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two subsets; in "a" slot 5 failed for clip and slot 7 for lare; odd rows are test rows."""
    store = create_store(tmp_path_factory.mktemp("dataset") / "features.zarr")
    for subset, count in (("a", 100), ("b", 30)):
        rows = [
            Row(
                sample_id=f"{subset}{n}",
                view=view,
                content="c",
                columns={"label": n % 3 % 2, "split": "test" if n % 2 else "train"},
            )
            for n in range(count)
            for view in ((0, 1) if n == 2 else (0,))
        ]
        store.assign_rows(subset, rows)
        fill(store, subset, CLIP, TOKENS, failed=(5,) if subset == "a" else ())
        fill(store, subset, LARE_FP, LARE, failed=(7,) if subset == "a" else ())
    return store


def check(batch: dict[str, torch.Tensor], dataset: FeatureDataset) -> list[int]:
    for n, index in enumerate(batch["index"].tolist()):
        row = dataset.rows[index]
        subset = row.sample_id[0]
        assert batch["label"][n] == row.columns["label"]
        for spec in (TOKENS, LARE):
            np.testing.assert_array_equal(batch[spec.field][n], value(subset, row.slot, spec))
    return batch["index"].tolist()


def test_rows_are_those_complete_in_all_fields(store):
    dataset = FeatureDataset(store.path, ["clip_tokens", "lare"])
    assert len(dataset) == 100 + 30 - 2
    assert {row.slot for row in dataset.rows if row.sample_id[0] == "a"}.isdisjoint({5, 7, 3})
    train = FeatureDataset(store.path, ["lare"], subsets=["a"], split="train", views=(0, 1))
    assert {row.columns["split"] for row in train.rows} == {"train"}
    assert [row.view for row in train.rows].count(1) == 1


def test_a_row_and_a_mixed_batch_have_the_stored_values(store):
    dataset = FeatureDataset(store.path, ["clip_tokens", "lare"])
    one = dataset[3]
    assert one["clip_tokens"].shape == (4, 8) and one["clip_tokens"].dtype == torch.float16
    batch = dataset.read([127, 3, 0, 3, 100])
    assert batch["lare"].shape == (5, 2, 3)
    assert check(batch, dataset) == [127, 3, 0, 3, 100]


def test_a_plain_loader_gives_whole_batches_and_their_rows(store):
    dataset = FeatureDataset(store, split="train")
    assert set(dataset.fields) == {"clip_tokens", "lare"}
    batch = next(iter(DataLoader(dataset, batch_size=60, shuffle=True)))
    assert type(batch) is dict and batch["lare"].shape == (60, 2, 3)
    check(batch, dataset)
    ids = [dataset.rows[index].sample_id for index in batch["index"].tolist()]
    assert dataset.sample_ids[batch["index"]].tolist() == ids
    both: ConcatDataset[Any] = ConcatDataset([Subset(dataset, range(4)), dataset])
    assert check(next(iter(DataLoader(both, batch_size=6))), dataset) == [0, 1, 2, 3, 0, 1]
    rows = next(iter(DataLoader(dataset, batch_size=3, collate_fn=list)))
    assert [int(row["index"]) for row in rows] == [0, 1, 2]
    assert dataset[-1]["index"] == len(dataset) - 1
    with pytest.raises(IndexError):
        dataset[len(dataset)]


# A spawned worker imports torch anew: one is enough to show that a dataset travels.
@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_read_the_same(store, context, workers):
    dataset = FeatureDataset(store.path, ["clip_tokens", "lare"])
    check(dataset.read([0, 1]), dataset)  # threads and caches exist before the workers
    loader = DataLoader(
        dataset,
        batch_size=4,
        shuffle=True,
        num_workers=workers,
        multiprocessing_context=context,
    )
    held = list(loader)  # more batches than a worker has buffers
    seen = [index for batch in held for index in check(batch, dataset)]
    assert sorted(seen) == list(range(len(dataset)))
    assert len(pickle.loads(pickle.dumps(dataset))) == len(dataset)


def mapped_file(values: torch.Tensor) -> str:
    """The inode of the file that a tensor's memory is a mapping of; 0 of none."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, inode = line.split()[:5]
        first, end = (int(each, 16) for each in span.split("-"))
        if first <= values.data_ptr() < end:
            return inode
    raise AssertionError("not mapped")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system tells no mappings")
def test_a_worker_uses_the_memory_of_its_batches_again(store):
    dataset = FeatureDataset(store.path, ["clip_tokens", "lare"])
    loader = DataLoader(dataset, batch_size=4, num_workers=1)
    files = [{mapped_file(values) for values in batch.values()} for batch in loader]
    assert len(files) == 32 and len(set.union(*files)) <= 8
    assert all(len(each) == 1 and "0" not in each for each in files)


def test_damage_reaches_the_training_loop_as_an_error(store):
    dataset = FeatureDataset(store.path, ["lare"], subsets=["b"])
    path = store.feature("b", "lare").array_path("lare") / "c" / "0" / "0" / "0"
    whole = path.read_bytes()
    path.write_bytes(b"\1" + whole[1:])
    loader = DataLoader(dataset, batch_size=30, num_workers=1)
    batches = iter(loader)
    with pytest.raises(CorruptStoreError, match=r"b/lare.*row 0"):
        next(batches)
    assert list(batches) == []  # and the worker ends
    path.write_bytes(whole)


def test_missing_and_ambiguous_fields_are_refused(store):
    with pytest.raises(StoreError, match="no field 'depth'"):
        FeatureDataset(store.path, ["depth"])
    with pytest.raises(StoreError, match="no subset 'c'"):
        FeatureDataset(store.path, ["lare"], subsets=["c"])
    other = Fingerprint("lare", 2, "bb")
    fill(store, "a", other, LARE)
    with pytest.raises(StoreError, match="version=2"):
        FeatureDataset(store.path, ["lare"], subsets=["a"])
    chosen = FeatureDataset(store.path, ["lare"], subsets=["a"], digests={"lare": other.digest})
    assert len(chosen) == 100
