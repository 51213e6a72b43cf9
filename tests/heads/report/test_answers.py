"""What a page says of runs: what counts in a mean, its warnings, its commands."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from clare.bootstrap import Figure
from clare.heads.config import TrainConfig
from clare.heads.evaluation.record import Baselines, Beaten, EvaluationRecord
from clare.heads.metrics.by_subset import CategoryFigures, Levels, Macro, SubsetFigures
from clare.heads.report.answer import MINI, TINY, answer_of, facts_of, warnings_of
from clare.heads.report.blocks import Cell, Code, Folded, Items, Table, Text, even
from clare.heads.report.commands import commands
from clare.heads.report.formatting import images_of, sentence
from clare.heads.report.run_results import Finding
from clare.heads.report.sections.matrix import COLUMNS, matrix
from clare.heads.report.sections.overview import overview
from clare.heads.report.sections.results import baselines, results
from clare.heads.report.sections.settings import settings
from clare.heads.report.sections.sweep_baselines import beside_baselines
from clare.heads.report.sweep_results import Sweep
from clare.heads.report.sweep_results import answer_of as answer_of_sweep
from clare.heads.runs.record import ExtractorRecord, RunRecord, Validation
from clare.store.spec import Fingerprint


def figures(auc):
    return {"auc": Figure(auc, auc and auc - 0.1, auc, 9)}


def make_finding(aucs, *, aside=(), alone=(), mean=None, extractors=None, measured=None):
    """A run that was tested on subsets of these AUC."""
    report = EvaluationRecord(
        threshold=0.0,
        seed=0,
        resamples=1000,
        aside=tuple(aside),
        alone=tuple(alone),
        subsets={n: SubsetFigures("FS", 5, 4, 9, (), figures(a), None) for n, a in aucs.items()},
        categories={},
        macro=Macro(Levels(figures(mean), None) if mean else None, None),
        run="run",
        trained_on=("own",),
        control=None,
        store="s",
        split="test",
        protocol=None,
        domains=(),
        frames=None,
        sampling="even",
        reals=(),
        skipped={},
        absent={},
        notes=(),
        baselines=measured,
    )
    record = RunRecord(
        TrainConfig(), "s", ("own",), {}, extractors or {}, (), {}, {}, fakes=("own",)
    )
    validation = Validation(1, 0.0, {"auc": Figure(0.9, 0.8, 1.0, 9)})
    return Finding(Path("run"), record, validation, [], report, None, None, None, ())


def said(finding):
    return f"{answer_of(finding)} {facts_of(finding)} {results(finding)}"


def test_what_is_in_no_mean_is_not_counted_in_the_answer():
    aucs = {"a": 0.7, "b": 0.8, "own": 0.99, "bare": 0.2}
    finding = make_finding(aucs, aside=["own"], alone=["bare"], mean=0.75)
    assert "over 2 subsets" in answer_of(finding) and "on 2 of 2" in answer_of(finding)
    assert "from 0.700 on a to 0.800 on b" in answer_of(finding)
    assert "mean of 2 subsets" in said(finding) and "of 4 subsets" not in said(finding)
    assert "In no mean: own and bare" in said(finding)


def test_a_category_of_one_subset_has_no_mean_of_its_own():
    finding = make_finding({"a": 0.7, "b": 0.8, "c": 0.9}, mean=0.8)
    kinds = {
        "EFS": CategoryFigures(("a", "b"), figures(0.75), None),
        "FS": CategoryFigures(("c",), figures(0.9), None),
    }
    assert finding.test is not None
    macro = Macro(finding.test.macro.subsets, Levels(figures(0.825), None))
    tested = replace(finding, test=replace(finding.test, categories=kinds, macro=macro))
    assert "EFS, mean of 2" in said(tested) and "mean of 2 categories" in said(tested)
    assert "mean of 1" not in said(tested)


@pytest.mark.parametrize("aucs", [{"own": 0.99}, {"own": 0.99, "owned": 0.9}])
def test_where_all_is_in_no_mean_there_is_none(aucs):
    finding = make_finding(aucs, aside=list(aucs))
    assert "Not known" in answer_of(finding) and "in no mean" in answer_of(finding)
    assert [name for name, _, _ in facts_of(finding)] == ["AUC on validation"]
    assert "mean of" not in said(finding)


def test_a_page_says_which_shortcuts_may_fall_below_chance():
    figure = Figure(0.5, 0.4, 0.6, 9)
    measured = Baselines(None, {"a": {"format": figure}})
    told = str(baselines([make_finding({"a": 0.7}, mean=0.7, measured=measured)]))
    assert "number" in told and "at least 0.5" in told and "format may fall a little below" in told


@pytest.mark.parametrize(("backbone", "said"), [("mini", [MINI]), ("tiny", [TINY]), (None, [])])
def test_small_models_are_told_before_any_figure(backbone, said):
    settings = {"backbone": backbone} if backbone else {}
    made = {"clip": ExtractorRecord(Fingerprint("clip", 1, "", settings), {})}
    assert warnings_of([make_finding({"a": 0.7}, mean=0.7, extractors=made)]) == said


def lead_over(baselines, leads):
    """What was measured of subsets: a baseline's name and AUC, and the detector's lead over it."""
    figures = {
        subset: {name: Figure(auc, None, None, 9)} for subset, (name, auc) in baselines.items()
    }
    ahead = {
        subset: {name: lead}
        for (subset, (name, _)), lead in zip(baselines.items(), leads, strict=True)
    }
    return Baselines(None, figures, ahead)


CLEAR, ABOVE, EQUAL = (
    Figure(0.02, 0.01, 0.03, 9),
    Figure(0.02, -0.01, 0.05, 9),
    Figure(0.0, 0.0, 0.0, 9),
)


def test_the_answer_names_the_baselines_that_are_not_clearly_beaten():
    aucs = {"a": 0.75, "b": 0.97, "c": 0.98, "d": 0.99}
    known = {"a": ("mean_lare", 0.73), "b": ("mean_lare", 0.97), "c": ("mean_lare", 1.0),
             "d": ("format", 0.97)}  # fmt: skip
    measured = lead_over(known, [ABOVE, EQUAL, EQUAL, CLEAR])
    text = answer_of(make_finding(aucs, mean=0.9, measured=measured))
    one = "It clearly beats the one baseline that was measured (what needs no training)"
    assert f"{one} on 1 of 4; " in text
    assert "does not clearly beat is mean LaRE on a, b and c." in text and "format" not in text
    every = lead_over(known, [CLEAR] * 4)
    text = answer_of(make_finding(aucs, mean=0.9, measured=every))
    assert text.endswith(f"{one} on 4 of 4.")


def test_an_interval_above_a_baselines_auc_is_no_lead():
    """The detector's own interval is 0.6 to 0.7, and says nothing of what it shares with it."""
    for lead, verdict in ((ABOVE, "not clearly"), (CLEAR, "yes"), (EQUAL, "no")):
        measured = lead_over({"a": ("mean_lare", 0.5)}, [lead])
        finding = make_finding({"a": 0.7}, mean=0.7, measured=measured)
        (table,) = (block for block in baselines([finding]) if isinstance(block, Table))
        assert table.rows[0][-1].text == verdict
        assert (table.rows[0][-3].text, table.rows[0][-2].value) == ("mean LaRE", lead.value)
        assert "mean LaRE (AUC 0.500)" in answer_of(finding)


