"""The simulation of fleets at toy size: whatever happens to workers, every row is done."""

import dataclasses

from benchmarks.fleet import SCRIPT, Fleet


def test_preempted_workers_lose_no_row():
    sizes = dataclasses.replace(SCRIPT.toy, life_minutes=3.0, frozen=0.1)
    found = Fleet(sizes, workers=6, shards=60).run()
    assert found["rows lost"] == 0 and found["preempted"] > 0
    assert found["requests a shard"] > 12


def test_two_fleets_of_one_seed_are_one():
    first, second = (Fleet(SCRIPT.toy, workers=4, shards=30).run() for _ in range(2))
    assert first == second
