"""What a page says of runs: what counts in a mean, the commands that repeat it, its warnings."""

from dataclasses import replace
from pathlib import Path

import pytest

from clare.bootstrap import Figure
from clare.heads.config import TrainConfig
from clare.heads.report.answer import MINI, TINY, answer_of, facts_of, warnings_of
from clare.heads.report.blocks import Items
from clare.heads.report.commands import commands_of, sweep_commands
from clare.heads.report.run_results import Finding
from clare.heads.report.sections.results import results, shortcuts
from clare.heads.report.sections.sweep_shortcuts import beside_shortcuts
from clare.heads.report.sweep_results import Sweep
from clare.heads.runs.record import ExtractorRecord, RunRecord, Validation
from clare.store.spec import Fingerprint


def figures(auc):
    return {"frame": {"auc": auc and {"value": auc, "low": auc - 0.1, "high": auc, "n": 9}}}


def make_finding(aucs, *, aside=(), alone=(), mean=None, extractors=None, **test):
    """A run that was tested on subsets of these AUC."""
    subsets = {
        name: {"real": 5, "fake": 4, "category": "FS", "beside": [], "video": None, **figures(auc)}
        for name, auc in aucs.items()
    }
    report = {
        "threshold": 0.0, "resamples": 1000, "subsets": subsets, "categories": {},
        "store": "s", "aside": list(aside), "alone": list(alone), **test,
        "macro": {"subsets": mean and {**figures(mean), "video": None}, "categories": None},
    }  # fmt: skip
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


@pytest.mark.parametrize("aucs", [{"own": 0.99}, {"own": 0.99, "owned": 0.9}])
def test_where_all_is_in_no_mean_there_is_none(aucs):
    finding = make_finding(aucs, aside=list(aucs))
    assert "Not known" in answer_of(finding) and "in no mean" in answer_of(finding)
    assert [name for name, _, _ in facts_of(finding)] == ["AUC on validation"]
    assert "mean of" not in said(finding)


def test_a_protocols_test_is_repeated_by_its_protocol():
    usual = {"protocol": "p3-unknown", "frames": 8, "sampling": "even"}
    finding = make_finding({"sd21_cdf": 0.7}, mean=0.7, **usual)
    assert commands_of([finding])[-1] == "clare evaluate run --protocol p3-unknown"
    sweep = sweep_commands(Sweep(Path("sweep"), {"seed": ["0"]}, []), [finding])
    assert not any("--evaluate" in line for line in sweep)
    assert sweep[-1].startswith("clare evaluate sweep-again/run --protocol p3-unknown")
    other = make_finding(
        {"sd21_cdf": 0.7}, mean=0.7, **usual | {"frames": 2, "sampling": "first_n"}
    )
    assert "--frames 2 --sampling first_n" in commands_of([other])[-1]
    gone = make_finding({"a": 0.7}, mean=0.7, **usual | {"protocol": "gone.yaml"})
    assert "--protocol gone.yaml --frames 8 --sampling even" in commands_of([gone])[-1]
    plain = make_finding({"a": 0.7}, mean=0.7, sampling="even", frames=None)
    assert (
        "--frames" not in commands_of([plain])[-1] and "--sampling" not in commands_of([plain])[-1]
    )
    assert "--evaluate a" in sweep_commands(Sweep(Path("sweep"), {}, []), [plain])[-1]
    assert "clare evaluate run --protocol p3-unknown --baselines" in str(shortcuts([finding]))


def test_what_was_tested_otherwise_than_by_its_sweep_is_repeated_too():
    plain, more = make_finding({"a": 0.7}, mean=0.7), make_finding({"a": 0.7}, mean=0.7)
    more = replace(more, path=Path("more"), test={**more.test, "baselines": {}})
    table = replace(plain, path=Path("table"), as_df40={"protocol": "joint", "store": "s"})
    found = sweep_commands(Sweep(Path("sweep"), {}, []), [plain, more, table])
    assert found[1:] == [
        "clare evaluate sweep-again/more --subset a --baselines",
        "clare evaluate sweep-again/table --compat df40 --protocol joint",
    ]
    assert commands_of([plain, replace(plain, path=Path("other"))])[-1] == (
        "clare evaluate run other --subset a"
    )


def test_a_page_says_which_shortcuts_may_fall_below_chance():
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    measured = {"subsets": {"a": {"format": figure}}, "pixels_from": None}
    told = str(shortcuts([make_finding({"a": 0.7}, mean=0.7, baselines=measured)]))
    assert "number" in told and "at least 0.5" in told and "format may fall a little below" in told