def measured_as(leads, **aucs):
    """What was measured of subset a: by baseline the detector's lead, and its AUC or 0.5."""
    found = {name: Figure(aucs.get(name, 0.5), None, None, 9) for name in leads}
    return Baselines(None, {"a": found}, {"a": leads})


def test_several_runs_are_held_against_the_baselines_at_a_glance():
    above = make_finding({"a": 0.7}, mean=0.7, measured=measured_as({"mean_lare": ABOVE}))
    bare = make_finding({"a": 0.8}, mean=0.8)
    items = [one for one in overview([above, bare]).blocks if isinstance(one, Items)]
    assert [len(one.texts) for one in items] == [1], "the other run measured none"
    assert "run: of the one baseline that was measured" in str(items)
    assert "is above mean LaRE (AUC 0.500)" in str(items) and "but not clearly" in str(items)
    many = overview([above] * 5).blocks
    assert isinstance(many[-1], Folded) and not any(isinstance(one, Items) for one in many)
    assert not [one for one in overview([bare, bare]).blocks if isinstance(one, Items | Folded)]


def test_the_answer_speaks_of_the_baselines_that_were_measured():
    every = {"bytes": CLEAR, "size": CLEAR, "format": CLEAR}
    text = answer_of(make_finding({"a": 0.7}, mean=0.7, measured=measured_as(every, size=0.6)))
    assert (
        "It clearly beats each of the 3 baselines that were measured (what needs no training); the "
        "hardest, number of pixels (AUC 0.600), by 0.020 (paired 95 % interval 0.010 to 0.030)."
    ) in text
    text = answer_of(make_finding({"a": 0.7}, mean=0.7, measured=measured_as({"size": CLEAR})))
    assert "clearly beats the one baseline that was measured" in text and "hardest" not in text
    fewer = {"a": ("size", 0.5), "b": ("size", 0.5), "c": ("size", 0.5)}
    measured = lead_over(fewer, [CLEAR, CLEAR, None])
    more = {"a": {**measured.subsets["a"], "bytes": Figure(0.5, None, None, 9)}}
    ahead = {"a": {**measured.ahead["a"], "bytes": ABOVE}}
    both = Baselines(None, {**measured.subsets, **more}, {**measured.ahead, **ahead})
    text = answer_of(make_finding(dict.fromkeys("abc", 0.7), mean=0.7, measured=both))
    assert (
        "clearly beats each of the 1 to 2 baselines that were measured (what needs no training) on "
        "1 of 2, which was not measured on c; what it does not clearly beat is bytes of the file "
        "on a."
    ) in text


