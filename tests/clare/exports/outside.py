"""Runs exported files as a stranger does: this file is started by itself and imports no `clare`.

Its argument is a folder with ``cases.json``, a list of files with the arrays that are their inputs;
the outputs are written beside those, ``NAME.out.npz``.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file


def run_onnx(file, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    json.loads(session.get_modelmeta().custom_metadata_map["clare"])
    return session.run(["margin", "p_fake", *inputs.pop("wanted")], inputs)


def run_torchscript(file, inputs):
    extra = {"clare.json": ""}
    model = torch.jit.load(str(file), _extra_files=extra)
    json.loads(extra["clare.json"])
    return model(*tensors(inputs))


def run_pt2(file, inputs):
    extra = {"clare.json": ""}
    program = torch.export.load(file, extra_files=extra)
    json.loads(extra["clare.json"])
    return program.module()(*tensors(inputs))


def run_folder(file, inputs):
    weights = dict(sorted(load_file(file / "model.safetensors").items()))
    return torch.export.load(file / "program.pt2").module()(weights, *tensors(inputs))


def tensors(inputs):
    inputs.pop("wanted", None)
    return [torch.from_numpy(one) for one in inputs.values()]


def main(place):
    for case in json.loads((place / "cases.json").read_text()):
        name, kind = case["name"], case["kind"]
        inputs = {one: np.load(place / f"{case['inputs']}.{one}.npy") for one in case["order"]}
        given = {**inputs, "wanted": case["outputs"][2:]} if kind == "onnx" else inputs
        with torch.no_grad():
            found = globals()[f"run_{kind}"](place / name, given)
        arrays = dict(zip(case["outputs"], map(np.asarray, found), strict=True))
        np.savez(place / f"{case['result']}.npz", **arrays)
    assert "clare" not in sys.modules


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
