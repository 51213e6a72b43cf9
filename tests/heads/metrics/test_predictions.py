"""Predictions from a store's rows and from anybody's CSV; videos; what a subset is measured on."""

from csv import reader

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clare.advice import Name
from clare.errors import InputError
from clare.heads.metrics.predictions import (
    Predictions,
    evaluation_sets,
    read_predictions,
    video_level,
    write_predictions,
)
from clare.heads.metrics.score_csv import ScoreColumns
from clare.store.row import Row


def row(sample_id, label, **columns) -> Row:
    columns = {"label": label, "subset": "swap", "category": "FS", **columns}
    return Row(sample_id=sample_id, view=0, content="", columns=columns, slot=0)


def of(*rows, margin=None) -> Predictions:
    return Predictions.of_rows(rows, np.zeros(len(rows)) if margin is None else margin)


def test_a_row_is_drawn_with_its_video_else_its_identity_else_alone():
    predictions = of(
        row("a", 1, video_id="v1", source_ids="p1|p2"),
        row("b", 1, video_id="v1", subset="other"),
        row("c", 0, source_ids="p1|p2"),
        row("d", 0, source_ids="p2", subset="other"),
        row("e", 0),
        row("e", 0, subset="other"),
    )
    assert predictions.video.tolist() == ["swap/v1", "other/v1", "", "", "", ""]
    assert predictions.cluster.tolist() == [
        "swap/v1", "other/v1", "identity p1", "identity p2", "swap/e", "other/e",
    ]  # fmt: skip
    assert predictions.label.tolist() == [1, 1, 0, 0, 0, 0]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0\r", codec="utf-8"), min_size=1),
            st.booleans(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.sampled_from(["", "v1", "v, 2"]),
        ),
        min_size=1,
    )
)
def test_a_file_gives_back_what_was_written(tmp_path_factory, rows):
    written = of(
        *[row(name, int(fake), video_id=video) for name, fake, _, video in rows],
        margin=np.array([margin for _, _, margin, _ in rows]),
    )
    path = tmp_path_factory.mktemp("csv") / "scores.csv"
    images = [f"faces/{name}" for name, *_ in rows]
    write_predictions(written, path, images, 0.25)
    read = read_predictions(path)
    for name in ("sample_id", "subset", "category", "label", "margin", "video", "cluster", "score"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.scale == "margin"
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(reader(file))
    assert lines.pop(0)[:4] == ["path", "label", "predicted", "score"]
    assert [(line[0], int(line[2])) for line in lines] == [
        (image, int(margin >= 0.25)) for image, (_, _, margin, _) in zip(images, rows, strict=True)
    ]


def csv(tmp_path, text):
    path = tmp_path / "theirs.csv"
    path.write_text(text, "utf-8")
    return path


def test_other_peoples_columns_and_labels(tmp_path):
    path = csv(tmp_path, "file,truth,p,clip\nx.png,Real,0.25,7\ny.png,fake,1.0,7\n")
    read = read_predictions(path, ScoreColumns("truth", "p", video="clip", sample="file"))
    assert read.label.tolist() == [0, 1] and read.score.tolist() == [0.25, 1.0]
    assert read.scale == "probability" and read.even == 0.5
    assert read.cluster.tolist() == ["7", "7"] and read.subset.tolist() == ["", ""]


def test_scores_beyond_0_and_1_are_plain_numbers_unless_said_otherwise(tmp_path):
    path = csv(tmp_path, "label,score\n0,-2\n1,0.5\n")
    read = read_predictions(path)
    assert read.scale == "number" and read.even is None and read.margin.tolist() == [-2, 0.5]
    read = read_predictions(path, read_as="margin")
    assert read.even == 0 and read.margin.tolist() == [-2, 0.5]
    assert read.score == pytest.approx([1 / (1 + np.exp(2)), 1 / (1 + np.exp(-0.5))])
    assert len(set(read.cluster)) == 2
    with pytest.raises(InputError, match="1 of 2 scores in score lie outside 0 to 1"):
        read_predictions(path, read_as="probability")


def test_rounding_just_outside_0_and_1_is_still_a_probability(tmp_path):
    text = "label,score\n0,0.1\n1,1.0000001\n1,1\n0,-1e-8\n"
    read = read_predictions(csv(tmp_path, text))
    assert read.scale == "probability" and read.score.tolist() == [0.1, 1, 1, 0]
    assert read.margin[1] > read.margin[2], "ranks are those of the file"


def test_a_margin_ranks_unless_another_column_is_named(tmp_path):
    path = csv(tmp_path, "label,score,margin\n0,0.2,-3\n1,0.7,0.25\n")
    read = read_predictions(path)
    assert (read.column, read.scale, read.margin.tolist()) == ("margin", "margin", [-3, 0.25])
    read = read_predictions(path, ScoreColumns(score="score"))
    assert (read.column, read.scale, read.margin.tolist()) == ("score", "probability", [0.2, 0.7])


def test_empty_lines_count_for_nothing(tmp_path):
    read = read_predictions(csv(tmp_path, "label,score,subset,video\n0,0.2,,\n\n1,0.7,a,v,,\n"))
    assert read.subset.tolist() == ["", "a"] and read.video.tolist() == ["", "a/v"]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("head", ["image,label,score", "Target,Prob,Image", "path,y_true,y_score"])
def test_customary_names_and_separators(tmp_path, mark, head):
    cells = {"image": "a.png", "path": "a.png", "score": "0.25", "prob": "0.25", "y_score": "0.25"}
    row = [cells.get(name.lower(), "FAKE") for name in head.split(",")]
    text = "\ufeff" + mark.join(head.split(",")) + "\r\n" + mark.join(row) + "\r\n"
    read = read_predictions(csv(tmp_path, text))
    assert (read.sample_id.tolist(), read.label.tolist(), read.margin.tolist()) == (
        ["a.png"], [1], [0.25],
    )  # fmt: skip
    assert set(read.columns.values()) == set(head.split(","))


def test_a_decimal_comma_beside_semicolons(tmp_path):
    read = read_predictions(csv(tmp_path, "label;score\n0;0,25\n1;0.5\n"))
    assert read.margin.tolist() == [0.25, 0.5]


def test_columns_that_are_named_by_numbers_are_taken_where_they_are_named(tmp_path):
    path = csv(tmp_path, "0,1,label\na,0.25,0\nb,0.5,1\n")
    read = read_predictions(path, ScoreColumns(score="1", sample="0"))
    assert read.margin.tolist() == [0.25, 0.5] and read.sample_id.tolist() == ["a", "b"]
    with pytest.raises(
        InputError, match=r"no line of names that has a score: .*'0, 1, label'"
    ) as no:
        read_predictions(path)
    assert no.value.advice[0] == Name("the column", "score")


@pytest.mark.parametrize("role", ["label", "score", "subset", "video", "sample"])
def test_a_named_column_has_to_be_there(tmp_path, role):
    path = csv(tmp_path, "image,label,score\na,0,0.5\n")
    with pytest.raises(InputError, match="no column 'nosuch'; it has image, label and score"):
        read_predictions(path, ScoreColumns(**{role: "nosuch"}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label,cosine\n0,1\n", "no column 'score'; it has label and cosine"),
        ("score\n1\n", "no column 'label'"),
        ("a.png,0,0.5\nb.png,1,0.7\n", "no line of names"),
        ("image,label,score\na,b.png,0,0.5\n", "line 2: it has 4 cells"),
        ("label,score\n0,0.2\n1\n", "line 3: it has 1 cell "),
        ("label,score\n0,\n", "line 2: score is empty"),
        ("label,score\n0,tensor(0.5)\n", "not a number"),
        ("label,score\n", "no rows"),
        ("label,score\n0,0.5\n2,0.5\n", "line 3: the label is '2'"),
        ("label,score\n0,high\n", "line 2: score is 'high'"),
        ("label,score\n0,nan\n1,1\n", "1 of 2 scores are not finite"),
        ("label,score\n0,inf\n1,1\n", "1 of 2 scores are not finite"),
        ("", "is empty"),
    ],
)
def test_a_file_that_is_not_usable_is_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_predictions(csv(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv"):
        read_predictions(tmp_path / "none.csv")


def test_a_videos_score_is_the_mean_of_its_frames():
    margin = np.array([-3.0, 1.0, 2.0, 0.5, 4.0])
    videos = ["v1", "v1", "v2", "v1", "v2"]
    labels = [0, 0, 0, 1, 0]  # a swap may keep the name of the video it was made from
    rows = [row(str(n), labels[n], video_id=videos[n]) for n in range(5)]
    found = video_level(of(*rows, margin=margin))
    assert found is not None
    frames = 1 / (1 + np.exp(-margin))
    means = {("swap/v1", 0): frames[:2].mean(), ("swap/v2", 0): frames[[2, 4]].mean()}
    means["swap/v1", 1] = frames[3]
    got = zip(found.video.tolist(), found.label.tolist(), strict=True)
    assert dict(zip(got, found.score, strict=True)) == pytest.approx(means)


def test_videos_rank_beyond_the_digits_of_a_probability():
    rows = [row(str(n), n // 2, video_id=f"v{n // 2}") for n in range(4)]
    found = video_level(of(*rows, margin=np.array([50.0, 60.0, 55.0, 60.0])))
    assert found is not None
    assert found.score.tolist() == [1, 1] and found.margin[0] < found.margin[1]


def test_there_is_no_video_level_where_a_row_has_no_video():
    assert video_level(of(row("a", 0, video_id="v1"), row("b", 1))) is None


def test_fakes_alone_stand_beside_the_pools_of_reals():
    predictions = of(
        row("f", 1, subset="pixart"),
        row("r", 0, subset="ffpp"),
        row("r", 0, subset="mixed"),
        row("f", 1, subset="mixed"),
    )
    sets = {name: places.tolist() for name, places in evaluation_sets(predictions).items()}
    assert sets == {"pixart": [0, 1], "mixed": [2, 3]}
    named = evaluation_sets(predictions, ["mixed"])
    assert named["pixart"].tolist() == [0, 2] and named["mixed"].tolist() == [2, 3]
    assert evaluation_sets(predictions, [])["pixart"].tolist() == [0]
    with pytest.raises(InputError, match="pixart has no real rows"):
        evaluation_sets(predictions, ["pixart"])


def test_a_file_without_subsets_is_one_set(tmp_path):
    read = read_predictions(csv(tmp_path, "label,score\n0,0.2\n1,0.7\n"))
    assert evaluation_sets(read)["all"].tolist() == [0, 1]