def test_all_baselines_that_are_not_clearly_beaten_are_named():
    leads = {"bytes": EQUAL, "size": ABOVE, "format": CLEAR, "laplacian": EQUAL}
    text = answer_of(make_finding({"a": 0.7}, mean=0.7, measured=measured_as(leads)))
    assert (
        "Of the 4 baselines that were measured (what needs no training), it does not beat bytes of "
        "the file (AUC 0.500) and Laplacian energy (AUC 0.500), and is above number of pixels "
        "(AUC 0.500) by 0.020 (paired 95 % interval -0.010 to 0.050), but not clearly."
    ) in text
    both = {**dict.fromkeys(("bytes", "size"), ABOVE), "format": CLEAR}
    measured = measured_as(both)
    twice = Baselines(None, dict.fromkeys("ab", measured.subsets["a"]), dict.fromkeys("ab", both))
    text = answer_of(make_finding({"a": 0.7, "b": 0.8}, mean=0.7, measured=twice))
    assert "not clearly beat is bytes of the file and number of pixels on a and b." in text
    more = {"c": {"size": ABOVE}}
    thrice = Baselines(None, dict.fromkeys("abc", measured.subsets["a"]), {**twice.ahead, **more})
    text = answer_of(make_finding(dict.fromkeys("abc", 0.8), mean=0.7, measured=thrice))
    assert "beat is bytes of the file on a and b; number of pixels on all 3." in text


def test_a_lead_on_fewer_rows_than_the_detectors_auc_says_on_how_many():
    few = Figure(0.02, 0.01, 0.03, 4)
    for lead, under in ((CLEAR, "0.010 to 0.030"), (few, "0.010 to 0.030\non 4 rows")):
        finding = make_finding({"a": 0.7}, mean=0.7, measured=measured_as({"size": lead}))
        (table,) = (block for block in baselines([finding]) if isinstance(block, Table))
        assert table.rows[0][-2].under == under
        assert (", on the 4 rows of 9 that have it)" in answer_of(finding)) == (lead is few)


def test_a_baseline_that_nobody_here_knows_is_shown_by_its_name():
    finding = make_finding(
        {"a": 0.7}, mean=0.7, measured=measured_as({"new": ABOVE, "bytes": CLEAR}, new=0.625)
    )
    (table,) = (block for block in baselines([finding]) if isinstance(block, Table))
    shown = dict(zip(map(str, table.columns[2:]), table.rows[0][2:], strict=True))
    assert shown["new"].value == 0.625 and shown["hardest to beat"].text == "new"
    assert "is above new (AUC 0.625) by" in answer_of(finding)
    line = {"run": "run", "fusion": "cls", "failure": None, "val_auc": 0.8}
    sweep = Sweep(Path("sweep"), {"fusion": ["cls"]}, [line])
    found = beside_baselines(sweep, [finding])[0]
    assert isinstance(found, Table) and Cell("new") in found.rows[0]


@pytest.mark.parametrize("lead", [None, EQUAL, ABOVE, CLEAR])
def test_of_how_many_baselines_a_verdict_is_stands_below_it(lead):
    finding = make_finding({"a": 0.7}, mean=0.7, measured=measured_as({"size": lead}))
    (table,) = (block for block in baselines([finding]) if isinstance(block, Table))
    assert table.rows[0][-1].text in get_args(Beaten)
    assert table.rows[0][-1].under == ("1 measured" if lead else "")