@pytest.mark.parametrize(("backbone", "said"), [("mini", [MINI]), ("tiny", [TINY]), (None, [])])
def test_small_models_are_told_before_any_figure(backbone, said):
    settings = {"backbone": backbone} if backbone else {}
    made = {"clip": ExtractorRecord(Fingerprint("clip", 1, "", settings), {})}
    assert warnings_of([make_finding({"a": 0.7}, mean=0.7, extractors=made)]) == said


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"resamples": 50}, "--subset a --reals pool --resamples 50"),
        ({"subsets": {"b": {}}}, "--subset b --reals pool"),
        ({"reals": ["others"]}, "--subset a --reals others"),
        ({"frames": 4}, "--subset a --reals pool --frames 4"),
        ({"sampling": "first_n"}, "--subset a --reals pool --sampling first_n"),
        ({"domains": ["ff"]}, "--subset a --reals pool --domains ff"),
        ({"store": "moved"}, "--subset a --reals pool --store moved"),
        ({"protocol": "gone.yaml"}, "--protocol gone.yaml --sampling even"),
    ],
)
def test_a_run_that_was_tested_otherwise_than_its_sweep_is_tested_so_again(change, options):
    plain = make_finding({"a": 0.7}, mean=0.7, sampling="even", reals=["pool"])
    plain = replace(plain, record=replace(plain.record, subsets=("own", "pool"), fakes=("own",)))
    leader = replace(plain, path=Path("leader"), test={**plain.test, **change})
    one, two = (replace(plain, path=Path(name)) for name in ("one", "two"))
    lines = sweep_commands(Sweep(Path("sweep"), {}, []), [leader, one, two])
    assert lines == [
        "clare sweep --config leader/config.json --store s --evaluate a --out sweep-again",
        f"clare evaluate sweep-again/leader {options}",
    ]


def test_a_test_before_stores_were_noted_is_repeated_in_the_runs_own():
    finding = make_finding({"a": 0.7}, mean=0.7)
    del finding.test["store"]
    assert commands_of([finding])[-1] == "clare evaluate run --subset a"


def test_configurations_that_beat_no_shortcut_are_listed_apart():
    measured = {"subsets": {"a": {"bytes": {"value": 0.9}}}}
    runs = [
        replace(make_finding({"a": 0.7}, mean=0.7, baselines=measured), path=Path(fusion))
        for fusion in ("cls", "lare")
    ]
    lines = [
        {"run": one.name, "fusion": one.name, "lr": lr, "failure": None, "val_auc": 0.8}
        for one, lr in zip(runs, ("1", "2"), strict=True)
    ]
    sweep = Sweep(Path("sweep"), {"fusion": ["cls", "lare"], "lr": ["1", "2"]}, lines)
    assert Items(["cls, lr 1", "lare, lr 2"]) in beside_shortcuts(sweep, runs)


def made_by(**settings):
    return ExtractorRecord(Fingerprint("", 1, "", {"dtype": "float32", **settings}), {})


def extractions(findings):
    return [
        line for line in sweep_commands(Sweep(Path("s"), {}, []), findings) if "extract" in line
    ]


def test_pages_extract_what_any_of_their_runs_reads_or_was_tested_on():
    clip, lare = made_by(layers=[20]), made_by(timesteps=[200], draws=2, noise="shared")
    leader = make_finding({"a": 0.7}, mean=0.7, extractors={"clip": clip})
    other = make_finding({"b": 0.7}, mean=0.7, extractors={"lare": lare, "clip": clip}, store="t")
    other = replace(
        other, record=replace(other.record, subsets=("own", "more"), fakes=("own", "more"))
    )
    line = (
        "clare extract --fake own=DIR --fake more=DIR --fake a=DIR --store s --features clip,lare "
        "--dtype float32 --layers 20 --timesteps 200 --draws 2 --set lare.noise=shared"
    )
    assert extractions([leader, other]) == [line]
    assert [one for one in commands_of([leader, other]) if "extract" in one] == [line]


def test_what_one_command_cannot_extract_is_a_line_each():
    plain, squashed = {"resize": None}, {"resize": 64}
    runs = [
        make_finding({"a": 0.7}, mean=0.7, extractors=extractors)
        for extractors in (
            {"clip": made_by(layers=[20], images=plain), "lare": made_by(draws=4, images=plain)},
            {"clip": made_by(layers=[10], images=plain), "lare": made_by(draws=4, images=plain)},
            {"clip": made_by(layers=[10], images=squashed)},
        )
    ]
    assert [line.partition("--features ")[2] for line in extractions(runs)] == [
        "clip,lare --dtype float32 --layers 20 --draws 4",
        "clip --dtype float32 --layers 10",
        "clip --dtype float32 --resize 64 --layers 10",
    ]
