"""What a page says of runs: what counts in a mean, its warnings, its commands."""

from dataclasses import replace
from pathlib import Path

import pytest

from clare.bootstrap import Figure
from clare.heads.config import TrainConfig
from clare.heads.evaluation.record import Baselines, EvaluationRecord
from clare.heads.metrics.by_subset import CategoryFigures, Levels, Macro, SubsetFigures
from clare.heads.report.answer import MINI, TINY, answer_of, facts_of, warnings_of
from clare.heads.report.blocks import Code, Items, Table, Text
from clare.heads.report.commands import commands
from clare.heads.report.run_results import Finding
from clare.heads.report.sections.results import baselines, results
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
    return f"{answer_of(finding)} {facts_of(finding)} {results([finding])}"


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
    assert "It clearly beats every baseline (what needs no training) on 1 of 4; " in text
    assert "does not clearly beat is mean LaRE on a, b and c." in text and "format" not in text
    every = lead_over(known, [CLEAR] * 4)
    text = answer_of(make_finding(aucs, mean=0.9, measured=every))
    assert text.endswith("every baseline (what needs no training) on 4 of 4.")


def test_an_interval_above_a_baselines_auc_is_no_lead():
    """The detector's own interval is 0.6 to 0.7, and says nothing of what it shares with it."""
    for lead, verdict in ((ABOVE, "not clearly"), (CLEAR, "yes"), (EQUAL, "no")):
        measured = lead_over({"a": ("mean_lare", 0.5)}, [lead])
        finding = make_finding({"a": 0.7}, mean=0.7, measured=measured)
        (table,) = (block for block in baselines([finding]) if isinstance(block, Table))
        assert table.rows[0][-1].text == verdict
        assert (table.rows[0][-3].text, table.rows[0][-2].value) == ("mean LaRE", lead.value)
        assert "mean LaRE (AUC 0.500)" in answer_of(finding)


def test_what_an_earlier_version_measured_claims_nothing():
    measured = Baselines(None, {"a": {"format": Figure(0.5, 0.4, 0.6, 9)}})
    finding = make_finding({"a": 0.7}, mean=0.7, measured=measured)
    assert "was not measured" in answer_of(finding) and "clearly beats every" not in answer_of(
        finding
    )


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


@pytest.mark.parametrize(("seeds", "said"), [("1", "one seed"), ("12", "equal")])
def test_seeds_are_counted_as_they_are(seeds, said):
    lines = [
        {"run": f"{lr}-{seed}", "lr": lr, "seed": seed, "failure": None, "val_auc": 0.8}
        for lr in "ab"
        for seed in seeds
    ]
    text = answer_of_sweep(Sweep(Path("sweep"), {"lr": ["a", "b"], "seed": list(seeds)}, lines))
    assert said in text and ("one seed" in text) == (len(seeds) == 1)
