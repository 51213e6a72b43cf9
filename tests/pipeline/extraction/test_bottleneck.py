"""What decides how long an extraction takes, and what is said of it."""

import pytest

from clare.models.runtime import Runtime
from clare.pipeline.extraction.bottleneck import find_bottleneck
from clare.pipeline.extraction.pace import Spent
from clare.pipeline.extraction.rates import Rate

GPU, CPU = Runtime("cuda", "float16"), Runtime()


def rate(seconds, batch=64, spread=0.0):
    least, most = seconds - spread, seconds + spread
    return Rate("forward:lare", 256, seconds, least, most, batch=batch)


def found(decode, lare, write, *, cores=16, loaders=16, runtime=GPU, batches=(), cpu=0.01):
    costs = {
        "decode": Spent(1, decode / loaders, decode),
        "forward:lare": Spent(1, lare, lare * cores if runtime is CPU else cpu),
        "forward:clip": Spent(1, lare / 10, lare / 10 * cores if runtime is CPU else cpu),
        "write": Spent(1, write, write / 2),
    }
    return find_bottleneck(costs, cores, loaders, runtime, batches or [rate(1)])


@pytest.mark.parametrize(
    ("how", "what", "said"),
    [
        ({"decode": 0.02, "lare": 0.5, "write": 0.01}, "models", "lare takes 91% of their time"),
        ({"decode": 40, "lare": 0.1, "write": 0.01}, "decode", "the models would allow 9.09"),
        ({"decode": 40, "lare": 0.1, "write": 0.01}, "decode", "smaller image files"),
        ({"decode": 4, "lare": 0.1, "write": 0.01, "loaders": 2}, "decode", "loaders=16"),
        ({"decode": 0.1, "lare": 0.1, "write": 3}, "write", "store="),
        (
            {"decode": 1, "lare": 0.1, "write": 0.1, "cores": 1, "loaders": 1, "runtime": CPU},
            "cores",
            "decoding takes 86% of the work",
        ),
    ],
)
def test_the_slowest_lane_decides_and_what_would_move_it_is_said(how, what, said):
    decides = found(**how)
    assert decides.what == what and said in str(decides.remark), decides.remark


def test_another_micro_batch_is_advised_where_it_is_faster_beyond_the_spread():
    clear = [rate(0.5), rate(0.3, 128), rate(0.6, 32)]
    said = str(found(0.02, 0.5, 0.01, batches=clear).remark)
    assert "micro_batch=128 is 1.7 times as fast" in said
    noisy = [rate(0.5, spread=0.3), rate(0.3, 128)]
    assert "micro_batch=" not in str(found(0.02, 0.5, 0.01, batches=noisy).remark)
