"""A script from its options to its tables, with ways that take no time."""

import json
from dataclasses import dataclass

import pytest

from benchmarks.results import read_lines
from benchmarks.rounds import Facts, Race, Ratio
from benchmarks.script import SECONDS, Script, main


@dataclass(frozen=True)
class Sizes:
    rows: int = 20
    device: str = "cpu"


def taking(seconds, name="ours"):
    return lambda: {name: seconds}


def script(parts) -> Script:
    return Script("toys", "About it.", parts, Sizes(), toy=Sizes(2), full=Sizes(200))


def simple(sizes, folder):
    ways = {"ours": taking(1.0), "plain": taking(4.0, "plain")}
    yield Race("reading", ways, [Ratio("ours", "plain", aim=2)])
    yield Facts("counted", {"rows": {"number": sizes.rows}})


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results.jsonl"


def run(parts, results, *words):
    main(script(parts), [*words, "--results", str(results)])


@pytest.mark.parametrize(
    ("words", "rows"),
    [([], 20), (["--toy"], 2), (["--full"], 200), (["--full", "--rows", "7"], 7)],
)
def test_the_sizes_are_chosen_by_name_or_one_by_one(results, capsys, words, rows):
    run(simple, results, *words)
    (counted,) = (one for one in read_lines(results) if one.race == "counted")
    assert counted.figure.median == rows
    assert counted.sizes == {"rows": rows, "device": "cpu", "threads": 0}


def test_rounds_are_told_as_they_come_and_tables_at_the_end(results, capsys):
    run(simple, results, "--rounds", "3")
    shown = capsys.readouterr()
    assert "toys, reading, round 1 of 3: ours against plain 4x (at most " in shown.err
    assert "ours against plain" in shown.out and ">= 2x" in shown.out


def test_as_json(results, capsys):
    run(simple, results, "--json")
    found = json.loads(capsys.readouterr().out)
    assert [one["figure"]["name"] for one in found] == [
        "ours against plain",
        "ours",
        "plain",
        "rows: number",
    ]


def test_a_second_run_says_what_changed(results, capsys):
    run(simple, results)
    assert "changed" not in capsys.readouterr().out

    def slower(sizes, folder):
        ways = {"ours": taking(2.0), "plain": taking(4.0, "plain")}
        yield Race("reading", ways, [Ratio("ours", "plain", aim=2)])

    run(slower, results)
    shown = " ".join(capsys.readouterr().out.split())
    assert "changed: toys, reading, ours against plain: 4 (4 to 4) x" in shown
    assert "now 2 (2 to 2)" in shown


class TestInterrupted:
    def parts(self, sizes, folder):
        self.folder = folder
        yield from simple(sizes, folder)
        turns = iter(range(3))

        def third() -> None:
            if next(turns, None) is None:
                raise KeyboardInterrupt

        yield Race("endless", {"third": third})

    def test_shows_what_is_known_and_keeps_what_is_whole(self, results, capsys):
        with pytest.raises(SystemExit) as ended:
            run(self.parts, results)
        assert ended.value.code == 130
        shown = capsys.readouterr()
        assert "interrupted" in shown.err
        assert "ours against plain" in shown.out
        assert "endless, 2 rounds" in shown.out
        assert {line.race for line in read_lines(results)} == {"reading", "counted"}
        assert not self.folder.exists()

    def test_while_it_prepares(self, results, capsys):
        def parts(sizes, folder):
            yield from simple(sizes, folder)
            raise KeyboardInterrupt

        with pytest.raises(SystemExit):
            run(parts, results)
        assert {line.race for line in read_lines(results)} == {"reading", "counted"}


def test_what_is_known_survives_a_failure(results, capsys):
    def parts(sizes, folder):
        yield from simple(sizes, folder)
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        run(parts, results)
    assert "ours against plain" in capsys.readouterr().out
    assert {line.race for line in read_lines(results)} == {"reading", "counted"}


def test_it_works_where_it_is_told_and_leaves_nothing(results, tmp_path, capsys):
    def parts(sizes, folder):
        assert folder.parent == tmp_path / "there"
        yield from simple(sizes, folder)

    run(parts, results, "--folder", str(tmp_path / "there"))
    assert not list((tmp_path / "there").iterdir())


def test_all_that_make_bench_runs_fit_in_ten_minutes():
    """With six seconds each for imports."""
    assert sum(seconds + 6 for seconds in SECONDS.values()) <= 600
