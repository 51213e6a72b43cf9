"""The file of past figures, and what it says changed."""

import json
from dataclasses import replace

from benchmarks.results import changes, here, make_lines, read_lines, write_lines
from benchmarks.rounds import Facts, Figure, Outcome

PLACE = {"machine": "a processor, 2 cores", "commit": "abc1234", "date": "2026-01-02T03:04:05"}
RATIO = Figure("ours against plain", "x", 5, 4, 6, 7, aim=3)
TIME = Figure("ours", "s", 0.5, 0.4, 0.6, 7)


def lines(ratio=RATIO, time=TIME, sizes=None, **place):
    ratios = [] if ratio is None else [ratio]
    outcome = Outcome("reading", [time], ratios, {"apart": 1e-7})
    return make_lines("store", outcome, sizes or {"rows": 9}, {**PLACE, **place})


class TestFile:
    def test_lines_come_back_as_they_were_written(self, tmp_path):
        file = tmp_path / "results.jsonl"
        write_lines(lines(), file)
        write_lines(lines(sizes={"rows": 1}), file)
        assert read_lines(file) == [*lines(), *lines(sizes={"rows": 1})]

    def test_each_line_says_what_where_and_when(self, tmp_path):
        file = tmp_path / "results.jsonl"
        write_lines(lines(), file)
        first = json.loads(file.read_text().splitlines()[0])
        assert {name: first[name] for name in PLACE} == PLACE
        assert (first["script"], first["race"], first["sizes"]) == ("store", "reading", {"rows": 9})
        assert first["figure"]["median"] == 5

    def test_a_line_that_a_kill_cut_off_is_passed_over(self, tmp_path):
        file = tmp_path / "results.jsonl"
        write_lines(lines(), file)
        file.write_text(file.read_text() + '{"script": "sto\n{"script": "store"}\n[]\n')
        assert read_lines(file) == lines()

    def test_before_the_first_run_there_is_none(self, tmp_path):
        assert read_lines(tmp_path / "results.jsonl") == []

    def test_this_machine_has_a_name_and_the_code_a_commit(self):
        assert "cores" in here()["machine"]
        assert here()["commit"]


class TestChanges:
    faster = replace(RATIO, median=9, low=8, high=10)

    def test_a_figure_outside_of_the_spread_is_named_with_both(self):
        (found,) = changes(lines(), lines(self.faster, commit="def5678"))
        assert found.startswith("store, reading, ours against plain: 5 (4 to 6) x at abc1234")
        assert "now 9 (8 to 10)" in found

    def test_one_within_the_spread_is_not(self):
        assert not changes(lines(), lines(replace(RATIO, median=6, low=5, high=8)))

    def test_it_is_compared_with_the_last_run(self):
        assert not changes([*lines(), *lines(self.faster)], lines(self.faster))

    def test_a_time_is_not_where_its_race_has_ratios(self):
        slower = replace(TIME, median=9, low=8, high=10)
        assert not changes(lines(), lines(time=slower))
        assert len(changes(lines(None), lines(None, time=slower))) == 1

    def test_other_sizes_and_machines_are_not(self):
        assert not changes(lines(), lines(self.faster, sizes={"rows": 10}))
        assert not changes(lines(), lines(self.faster, machine="another"))

    def test_what_is_counted_is_kept_and_not_compared(self):
        old, new = (
            make_lines("draws", Facts("cost", {"UNet": {"TFLOP": flop}}), {}, PLACE)
            for flop in (0.1, 0.2)
        )
        assert old[0].figure.name == "UNet: TFLOP"
        assert not changes(old, new)
