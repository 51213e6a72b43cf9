"""Exported files, run in a process that knows no `clare`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

OUTSIDE = Path(__file__).with_name("outside.py")


def run_outside(*words, **how) -> str:
    """What Python prints where no checkout of `clare` is on the path."""
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, env=plain, check=True, stdout=subprocess.PIPE, text=True, **how
    ).stdout


class Outside:
    """A folder of exported files with inputs, all of which one process of its own runs."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.cases: list[dict] = []

    def add(self, name, kind, model, inputs, result):
        """Have an exported file run over some inputs.

        Args:
            name: of the file, which stands in the folder.
            kind: its format.
            model: that was exported.
            inputs: tensors, in their order.
            result: what the outputs are called.
        """
        for one, value in zip(model.inputs, inputs, strict=True):
            np.save(self.place / f"{result}.{one}.npy", value.numpy())
        case = {"name": name, "kind": kind, "inputs": result, "result": result}
        self.cases.append({**case, "order": [*model.inputs], "outputs": [*model.outputs]})

    def run(self) -> None:
        """Run all of them."""
        (self.place / "cases.json").write_text(json.dumps(self.cases))
        run_outside(OUTSIDE, self.place)

    def outputs(self, result) -> list[torch.Tensor]:
        """What a file gave, in the order of its outputs."""
        with np.load(self.place / f"{result}.npz") as found:
            return [torch.from_numpy(found[name]) for name in found.files]


@pytest.fixture(scope="module")
def outside(tmp_path_factory) -> Outside:
    return Outside(tmp_path_factory.mktemp("outside"))