def seeds_of(*leads, order="cls"):
    """A sweep of one configuration, a seed for each lead over bytes; of None nothing is known."""
    runs = [
        replace(
            make_finding(
                {"a": 0.7}, mean=0.7, measured=lead and measured_as({"bytes": lead}, bytes=0.9)
            ),
            path=Path(str(seed)),
        )
        for seed, lead in enumerate(leads)
    ]
    lines = [
        {"run": one.name, "fusion": order, "seed": one.name, "failure": None, "val_auc": 0.8}
        for one in runs
    ]
    axes = {"fusion": [order, "lare"], "seed": [one.name for one in runs]}
    return beside_baselines(Sweep(Path("sweep"), axes, lines), runs)


@pytest.mark.parametrize(
    ("leads", "beaten", "said"),
    [
        ((EQUAL, None), "0 of 1", "these do not beat"),
        ((CLEAR, None), "–", "it was not measured"),
        ((CLEAR, ABOVE), "0 of 1", "these are not clearly above"),
        ((CLEAR, CLEAR), "1 of 1", None),
    ],
)
def test_a_configuration_is_in_one_list_by_the_least_of_its_seeds(leads, beaten, said):
    table, *notes = seeds_of(*leads)
    assert isinstance(table, Table) and table.rows[0][-1].text == beaten
    told = [str(one.text) for one in notes if isinstance(one, Text)]
    lists = [one for one in told if one.startswith("On")]
    assert len(lists) == (said is not None) and all(f" {said} " in one for one in lists)


def test_a_run_of_an_earlier_version_does_not_lower_the_number_of_baselines():
    finding = make_finding({"a": 0.7}, mean=0.7)
    runs = [
        replace(
            finding, path=Path(name), test=finding.test and replace(finding.test, baselines=one)
        )
        for name, one in (
            ("new", measured_as({"bytes": EQUAL, "size": CLEAR})),
            ("old", measured_as({"bytes": None})),
        )
    ]
    lines = [{"run": n, "fusion": n, "failure": None, "val_auc": 0.8} for n in ("new", "old")]
    found = beside_baselines(Sweep(Path("sweep"), {"fusion": ["new", "old"]}, lines), runs)
    assert Text("On a these do not beat each of the 2 baselines that were measured:") in found
    assert Text("On a it was not measured of these:") in found


def test_a_sweep_says_whose_best_baseline_it_shows_and_which_seeds_count():
    table, *_, rule = seeds_of(CLEAR, CLEAR)
    assert isinstance(table, Table) and isinstance(rule, Text)
    assert table.columns[1] == Cell("best baseline", "of any run")
    assert "highest of any run" in str(rule) and "of each seed that was tested" in str(rule)


def test_names_and_paths_of_runs_are_spelt_as_they_are():
    finding = make_finding({"a": 0.7}, mean=0.7)
    runs = [replace(finding, called=name) for name in ("esa", "runs/a")]
    alone, both = (
        [one.summary for one in settings(those, []).blocks if isinstance(one, Folded)]
        for those in ([finding], runs)
    )
    assert "Training, versions and places" in alone
    assert "esa: training, versions and places" in both
    assert "runs/a: training, versions and places" in both


def test_a_cell_of_two_counts_has_no_value_of_its_own():
    tables = [one for one in results(make_finding({"a": 0.7}, mean=0.7)) if isinstance(one, Table)]
    (counts,) = (
        cell for one in tables for line in one.rows for cell in line if cell.text == "5 real"
    )
    assert counts == Cell("5 real", "4 fake")


def test_what_an_earlier_version_measured_claims_nothing():
    measured = Baselines(None, {"a": {"format": Figure(0.5, 0.4, 0.6, 9)}})
    finding = make_finding({"a": 0.7}, mean=0.7, measured=measured)
    assert "was not measured" in answer_of(finding) and "It clearly beats" not in answer_of(finding)


def test_configurations_that_beat_no_baseline_are_listed_apart():
    measured = lead_over({"a": ("bytes", 0.9)}, [Figure(-0.2, -0.3, -0.1, 9)])
    runs = [
        replace(make_finding({"a": 0.7}, mean=0.7, measured=measured), path=Path(fusion))
        for fusion in ("cls", "lare")
    ]
    lines = [
        {"run": one.name, "fusion": one.name, "lr": lr, "failure": None, "val_auc": 0.8}
        for one, lr in zip(runs, ("1", "2"), strict=True)
    ]
    sweep = Sweep(Path("sweep"), {"fusion": ["cls", "lare"], "lr": ["1", "2"]}, lines)
    assert Items(["cls, lr 1", "lare, lr 2"]) in beside_baselines(sweep, runs)


