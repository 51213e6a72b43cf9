"""What an extraction will cost, as `clare bench` tells it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import clare as api
from clare.errors import DiskSpaceError
from clare.pipeline.extraction import bench

QUICK = ("--backbone", "tiny", "--draws", "1", "--seconds", "0.5")


@pytest.fixture(scope="module")
def cost(pictures, tmp_path_factory):
    """The cost of both folders of pictures, and the place where nothing is left."""
    place = tmp_path_factory.mktemp("bench")
    found = api.bench(
        place / "store",
        real=pictures / "real",
        fake={"toy": pictures / "fake"},
        backbone="tiny",
        settings={"lare": {"draws": 1}},
        seconds=2,
        micro_batch=8,
    )
    assert list(place.iterdir()) == []
    return found


def test_every_stage_has_a_rate_with_its_spread(cost):
    stages = [rate.stage for rate in cost.rates]
    models = ["forward:lare", "forward:clip"]
    assert stages == ["files", "decode", *models, "write", "read", "extraction"]
    for rate in cost.rates:
        assert 0 < rate.least <= rate.most and rate.images > 0, rate
        if rate.stage != "extraction":
            assert rate.least <= rate.seconds <= rate.most, rate
    assert cost.images == cost.rows == 80 and 0 < cost.seconds[0] < cost.seconds[1]
    assert cost.host_memory > 1 << 20 and cost.device_memory is None


def test_what_decides_is_named_with_its_shares(cost):
    decides = cost.bottleneck
    assert decides.what in ("decode", "models", "write", "cores")
    assert max(decides.shares.values()) <= 1 + 1e-9
    assert str(decides.remark)


def test_the_disk_is_what_an_extraction_takes(cost, pictures, tmp_path):
    api.extract(
        tmp_path / "store",
        real=pictures / "real",
        fake={"toy": pictures / "fake"},
        backbone="tiny",
        settings={"lare": {"draws": 1}},
    )
    files = [path for path in (tmp_path / "store" / "arrays").rglob("*") if path.is_file()]
    arrays = [path for path in files if path.name != "zarr.json"]
    # The last shard of each subset is written whole.
    taken = sum(path.stat().st_size for path in arrays) * 80 / 128
    fields = cost.disk - 80 * 4096
    assert fields == pytest.approx(taken, rel=0.001)


def test_views_are_further_rows_of_the_images(pictures, tmp_path):
    found = api.bench(
        tmp_path / "store",
        images=1000,
        size=64,
        views=3,
        features=["pixels"],
        thumbnails=False,
        seconds=0.2,
    )
    assert (found.images, found.rows) == (1000, 3000)
    assert found.disk == pytest.approx(3000 * 256 * 256 * 3, rel=0.01)


SLOW = """
import time
from clare.pipeline.extractor import HostExtractor


class Slow(HostExtractor):
    channels = (3,)

    def prepare(self, image):
        return {"slow": image.pixels(self.size)}

    def forward(self, inputs):
        begun = time.thread_time()
        while time.thread_time() - begun < 0.05 * len(inputs["slow"]):
            pass
        return super().forward(inputs)
"""


def test_a_model_that_is_too_slow_is_measured_on_single_images(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    found = api.bench(
        tmp_path / "store",
        images=1000,
        size=64,
        features=[str(tmp_path / "slow.py")],
        micro_batch=64,
        seconds=1,
    )
    rates = {rate.stage: rate for rate in found.rates}
    assert rates["forward:slow"].batch == 1
    assert rates["extraction"].is_computed and rates["extraction"].seconds >= 0.05
    assert found.bottleneck.what in ("models", "cores") and "slow" in str(found.bottleneck.remark)
    assert found.seconds[1] > 1000 * 0.05


def test_images_for_tests_alone_have_no_views(clare, pictures):
    data = ("--real", pictures / "real", "--fake", f"toy={pictures / 'fake'}", "--views", "3")
    quick = ("--features", "pixels", "--no-thumbnails", "--seconds", "0.2", "--json")
    code, out, _ = clare("bench", *data, *quick, "--test-only", "toy")
    found = json.loads(out)
    assert code == 0 and found["images"] == 80 < found["rows"] < 40 + 3 * 40


def test_a_terminal_shows_a_table_and_json_the_same(clare, tmp_path):
    command = ("bench", "--features", "pixels", "--seconds", "0.2", "--size", "64")
    code, out, _ = clare(*command, "--images", "164000")
    assert code == 0
    for said in ("decoding", "writing", "extraction as a whole", "bottleneck: "):
        assert said in out
    assert re.search(r"164,000 images: .+ of disk \(.+ free", out.replace("\n", " "))
    code, out, _ = clare(*command, "--json")
    found = json.loads(out)
    assert code == 0 and found["images"] == 10_000 and found["bottleneck"]["remark"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--subset", "nobody"), "nobody"),
        (("--device", "cuda:77"), "device cuda:77 can't be used"),
        (("--features", "foo"), "no extractor 'foo'"),
        (("--scratch", "file"), "is a file: name a folder for the trial's files with --scratch"),
        (("--real", "nothing"), "nothing is not there"),
        (("--real", "broken"), "can be used"),
        (("--sd-model", "nowhere/at-all", "--images", "3"), "nowhere/at-all"),
    ],
)
def test_what_can_not_be_measured_is_one_sentence(clare, tmp_path, options, said):
    (tmp_path / "file").touch()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no picture")
    before = sorted(tmp_path.iterdir())
    code, out, err = clare("bench", *options, *QUICK[:-4], "--seconds", "0.2", "--size", "64")
    assert (code, out) == (1, "") and said in err, err
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_is_one_sentence_and_nothing_is_left(clare, tmp_path, monkeypatch):
    def full(folder, needed):
        raise DiskSpaceError(f"9 GiB are needed at {folder}")

    monkeypatch.setattr(bench, "require_free_space", full)
    code, out, err = clare("bench", "--features", "pixels", "--size", "64")
    assert (code, out) == (1, "") and "9 GiB are needed" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stop_leaves_nothing(tmp_path, number):
    command = [sys.executable, "-m", "clare", "bench", "--features", "pixels", "--seconds", "60"]
    running = subprocess.Popen(
        [*command, "--size", "64"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    until = time.monotonic() + 120
    while not list(tmp_path.glob(".clare-bench-*/store/*")) and time.monotonic() < until:
        time.sleep(0.05)
    assert running.poll() is None
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == (130 if number == signal.SIGINT else 143), said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
