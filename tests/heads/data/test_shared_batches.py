"""Batches in a worker's buffers: what is sent, and when a buffer may be filled again."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest
import torch

from clare.heads.data.shared_batches import Layout, SharedBatch, SharedBuffers

LAYOUT: Layout = {
    "pixels": ((5, 3), np.dtype("uint8")),
    "lare": ((5, 2, 4), np.dtype("<f4")),
    "index": ((5,), np.dtype("int64")),
}


def take(buffers: SharedBuffers, value: int, layout: Layout = LAYOUT) -> SharedBatch:
    batch = buffers.take(layout)
    assert batch is not None
    for values in batch.values():
        values.fill_(value)
    return batch


def send(batch: SharedBatch) -> dict[str, torch.Tensor]:
    received: dict[str, torch.Tensor] = ForkingPickler.loads(bytes(ForkingPickler.dumps(batch)))
    return received


def address(batch: dict[str, torch.Tensor]) -> int:
    return batch["lare"].data_ptr()


def test_a_batch_arrives_as_a_plain_dictionary():
    batch = take(SharedBuffers(), 7)
    got = send(batch)
    assert type(got) is dict and list(got) == list(LAYOUT)
    for name, (shape, dtype) in LAYOUT.items():
        assert got[name].shape == shape and got[name].numpy().dtype == dtype
        assert (got[name] == 7).all()


def test_a_buffer_is_filled_again_once_nothing_of_its_batch_is_held():
    buffers = SharedBuffers()
    batch = take(buffers, 1)
    place = address(batch)
    got = send(batch)
    del batch
    part = got["lare"][2:, 0].numpy()  # a view of a view
    del got
    assert address(other := take(buffers, 2)) != place
    assert (part == 1).all()
    del part
    assert address(take(buffers, 3)) == place
    assert (other["lare"] == 2).all()


def test_what_is_still_held_in_the_worker_is_not_filled_again():
    buffers = SharedBuffers()
    batch = take(buffers, 1)
    place, row = address(batch), batch["pixels"][0]
    send(batch)
    del batch
    assert address(take(buffers, 2)) != place
    assert (row == 1).all()


def test_what_a_worker_changed_arrives_changed():
    batch = take(SharedBuffers(), 1)
    batch["lare"] = batch["lare"][:, 0]  # no longer contiguous
    batch["pixels"] = batch["pixels"][1:]
    batch["index"] = batch["index"].half()
    batch["name"] = "five"  # type: ignore[assignment]
    got: dict[str, Any] = send(batch)
    assert got["lare"].shape == (5, 4) and got["pixels"].shape == (4, 3)
    assert got["index"].dtype == torch.float16 and got["name"] == "five"
    assert all((got[name] == 1).all() for name in ("lare", "pixels", "index"))


def test_a_batch_that_was_replaced_whole_gives_nothing_back():
    buffers = SharedBuffers()
    batch = take(buffers, 1)
    place = address(batch)
    for name in batch:
        batch[name] = batch[name].clone()
    later = take(buffers, 2)
    assert address(later) == place
    held = send(later)
    del later
    assert all((value == 1).all() for value in send(batch).values())
    assert address(take(buffers, 3)) != place
    assert all((value == 2).all() for value in held.values())


def test_a_copy_has_memory_of_its_own():
    buffers = SharedBuffers()
    batch = take(buffers, 1)
    place = address(batch)
    copies = [send(batch), pickle.loads(pickle.dumps(batch)), copy.deepcopy(batch), send(batch)]
    copies.pop(0).clear()
    del batch
    assert address(take(buffers, 2)) == place
    assert all(type(each) is dict and (each["lare"] == 1).all() for each in copies)


def test_while_all_buffers_are_in_use_there_is_none():
    buffers = SharedBuffers()
    held = [take(buffers, n) for n in range(8)]
    assert buffers.take(LAYOUT) is None
    del held[3]
    gc.collect()
    assert (take(buffers, 9)["lare"] == 9).all()
    assert [int(batch["index"][0]) for batch in held] == [0, 1, 2, 4, 5, 6, 7]


def test_buffers_that_are_too_small_make_way():
    buffers = SharedBuffers()
    for rows in range(1, 20):
        assert len(take(buffers, rows, {"lare": ((rows, 4), np.dtype("<f4"))})["lare"]) == rows
    empty = take(buffers, 0, {"lare": ((0, 4), np.dtype("<f4"))})
    assert send(empty)["lare"].shape == (0, 4)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_forgets_a_batch_does_not_give_it_back():
    buffers = SharedBuffers()
    batch = take(buffers, 1)
    place = address(batch)
    got = send(batch)
    del batch
    child = multiprocessing.get_context("fork").Process(target=got.clear)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert address(take(buffers, 2)) != place
    assert (got["lare"] == 1).all()