def test_commands_are_shown_as_they_were_typed_and_once():
    finding = make_finding({"a": 0.7}, mean=0.7)
    typed = ("clare", "sweep", "--out", "a folder")
    alike = [
        replace(finding, path=Path(name), record=replace(finding.record, command=typed))
        for name in ("a", "b")
    ]
    found = commands([*alike, finding], [], ("clare", "report", "x"))
    assert Code(["clare sweep --out 'a folder'", "clare report x"]) in found
    (note,) = (str(one.text) for one in found if isinstance(one, Text) and one.tone == "note")
    assert note.startswith("run was made from Python")


def test_equal_ends_are_said_once():
    text = answer_of(make_finding({"a": 0.99996, "b": 1.0}, mean=1.0))
    assert "1.000 on each" in text and "from 1.000" not in text


def sweep_of(seeds, **axes):
    """A sweep whose lines have seeds by value of the first axis, and an AUC each."""
    (name, values) = next(iter(axes.items()))
    lines = [
        {"run": f"{value}-{seed}", name: value, "seed": seed, "failure": None, "val_auc": auc,
         "val_auc_low": auc - 0.2, "val_auc_high": auc + 0.1}
        for value, mine, auc in zip(values, seeds, (0.8, 0.8, 0.7), strict=False)
        for seed in mine
    ]  # fmt: skip
    everything = sorted({seed for mine in seeds for seed in mine})
    return Sweep(Path("sweep"), {name: list(values), "seed": everything}, lines)


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (("1", "1"), "over 1 seed. Next is lr b: 0.800; with one seed each, nothing says"),
        (("12", "1"), "over 2 seeds. Next is lr b: 0.800; with one seed of lr b, nothing says"),
        (("1", "12"), "over 1 seed. Next is lr b: 0.800 ± 0.000; with one seed of lr a, nothing"),
        (("12", "12"), "over 2 seeds. Next is lr b: 0.800 ± 0.000: the two are equal."),
    ],
)
def test_seeds_are_counted_as_they_are(seeds, said):
    assert said in answer_of_sweep(sweep_of(seeds, lr="ab"))


def test_a_curve_is_of_means_with_the_interval_of_seeds_or_of_a_lone_seeds_rows():
    sweep = sweep_of(("1", "12", "12"), fraction=["1.0", "0.25", "0.5"])
    assert list(sweep.swept) == ["fraction"]
    ((label, points),) = sweep.curves("fraction", "val_auc").items()
    assert label == "all runs" and [value for value, _ in points] == [0.25, 0.5, 1.0]
    means = [figure.value for _, figure in points]
    assert means == pytest.approx([0.8, 0.7, 0.8])
    several, lone = points[0][1], points[2][1]
    assert (several.low, several.high) == pytest.approx((0.8, 0.8)), "its seeds agree"
    assert (lone.low, lone.high) == pytest.approx((0.6, 0.9)), "as its rows have it"


def test_only_numbers_make_a_curve():
    assert sweep_of("11", fusion=["cls", "lare"]).swept == {}
    assert sweep_of("11", lr=["1e-3", "none"]).swept == {}
    assert sweep_of("1", lr=["1e-3"]).swept == {}, "one value is no curve"


@pytest.mark.parametrize(
    ("subset", "label", "said"),
    [
        ("real", 0, "Real"),
        ("reals", 0, "Reals"),
        ("Fakes", 1, "Fakes"),
        ("toy", 0, "Reals of toy"),
        ("toy", 1, "Fakes of toy"),
        ("real", 1, "Fakes of real"),
    ],
)
def test_reals_of_reals_are_not_spoken_of(subset, label, said):
    assert sentence(images_of(subset, label)) == said


@pytest.mark.parametrize("many", [False, True])
def test_a_matrix_turns_where_its_columns_are_too_many(many):
    columns = [Cell(str(n)) for n in range(COLUMNS + many)]
    cells = [[Cell(f"{row} {n.text}") for n in columns] for row in "ab"]
    table = matrix("AUC", [Cell("a"), Cell("b")], columns, cells)
    assert len(table.columns) == 1 + (2 if many else COLUMNS)
    heads = [head.text for head in table.columns[1:] if isinstance(head, Cell)]
    for name, *line in table.rows:
        for head, cell in zip(heads, line, strict=True):
            assert cell.text in (f"{name.text} {head}", f"{head} {name.text}")


def test_no_picture_stands_alone_in_the_last_line():
    for count in range(1, 13):
        across = even(count, 8)
        assert 1 <= across <= 8 and (across == count or count % across != 1)
