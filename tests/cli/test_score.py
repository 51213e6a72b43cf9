"""`clare score`, `compare` and `evaluate` as a user types them."""

import json

import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from clare.advice import LeaveOut
from clare.bootstrap import Resampling
from clare.cli.app import app
from clare.errors import InputError
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.metrics.by_subset import measure_subsets
from clare.heads.metrics.predictions import read_predictions
from clare.typed_json import write_json


@pytest.fixture
def clare(monkeypatch):
    """Run a command line; gives its output, errors pass through."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*args) -> str:
        done = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run


LABELS = [0, 0, 0, 0, 1, 1, 1, 1]
SCORES = [0.1, 0.2, 0.3, 0.8, 0.4, 0.7, 0.9, 0.95]


def write(path, scores, labels=LABELS, subsets=None):
    names = subsets or ["faces"] * len(scores)
    lines = ["name,y,p,subset,clip"]
    lines += [
        f"{n}.png,{label},{score},{names[n]},clip{n // 2}"
        for n, (label, score) in enumerate(zip(labels, scores, strict=True))
    ]
    path.write_text("\n".join(lines))
    return path


COLUMNS = ("--label", "y", "--score", "p")


def test_a_table_and_the_same_as_json(clare, tmp_path):
    path = write(tmp_path / "theirs.csv", SCORES)
    out = clare("score", path, *COLUMNS, "--video", "clip", "--resamples", 50)
    assert "faces" in out and "4 real, 4 fake" in out and "0.875" in out
    assert "Each video" in out and "4 videos" in out and "threshold 0.5" in out
    found = json.loads(clare("score", path, *COLUMNS, "--json"))["subsets"]["faces"]
    assert found["video"]["auc"]["n"] == 4  # the column "clip" is taken by itself
    auc = found["frame"]["auc"]
    assert auc["value"] == roc_auc_score(LABELS, SCORES) and auc["n"] == 8
    assert auc["low"] < auc["value"] < auc["high"] == 1
    assert found["frame"]["accuracy"]["value"] == 6 / 8
    found = json.loads(clare("score", path, *COLUMNS, "--threshold", 0.35, "--json"))
    assert found["subsets"]["faces"]["frame"]["accuracy"]["value"] == 7 / 8


def test_subsets_are_measured_apart_and_averaged(clare, tmp_path):
    subsets = ["reals"] * 4 + ["gan", "gan", "swap", "swap"]
    path = write(tmp_path / "theirs.csv", SCORES, subsets=subsets)
    found = json.loads(clare("score", path, *COLUMNS, "--json"))
    assert {name: s["real"] for name, s in found["subsets"].items()} == {"gan": 4, "swap": 4}
    assert found["macro"]["subsets"]["frame"]["auc"]["value"] == (6 / 8 + 1) / 2
    assert "mean of" in clare("score", path, *COLUMNS)
    with pytest.raises(InputError, match="gan has no real rows"):
        clare("score", path, *COLUMNS, "--reals", "gan")


def test_how_scores_were_read_is_said_and_can_be_chosen(clare, tmp_path):
    path = write(tmp_path / "percent.csv", [100 * s for s in SCORES])
    out = clare("score", path, *COLUMNS, "--resamples", 0)
    assert "score p" in out and "read as plain numbers" in out and "--read-as margin" in out
    assert "no threshold for accuracy" in out
    found = json.loads(clare("score", path, *COLUMNS, "--json"))
    assert (
        found["scores"]["columns"]["score"] == "p"
        and found["scores"]["read_as"] == "number"
        and found["threshold"] is None
    )
    frame = found["subsets"]["faces"]["frame"]
    assert frame["auc"]["value"] == roc_auc_score(LABELS, SCORES)
    assert frame["ece"]["value"] is frame["accuracy_at_0.5"]["value"] is None
    found = json.loads(clare("score", path, *COLUMNS, "--read-as", "margin", "--json"))
    assert found["threshold"] == 0
    out = clare("score", write(tmp_path / "p.csv", SCORES), *COLUMNS)
    assert "read as probabilities of fake" in out


def test_a_threshold_is_one_of_the_named_column(clare, tmp_path):
    rows = [f"{y},{p},{8 * p - 4}" for y, p in zip(LABELS, SCORES, strict=True)]
    path = tmp_path / "both.csv"
    path.write_text("\n".join(["label,score,margin", *rows]))

    def accuracy(*args):
        found = json.loads(clare("score", path, *args, "--json"))
        return found["scores"]["columns"]["score"], found["subsets"]["all"]["frame"]["accuracy"][
            "value"
        ]

    assert accuracy("--score", "score", "--threshold", 0.35) == ("score", 7 / 8)
    assert accuracy("--threshold", -1.2) == ("margin", 7 / 8)
    for wrong in ("nan", "inf"):
        with pytest.raises(InputError, match=f"threshold can't be {wrong}"):
            clare("score", path, "--threshold", wrong)


def test_fakes_without_reals_are_said_and_in_no_mean(clare, tmp_path):
    subsets = ["mixed"] * 3 + ["gan"] * 2 + ["mixed"] * 3
    path = write(tmp_path / "theirs.csv", SCORES, [0, 0, 0, 1, 1, 1, 1, 1], subsets)
    out = clare("score", path, *COLUMNS)
    assert "gan: fakes alone" in out and "--reals" in out and "mean of" not in out
    found = json.loads(clare("score", path, *COLUMNS, "--json"))
    assert found["alone"] == ["gan"] and found["subsets"]["gan"]["frame"]["auc"]["value"] is None
    mixed = found["subsets"]["mixed"]["frame"]["accuracy"]["value"]
    assert found["macro"]["subsets"]["frame"]["accuracy"]["value"] == mixed == 1
    beside = clare("score", path, *COLUMNS, "--reals", "mixed")
    assert "fakes alone" not in beside and "mean of" in beside


def test_a_comparison_and_a_score_have_their_means_over_the_same_subsets(clare, tmp_path):
    def means(labels, subsets):
        path = write(tmp_path / "theirs.csv", SCORES * 3, labels, subsets)
        path.write_text(path.read_text().replace("name,y,p", "sample_id,label,score"))
        shown, found = (
            {name: clare(name, *[path] * count, "--resamples", 0, *args)
             for name, count in (("score", 1), ("compare", 2))}
            for args in ((), ("--json",))
        )  # fmt: skip
        compared, scored = json.loads(found["compare"]), json.loads(found["score"])
        assert compared["alone"] == scored["alone"]
        mean = scored["macro"]["subsets"]["frame"]
        assert compared["macro"]["first"] == compared["macro"]["second"] == mean
        return " ".join(shown["score"].split()), " ".join(shown["compare"].split()), mean

    names = ["a"] * 8 + ["b"] * 8 + ["gan"] * 8
    scored, compared, mean = means(LABELS * 2 + [1] * 8, names)
    assert mean["auc"] == {"value": 0.875, "low": None, "high": None, "n": 2}
    for out in (scored, compared):
        assert "gan: fakes alone" in out and "2 subsets" in out and "3 subsets" not in out
    # Where there is nothing else, what they have in common is averaged.
    scored, compared, mean = means([1] * 24, names)
    assert mean["accuracy"]["n"] == 3 and mean["auc"]["value"] is None
    for out in (scored, compared):
        assert "3 subsets" in out


def test_what_an_evaluation_sets_aside_is_in_no_mean(clare, tmp_path):
    path = write(tmp_path / "test_predictions.csv", SCORES * 3, LABELS * 3,
                 ["a"] * 8 + ["b"] * 8 + ["own"] * 8)  # fmt: skip
    path.write_text(path.read_text().replace("name,y,p", "sample_id,label,score"))
    assert "3 subsets" in clare("score", path, "--resamples", 0)
    measured = measure_subsets(read_predictions(path), 0.5, Resampling(0), aside=["own"])
    record = EvaluationRecord(
        **vars(measured),
        run="run",
        trained_on=(),
        control=None,
        store="store",
        split="test",
        protocol=None,
        domains=(),
        frames=None,
        sampling="even",
        reals=(),
        skipped={},
        absent={},
        notes=(),
    )
    write_json(tmp_path / "test_metrics.json", record)
    for command in (("score", path), ("compare", path, path)):
        out = clare(*command, "--resamples", 0)
        assert "in no mean: own" in out and "2 subsets" in out and "3 subsets" not in out
        assert json.loads(clare(*command, "--resamples", 0, "--json"))["aside"] == ["own"]
    (tmp_path / "test_metrics.json").write_text("[]")
    with pytest.raises(InputError, match="test_metrics"):
        clare("score", path)


def test_what_intervals_are_of(clare, tmp_path):
    path = write(tmp_path / "theirs.csv", SCORES)
    assert "no intervals" in clare("score", path, *COLUMNS, "--resamples", 0)
    path.write_text(path.read_text().replace("clip\n", "batch\n"))
    assert "no video ids are known" in clare("score", path, *COLUMNS, "--resamples", 20)
    out = clare("score", path, *COLUMNS, "--resamples", 20, "--video", "batch")
    assert "20 resamples of whole videos or identities)" in out


def test_labels_or_scores_that_are_turned_round_are_asked_about(clare, tmp_path):
    asked = "turned round"
    path = write(tmp_path / "theirs.csv", SCORES * 8, [1 - one for one in LABELS] * 8)
    assert asked in clare("score", path, *COLUMNS, "--resamples", 50)
    own = ("--real-label", "1", "--fake-label", "0")
    assert asked not in clare("score", path, *COLUMNS, *own, "--resamples", 50)


def test_a_run_of_names_meets_anybodys_columns(clare, tmp_path):
    first = tmp_path / "first.csv"
    first.write_text("\n".join(["sample_id,subset,label,score", *(
        f"{n},faces,{label},{score}" for n, (label, score) in
        enumerate(zip(LABELS * 3, SCORES * 3, strict=True))
    )]))  # fmt: skip
    second = tmp_path / "theirs.csv"
    second.write_text("\n".join(["who;truth;fakeness", *(
        f"{n};{('nature', 'ai')[label]};{5 - score}" for n, (label, score) in
        enumerate(zip(LABELS * 3, SCORES * 3, strict=True))
    )]))  # fmt: skip
    for one in (first, second):
        with pytest.raises(InputError, match="has no column"):
            clare(
                "compare", one, second, "--label", "truth", "--score", "fakeness", "--id", "nobody"
            )
    second.write_text(second.read_text().replace("who;truth;fakeness", "id;target;prob"))
    out = " ".join(clare("compare", first, second, "--resamples", 200).split())
    assert "first.csv is better on faces (-0.750, 95 % " in out
    assert "neither is clearly better on faces" in " ".join(
        clare("compare", first, first, "--resamples", 20).split()
    )
    second.write_text(second.read_text().replace("\n", "\nx"))
    with pytest.raises(InputError, match="names differ: the first has '0', the second 'x0'"):
        clare("compare", first, second)


def test_two_files_are_compared(clare, tmp_path):
    def own(name, scores):
        path = write(tmp_path / name, scores)
        path.write_text(path.read_text().replace("name,y,p", "sample_id,label,score"))
        return path

    one, other = own("one.csv", SCORES), own("other.csv", [1 - s for s in SCORES])
    out = clare("compare", one, other, "--resamples", 50)
    assert "difference" in out and "-0.750" in out and "8 rows that both have" in out
    found = json.loads(clare("compare", one, other, "--json"))
    difference = found["subsets"]["faces"]["difference"]["auc"]
    assert difference["low"] <= difference["value"] == -0.75 <= difference["high"]


def test_two_localisers_are_compared_by_their_masks(clare, tmp_path):
    files = []
    for name, gain in (("one", 0.0), ("other", 0.1)):
        rows = [f"{n}.png,1,{0.3 + n / 50 + gain},{0.5 + gain}" for n in range(10)]
        files.append(tmp_path / f"{name}.csv")
        files[-1].write_text("\n".join(["name,label,iou,f1_oracle", *rows]))
    out = " ".join(clare("compare", *files, "--score", "iou", "--resamples", 50).split())
    assert "difference │ +0.100 │ +0.100" in out and "oracle: the best threshold" in out
    assert "By the IoU of other.csv less one.csv, other.csv is better on all (+0.100" in out
    assert "AUC" not in out and "By the F1" not in out, "neither has them"
    found = json.loads(clare("compare", *files, "--score", "iou", "--json"))
    assert found["masks"]["all"]["difference"]["iou"]["value"] == pytest.approx(0.1)


def test_all_rows_of_one_label_are_refused(clare, tmp_path):
    with pytest.raises(InputError, match="no fakes"):
        clare("score", write(tmp_path / "reals.csv", SCORES, [0] * 8), *COLUMNS)


def test_a_place_that_can_not_be_written_is_refused_before_the_work(clare, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file can't be a folder .*it is a file"):
        clare("evaluate", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "file")


@pytest.mark.parametrize(
    ("given", "idle"),
    [
        (("--out", "new"), ["out"]),
        (("b", "--compat", "df40", "--out", "new"), ["out"]),
        (("--compat", "df40", "--resamples", 1000), ["resamples"]),
        (("--compat", "df40", "-s", "e4e", "--baselines"), ["subset", "baselines"]),
    ],
)
def test_an_option_that_can_not_act_is_refused_before_anything_is_written(
    clare, tmp_path, monkeypatch, given, idle
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        clare("evaluate", "a", *given)
    assert refused.value.advice == (LeaveOut(*idle),)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "given",
    [("evaluate", "a", "--compat", "clare"), ("evaluate", "a", "--sampling", "odd"),
     ("score", "a.csv", "--read-as", "percent")],
)  # fmt: skip
def test_a_value_that_is_no_choice_is_refused(given):
    result = CliRunner().invoke(app, list(given))
    assert result.exit_code == 2 and given[-2] in result.output


def test_a_folder_that_is_no_run_is_refused(clare, tmp_path):
    with pytest.raises(InputError, match="nothing"):
        clare("evaluate", tmp_path / "nothing")
    with pytest.raises(InputError, match=tmp_path.name):
        clare("compare", tmp_path, tmp_path)
