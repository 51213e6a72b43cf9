"""Rounds of a race, by a clock that the ways themselves move."""

from collections import Counter

import pytest

from benchmarks.rounds import LEAST, Figure, Progress, Race, Ratio


class Clock:
    """Stands still but for what the ways take."""

    def __init__(self) -> None:
        self.now, self.turns = 0.0, list[str]()

    def __call__(self) -> float:
        return self.now

    def way(self, name: str, *seconds: float):
        """Takes these seconds in turn, the last for ever."""
        left = list(seconds)

        def turn() -> None:
            self.turns.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return turn


@pytest.fixture
def clock() -> Clock:
    return Clock()


def run(race: Race, clock: Clock, rounds: int = 7, budget: float = 1e9) -> list[Progress]:
    told: list[Progress] = []
    race.run(rounds, budget, told.append, clock)
    return told


class TestOrder:
    def test_every_way_has_one_turn_a_round(self, clock):
        race = Race("three", {name: clock.way(name, 1) for name in "abc"})
        run(race, clock, rounds=9)
        rounds = [clock.turns[n : n + 3] for n in range(0, len(clock.turns), 3)]
        assert len(rounds) == 10, "nine, and one to warm up"
        assert all(sorted(one) == ["a", "b", "c"] for one in rounds)

    def test_the_order_changes_and_no_way_is_always_first(self, clock):
        race = Race("three", {name: clock.way(name, 1) for name in "abc"})
        run(race, clock, rounds=30)
        first = Counter(clock.turns[3::3])
        assert set(first) == {"a", "b", "c"}
        assert max(first.values()) < 20

    def test_the_order_is_the_same_in_every_run(self):
        turns = []
        for _ in range(2):
            clock = Clock()
            run(Race("three", {name: clock.way(name, 1) for name in "abc"}), clock)
            turns.append(clock.turns)
        assert turns[0] == turns[1]

    def test_times_are_shown_in_the_order_of_the_ways(self, clock):
        race = Race("three", {name: clock.way(name, 1) for name in "cab"})
        run(race, clock)
        assert [one.name for one in race.outcome().times] == ["c", "a", "b"]


class TestFigures:
    def test_the_round_that_warms_up_is_not_counted(self, clock):
        race = Race("one", {"a": clock.way("a", 100, 1)})
        run(race, clock)
        assert race.seconds == {"a": [1] * 7}

    def test_a_race_may_do_without(self, clock):
        race = Race("one", {"a": clock.way("a", 5, 1)}, warm=False)
        run(race, clock, rounds=3)
        assert race.seconds == {"a": [5, 1, 1]}

    def test_a_ratio_is_of_one_round_its_median_and_spread_over_the_rounds(self, clock):
        ways = {"ours": clock.way("ours", 1, 1, 2, 4), "plain": clock.way("plain", 1, 10, 10, 10)}
        race = Race("two", ways, [Ratio("ours", "plain", aim=3)])
        run(race, clock, rounds=3)
        (found,) = race.outcome().ratios
        assert found == Figure("ours against plain", "x", 5, 2.5, 10, 3, aim=3)

    def test_a_way_may_hold_the_clock_itself(self, clock):
        ways = {"stages": lambda: {"read": 2.0, "write": 1.0}, "all": clock.way("all", 4)}
        race = Race(
            "stages",
            ways,
            [Ratio("all", "sum")],
            derive=lambda found: {"sum": found["read"] + found["write"]},
        )
        run(race, clock)
        outcome = race.outcome()
        assert {one.name: one.median for one in outcome.times} == {
            "all": 4,
            "read": 2,
            "write": 1,
            "sum": 3,
        }
        assert outcome.ratios[0].median == 0.75

    def test_a_rate_is_work_by_seconds(self, clock):
        race = Race("one", {"a": clock.way("a", 1, 4, 2, 1)}, rate=(8, "MB/s"))
        run(race, clock, rounds=3)
        assert race.outcome().times == [Figure("a", "MB/s", 4, 2, 8, 3)]

    def test_facts_are_looked_at_once_after_the_rounds(self, clock):
        race = Race("one", {"a": clock.way("a", 1)}, facts=lambda: {"turns": len(clock.turns)})
        run(race, clock)
        assert race.outcome().facts == {"turns": 8}

    def test_a_device_is_waited_for_around_each_turn(self, clock):
        seen: list[int] = []
        ways = {"a": clock.way("a", 1), "b": clock.way("b", 1)}
        run(Race("two", ways, wait=lambda: seen.append(len(clock.turns))), clock, rounds=1)
        assert seen == [0, 1, 1, 2, 2, 3, 3, 4]

    @pytest.mark.parametrize(
        ("low", "high", "differs"),
        [(4, 6, True), (0.5, 0.9, True), (2.5, 6, False), (0, 1.5, False), (1.5, 2, False)],
    )
    def test_a_figure_differs_where_the_spreads_do_not_meet(self, low, high, differs):
        old = Figure("a", "x", 2, 1, 3, 5)
        assert old.differs(Figure("a", "x", (low + high) / 2, low, high, 5)) is differs


class TestBudget:
    def test_rounds_end_where_another_would_not_fit(self, clock):
        race = Race("one", {"a": clock.way("a", 10)})
        run(race, clock, rounds=100, budget=65)
        assert clock.now == 60

    def test_some_rounds_are_run_whatever_they_cost(self, clock):
        race = Race("one", {"a": clock.way("a", 10)})
        run(race, clock, budget=0)
        assert len(race.seconds["a"]) == LEAST

    def test_less_than_these_where_less_are_wanted(self, clock):
        race = Race("one", {"a": clock.way("a", 10)})
        run(race, clock, rounds=1, budget=0)
        assert len(race.seconds["a"]) == 1

    def test_or_where_the_whole_script_has_no_more_time(self, clock):
        race = Race("one", {"a": clock.way("a", 10)})
        race.run(7, 0, lambda progress: None, clock, limit=15)
        assert len(race.seconds["a"]) == 1

    def test_work_that_is_counted_is_done_whole(self, clock):
        race = Race("one", {"a": clock.way("a", 10)}, rounds=20)
        run(race, clock, budget=0)
        assert len(race.seconds["a"]) == 20

    def test_the_time_left_is_that_of_the_rounds_or_of_the_budget(self, clock):
        told = run(Race("one", {"a": clock.way("a", 10)}), clock, rounds=4)
        assert [one.left for one in told] == [30, 20, 10, 0]
        told = run(Race("one", {"a": clock.way("a", 10)}), clock, rounds=100, budget=65)
        assert [one.left for one in told] == [45, 35, 25, 15, 0]


def test_an_interrupted_race_knows_its_whole_rounds(clock):
    def interrupted() -> None:
        clock.now += 1
        if clock.now > 5.5:
            raise KeyboardInterrupt

    race = Race("two", {"a": clock.way("a", 1), "b": interrupted}, [Ratio("a", "b")], warm=False)
    with pytest.raises(KeyboardInterrupt):
        run(race, clock, rounds=100)
    outcome = race.outcome()
    assert {one.rounds for one in (*outcome.times, *outcome.ratios)} == {2}


def test_a_race_that_never_had_a_whole_round_has_no_figure(clock):
    outcome = Race("one", {"a": clock.way("a", 1)}, [Ratio("a", "b")]).outcome()
    assert not outcome.times and not outcome.ratios
