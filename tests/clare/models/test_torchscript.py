"""TorchScript archives: their tensors are read, and nothing of theirs is run."""

import pickle
import warnings
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clare.errors import WeightsError
from clare.models.torchscript import is_torchscript
from clare.models.weights import read_tensors


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3).half())
        base = torch.arange(20.0)
        self.register_buffer("view", base[3:15].view(3, 4).T)
        self.register_buffer("same", base)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Outer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()
        self.blocks = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.logit_scale = torch.nn.Parameter(torch.tensor(3.5))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.register_buffer("none", torch.empty(0, 4))
        self.name = "a string"
        self.sizes = [1, 2, 3]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * len(self.sizes)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own older format deprecated
        torch.jit.script(Outer().eval()).save(str(path))
    return path


def test_tensors_are_those_that_torch_loads(archive):
    found = read_tensors(archive)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.jit.load(str(archive)).state_dict()
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def rewrite(source, target, change):
    """A copy of an archive whose records went through ``change(name, bytes)``; None drops one."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            if (data := change(info.filename, old.read(info))) is not None:
                new.writestr(info.filename, data)
    return target


class Act:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_code_in_an_archive_never_runs(tmp_path, monkeypatch):
    """One archive acts through its code as soon as torch loads it, the other through a pickle."""

    class Acts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.ones(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        @torch.jit.export
        def __getstate__(self):
            return self.weight, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[torch.Tensor, bool]):
            torch.save(torch.ones(1), "ran")  # TorchScript's own way to write a file
            self.weight = state[0]
            self.training = state[1]

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "acts.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Acts()).save(str(path))
        torch.jit.load(str(path))
    assert (tmp_path / "ran").exists()  # so the trap is one
    (tmp_path / "ran").unlink()
    assert is_torchscript(path)
    read_or_refuse(path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_an_archive_makes_nothing(archive, tmp_path):
    marker = tmp_path / "sprung"
    for record in ("data.pkl", "constants.pkl"):
        trap = rewrite(
            archive,
            tmp_path / f"{record}.pt",
            lambda name, data, record=record: (
                pickle.dumps({"a": Act(marker)}) if name.endswith(f"/{record}") else data
            ),
        )
        read_or_refuse(trap)
        assert not marker.exists()


class Node:
    """Stands for a module in a pickle."""


def shared() -> Node:
    """Sixty modules, each of which has the next one twice."""
    node = Node()
    for _ in range(60):
        above = Node()
        vars(above).update(a=node, b=node)
        node = above
    return node


def circular() -> Node:
    """A module that has itself a thousand times."""
    node = Node()
    vars(node).update({f"member{n}": node for n in range(1000)})
    return node


@pytest.mark.parametrize("make", [shared, circular])
def test_modules_that_share_modules_are_not_walked_for_ever(archive, tmp_path, make):
    node = make()

    def replace(name, data):
        return pickle.dumps(node) if name.endswith("/data.pkl") else data

    with pytest.raises(WeightsError, match="too many modules"):
        read_tensors(rewrite(archive, tmp_path / "dag.pt", replace))


def test_views_of_one_storage_take_no_more_memory_than_a_file_may(tmp_path):
    class Views(torch.nn.Module):
        def __init__(self, count):
            super().__init__()
            base = torch.ones(100, 300)
            for number in range(count):
                self.register_buffer(f"view{number}", base.T)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    for count in (1, 30):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(Views(count)).save(str(tmp_path / f"{count}.pt"))
    assert read_tensors(tmp_path / "1.pt")["view0"].shape == (300, 100)
    with pytest.raises(WeightsError, match="larger than the file"):
        read_tensors(tmp_path / "30.pt")


def read_or_refuse(path):
    """What a file gives; None where it is refused, in one sentence."""
    try:
        return read_tensors(path)
    except WeightsError as error:
        assert "\n" not in str(error)
        return None


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_archives_are_refused_or_harmless(archive, tmp_path, data):
    whole = bytearray(archive.read_bytes())
    way = data.draw(st.sampled_from(["cut", "flip", "pickle", "drop"]))
    target = tmp_path / "damaged.pt"
    if way == "cut":
        target.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    elif way == "flip":
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        target.write_bytes(whole)
    else:
        names = zipfile.ZipFile(archive).namelist()
        chosen = data.draw(st.sampled_from(names))
        spoilt = None if way == "drop" else data.draw(st.binary(max_size=60))
        rewrite(archive, target, lambda name, kept: spoilt if name == chosen else kept)
    for value in (read_or_refuse(target) or {}).values():
        assert isinstance(value, torch.Tensor)


def test_sizes_are_held_against_the_file(archive, tmp_path):
    """A tensor that reaches beyond its storage, and a record that a zip would blow up."""
    short = rewrite(
        archive,
        tmp_path / "short.pt",
        lambda name, data: data[:-2] if "/data/" in name and len(data) > 8 else data,
    )
    assert read_or_refuse(short) is None
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as new:
        for info in old.infolist():
            kind = zipfile.ZIP_DEFLATED if "/data/" in info.filename else zipfile.ZIP_STORED
            new.writestr(info.filename, old.read(info), kind)
    assert read_or_refuse(tmp_path / "bomb.pt") is None
