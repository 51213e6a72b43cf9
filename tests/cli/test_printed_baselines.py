"""What `clare evaluate --baselines` prints of a record."""

from dataclasses import replace

import pytest

from clare.bootstrap import Figure
from clare.cli.views import figures
from clare.cli.views.console import console
from clare.heads.evaluation.baseline_names import BASELINES, title_of
from clare.heads.evaluation.record import Baselines, read_evaluation


@pytest.fixture
def printed(place, monkeypatch):
    """What is printed where these leads were measured on the subset toy."""
    monkeypatch.setattr(console, "_width", 160)
    record = read_evaluation(place / "run")

    def show(leads):
        found = {name: Figure(0.5, None, None, lead.n) for name, lead in leads.items()}
        measured = Baselines(None, {"toy": found}, {"toy": leads})
        with console.capture() as capture:
            figures.print_baselines(replace(record, baselines=measured))
        return [line.rstrip() for line in capture.get().splitlines()]

    return show, record.subsets["toy"].frame["auc"].n


def test_a_verdict_says_of_how_many_baselines_and_a_lead_of_how_many_rows(printed):
    show, rows = printed
    clear = Figure(0.2, 0.1, 0.3, rows)
    lines = show({"bytes": clear, "size": clear})
    assert any(line.endswith("clearly beats each?") for line in lines)
    assert any(line.endswith(" 2 measured") for line in lines)
    assert not any(f"on {rows} rows" in line for line in lines)
    lines = show({"bytes": replace(clear, n=rows - 1)})
    assert any(line.endswith(" 1 measured") for line in lines)
    assert any(f"on {rows - 1} rows" in line for line in lines)


def test_a_baseline_that_nobody_here_knows_is_printed_by_its_name(printed):
    show, rows = printed
    lines = show({"brand_new": Figure(0.2, 0.1, 0.3, rows)})
    assert sum("brand_new" in line for line in lines) == 2, "as a heading, and as the hardest"


def test_every_baseline_has_a_title_that_a_narrow_column_holds():
    for name in BASELINES:
        assert max(map(len, title_of(name, short=True).split(" ", 1))) <= 9
