"""Many runs on one store: which shards each asks for, and when one ends for others to go on."""

from dataclasses import replace

import pytest

from clare.pipeline.extraction.passing import LIST_SECONDS, MISSES, MOST_HELD, Pass, may_leave
from clare.pipeline.extraction.plan import Observer
from clare.store.claims.claims import Claims
from clare.store.feature_store import create_store
from clare.store.layout import Layout
from tests.pipeline.extraction.conftest import Job, job_for


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def alone(count: int) -> int:
    return 0


def test_a_run_alone_goes_in_order():
    order = Pass(range(5), alone)
    taken = []
    for shard in order:
        taken.append(shard)
        order.took()
    assert taken == [0, 1, 2, 3, 4] and order.rest() == []


def test_who_meets_another_goes_on_elsewhere():
    order = Pass(range(10), lambda count: count // 2)
    shards = iter(order)
    assert next(shards) == 5
    order.took()
    assert next(shards) == 6
    order.passed(held=False)
    assert next(shards) == 1, "and not at 7, which most likely is the other's too"


def test_of_the_last_shards_that_others_hold_each_asks_for_a_few():
    order, free = Pass(range(100), alone), {47, 98, 99}
    asked = []
    for shard in order:
        asked.append(shard)
        if shard in free:
            order.took()
        else:
            order.passed(held=True)
        if order.wants_claims:
            order.leave_out_held(set(range(100)) - free)
    assert asked == [*range(MOST_HELD), 47, 98, 99], "all that is free after one list"


@pytest.mark.parametrize(("recorded", "misses"), [(0, MISSES), (10_000, 40)])
def test_names_are_listed_when_as_much_was_missed_as_that_costs(recorded, misses):
    clock = Clock()
    order = Pass(range(100), alone, recorded, clock)
    clock.now = LIST_SECONDS + 1
    wanted = []
    for _ in order:
        order.passed(held=False)
        wanted.append(order.wants_names)
        if wanted[-1]:
            break
    assert len(wanted) == misses
    gone = order.leave_out_ended({1, 2, *range(50, 80)})
    assert set(range(50, 80)) <= set(gone) and not set(gone) & set(order.rest())
    assert not order.wants_names


@pytest.mark.parametrize(("shards", "stay"), [(1, 2), (16, 2), (80, 10)])
def test_the_more_shards_are_left_the_more_runs_stay(shards, stay):
    assert may_leave(stay.__ge__, shards)
    assert not may_leave((stay - 1).__ge__, shards)


@pytest.fixture
def job(faces, tmp_path) -> Job:
    return job_for(faces, tmp_path / "features.zarr", features=("pixels",), lease_seconds=2.0)


@pytest.fixture
def others(job, tmp_path):
    """Claims of what pretend to be other processes, the first of which has shard 0."""
    tried = job.but(store=tmp_path / "tried.zarr").run()
    key = tried.fingerprints["pixels"]
    layout = Layout.at(create_store(job.store).path)
    found = [Claims(layout.claims.folder) for _ in range(2)]
    for one in found:
        one.configure(leases=False, expire=job.settings.lease_seconds)
    assert found[0].take(layout.shards_claim("faces", key)) and found[1].take("another")
    yield found
    for one in found:
        one.leave()


def test_a_task_of_an_array_ends_where_others_have_the_rest(job, others, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "4")
    told: list[str] = []

    monkeypatch.setattr(Observer, "noticed", lambda self, notice: told.append(str(notice)))
    report = job.run()
    assert (report.rows, report.left) == (0, 1)
    assert "other tasks of the array have all that is left (1 shard)" in told[-1]
    for one in others:
        one.leave()
    report = job.run()
    assert (report.rows, report.left) == (24, 0)


def test_other_subsets_are_done_before_others_are_waited_for(job, others, faces):
    done: list[str] = []

    class Watching(Observer):
        def extracting(self, subset, rows, failures):
            done.append(subset)

        def waiting(self, subset, shards):
            others[0].leave()

    ((manifest, roots),) = job.manifests
    several = [(manifest, roots), (replace(manifest, name="more"), roots)]
    report = job.but(several).run(Watching())
    assert done == ["more", "faces"] and report.rows == 48
