"""Published checkpoints: their tensors and facts are read, whatever lies beside them, as data."""

import os
import pickle
import resource
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from clare.errors import WeightsError
from clare.models.checkpoint import read_checkpoint


def head():
    return OrderedDict(
        weight=torch.arange(6.0).view(2, 3), bias=torch.tensor([1.0, -1.0], dtype=torch.float16)
    )


def same(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def mapped() -> int:
    """Bytes of addresses that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


class Trap:
    """What runs code wherever it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
def test_a_models_tensors_are_found_bare_or_within_a_training(tmp_path, nest, zipped):
    content = head() if nest is None else {nest: head(), "epoch": 7, "arch": "ViT-L/14"}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "a.pth")
    same(found.tensors, head())
    assert found.facts == ({} if nest is None else {"epoch": 7, "arch": "ViT-L/14"})


def test_safetensors_and_wrapped_names(tmp_path):
    save_file(
        {f"module.{name}": value for name, value in head().items()}, tmp_path / "a.safetensors"
    )
    same(read_checkpoint(tmp_path / "a.safetensors").tensors, head())


def test_a_training_with_a_pickled_scheduler_is_read_and_none_of_it_runs(tmp_path):
    # As Dassl writes them: the scheduler holds an optimiser, which weights_only refuses.
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    content = {
        "state_dict": head(),
        "epoch": 2,
        "scheduler": {"successor": scheduler},
        "rest": defaultdict(list, a=[1]),
        "trap": Trap(tmp_path / "ran"),
    }
    torch.save(content, tmp_path / "model.pth.tar-2")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "model.pth.tar-2", weights_only=True)
    found = read_checkpoint(tmp_path / "model.pth.tar-2")
    same(found.tensors, head())
    assert found.facts == {"epoch": 2}
    assert not (tmp_path / "ran").exists()


def test_code_in_an_old_file_is_refused_and_not_run(tmp_path):
    content = {"state_dict": head(), "trap": Trap(tmp_path / "ran")}
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="code, which is never run"):
        read_checkpoint(tmp_path / "old.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "no tensors by name"),
        ({"epoch": 3}, "no tensors by name"),
        ({"state_dict": {"weight": [1.0]}}, "'weight' is no tensor"),
        ({"weight": torch.ones(2), "other": {"a": torch.ones(2)}}, "'other' is no tensor"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, content, told):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=told):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_one_sentence(tmp_path, share):
    path = tmp_path / "a.pth"
    torch.save(head() | {"more": torch.zeros(5000)}, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsError, match=r"a\.pth"):
        read_checkpoint(path)


def test_mappings_that_name_each_other_many_times_cost_no_time(tmp_path):
    # Each level names the one below a thousand times: copied out it would be 10^12 entries.
    level: Any = {"bottom": 1}
    for _ in range(4):
        level = dict.fromkeys(map(str, range(1000)), level)
    torch.save({"state_dict": head(), "rest": level, "trap": Trap(tmp_path / "no")}, tmp_path / "a")
    same(read_checkpoint(tmp_path / "a").tensors, head())


def test_a_far_place_in_the_unpicklers_memory_takes_no_room(tmp_path):
    # LONG_BINPUT of place 2^31: an array of so many entries would take 16 GiB.
    data = pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.LONG_BINPUT + b"\x00\x00\x00\x80"
    data += pickle.GLOBAL + b"os\nsystem\n" + pickle.STOP
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/version", "3")
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped() + (2 << 30), limit[1]))
    try:
        with pytest.raises(WeightsError):
            read_checkpoint(tmp_path / "a.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
