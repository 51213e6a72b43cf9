"""How long an extraction still takes, as it is told while it goes."""

import pytest

from clare.pipeline.extraction.pace import DECODE, FORWARD, WRITE, Pace, stage_of
from clare.wording import time_range


class Clock:
    """Seconds that pass where a test says so."""

    now = 0.0

    def __call__(self):
        return self.now


class Machine:
    """An extraction of some images, as a clock and a pace see it.

    Args:
        images: by extractor.
        cores: of the machine.
    """

    def __init__(self, images, cores=1):
        self.clock = Clock()
        self.pace = Pace(images, max(images.values()), cores, self.clock)

    def work(self, name, batches, seconds, cpu=0.0, waiting=0.0):
        for _ in range(batches):
            self.clock.now += seconds + waiting
            self.pace.add(stage_of(FORWARD, name), 8, seconds, cpu)

    def told(self) -> tuple[float, float]:
        left = self.pace.left()
        assert left is not None
        return left


def test_the_time_left_is_that_of_the_batches_so_far():
    machine = Machine({"lare": 800})
    machine.work("lare", 1, 50.0)  # warms up
    assert machine.pace.left() is None
    machine.work("lare", 9, 2.0)
    low, high = machine.told()
    assert low < 90 * 2.0 < high and high / low < 2
    machine.work("lare", 60, 2.0)
    later = machine.told()
    assert later[0] < 30 * 2.0 < later[1] and later[1] / later[0] < high / low


def test_waiting_for_images_is_part_of_it():
    machine = Machine({"clip": 800})
    machine.work("clip", 10, 0.1, waiting=0.9)
    low, high = machine.told()
    assert low < 90 * 1.0 < high


def test_each_extractor_has_a_pace_of_its_own():
    machine = Machine({"lare": 640, "clip": 640})
    machine.work("lare", 8, 4.0)
    machine.work("clip", 8, 1.0)
    machine.work("lare", 4, 4.0)
    machine.work("clip", 4, 1.0)
    low, high = machine.told()
    assert low < 68 * 4.0 + 68 * 1.0 < high


def test_what_has_not_begun_widens_the_range():
    machine = Machine({"lare": 640, "clip": 640})
    machine.work("lare", 10, 4.0)
    low, high = machine.told()
    assert low < 70 * 4.0 and high > 150 * 4.0


def test_the_time_is_that_of_late_when_the_machine_slows_down():
    machine = Machine({"lare": 8000})
    machine.work("lare", 300, 1.0)
    machine.work("lare", 50, 4.0)
    low, high = machine.told()
    assert low < 650 * 4.0 < high


def test_runs_beside_it_take_of_what_is_left_as_they_did_so_far():
    machine = Machine({"clip": 1600})
    for _ in range(10):
        machine.pace.share(32, 32)
        machine.work("clip", 4, 1.0)
    low, high = machine.told()
    assert low < (1600 - 640) / 2 / 8 * 1.0 < high
    machine.pace.share(16, 944)
    low, high = machine.told()
    assert low < 2 * 1.0 < high, "what it took itself is all that it still does"


def test_images_that_are_decoded_ahead_are_not_taken_for_the_pace():
    """One core decodes 192 images while the models get through the first 32."""
    machine = Machine({"clip": 6400})
    machine.work("clip", 1, 0.1, 0.1)
    for _ in range(3):
        machine.clock.now += 64 * 0.01
        machine.pace.add(DECODE, 64, 64 * 0.01, 64 * 0.01)
        machine.work("clip", 1, 0.1, 0.1)
    low, high = machine.told()
    expected = (6400 - 192) * 0.01 + (6400 - 32) / 8 * 0.1
    assert (low * high) ** 0.5 == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("cores", "seconds"),
    [(1, 800 * 0.05 + 800 * 0.1 + 800 * 0.01), (16, 800 * 0.1)],
    ids=["one core: all stages one after the other", "many: the slowest decides"],
)
def test_stages_share_few_cores_and_overlap_on_many(cores, seconds):
    machine = Machine({"clip": 1600}, cores)
    machine.work("clip", 1, 0.8, 0.8)
    for _ in range(100):
        machine.clock.now += 8 * seconds / 800
        machine.pace.add(DECODE, 8, 8 * 0.05 / cores, 8 * 0.05)
        machine.pace.add(stage_of(WRITE, "clip"), 8, 8 * 0.01, 8 * 0.01)
        machine.pace.add(stage_of(FORWARD, "clip"), 8, 8 * 0.1, 8 * 0.1)
    low, high = machine.told()
    assert low < seconds < high < 1.25 * low
    an_image = machine.pace.an_image()
    assert an_image == pytest.approx((seconds / 800,) * 3)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (21, 34, "20 to 35 seconds"),
        (1, 3, "up to 5 seconds"),
        (0, 0, "up to 5 seconds"),
        (241, 400, "4 to 7 minutes"),
        (50, 120, "50 to 120 seconds"),
        (50, 200, "up to 4 minutes"),
        (7000, 14500, "1 to 5 hours"),
    ],
)
def test_a_range_is_said_in_one_unit(low, high, said):
    assert time_range(low, high) == said
