"""How long an extraction still takes, as it is told while it goes."""

import pytest

from clare.cli.views.pace import Pace
from clare.wording import time_range


class Clock:
    """Seconds that pass where a test says so."""

    now = 0.0

    def __call__(self):
        return self.now


def work(pace, clock, name, batches, seconds, waiting=0.0):
    for _ in range(batches):
        clock.now += seconds + waiting
        pace.add(name, 8, seconds)


def told(pace) -> tuple[float, float]:
    left = pace.left()
    assert left is not None
    return left


def test_the_time_left_is_that_of_the_batches_so_far():
    clock = Clock()
    pace = Pace({"lare": 800}, clock)
    work(pace, clock, "lare", 1, 50.0)  # warms up
    assert pace.left() is None
    work(pace, clock, "lare", 9, 2.0)
    low, high = told(pace)
    assert low < 90 * 2.0 < high and high / low < 2
    work(pace, clock, "lare", 60, 2.0)
    later = told(pace)
    assert later[0] < 30 * 2.0 < later[1] and later[1] / later[0] < high / low


def test_waiting_for_images_is_part_of_it():
    clock = Clock()
    pace = Pace({"clip": 800}, clock)
    work(pace, clock, "clip", 10, 0.1, waiting=0.9)
    low, high = told(pace)
    assert low < 90 * 1.0 < high


def test_each_extractor_has_a_pace_of_its_own():
    clock = Clock()
    pace = Pace({"lare": 640, "clip": 640}, clock)
    work(pace, clock, "lare", 8, 4.0)
    work(pace, clock, "clip", 8, 1.0)
    low, high = told(pace)
    assert low < 72 * 4.0 + 72 * 1.0 < high


def test_what_has_not_begun_widens_the_range():
    clock = Clock()
    pace = Pace({"lare": 640, "clip": 640}, clock)
    work(pace, clock, "lare", 5, 4.0)
    assert pace.left() is None, "clip may be as slow, so it is too early"
    work(pace, clock, "lare", 5, 4.0)
    low, high = told(pace)
    assert low < 70 * 4.0 and high > 150 * 4.0


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
