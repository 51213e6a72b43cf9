import gzip
import os
import socket
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clare.advice import Name
from clare.errors import InputError, ManifestError
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.validation import validate
from clare.wording import natural_key

HEADER = "sample_id,path,label,subset\n"


def sample(number=0, **columns):
    base = Sample(f"s/{number}", f"real/{number}.png", 0, "s", split="train")
    return replace(base, **columns)


def manifest(*samples):
    return Manifest("s", samples)


def written(tmp_path, text, name="s.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


FULL = Sample(
    "s/ä,\"'",
    "fake/ä b.png",
    1,
    "s",
    root="df40_test",
    category="FS",
    domain="cdf",
    split="val",
    official_split="test",
    video_id="simswap:cdf:id0_id16_0003",
    frame_idx=0,
    source_ids="cdf:id0|cdf:id16",
    pair_id="cdf:id0",
    created="2023-11/2024",
    compression="c23",
    width=256,
    height=255,
    format="png",
    bytes=0,
    sha256="0" * 64,
    mask_path="masks/ä.png",
    mask_fake="black",
    landmark_path="landmarks/ä.npy",
    boxes="-1.5 2 30 40",
    face_crop="dlib 1.3",
    status="corrupt",
    extra={"prompt": "a\nb, c"},
)


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz"])
def test_what_is_written_is_read(tmp_path, name):
    write_manifest(manifest(FULL, sample(10), sample(2)), tmp_path / name)
    assert read_manifest(tmp_path / name) == manifest(sample(2), sample(10), FULL)


def test_equal_manifests_give_equal_bytes_and_only_filled_columns(tmp_path):
    for folder, order in (("a", (1, 2)), ("b", (2, 1))):
        write_manifest(manifest(*map(sample, order)), tmp_path / folder / "s.csv.gz")
    first = (tmp_path / "a" / "s.csv.gz").read_bytes()
    assert first == (tmp_path / "b" / "s.csv.gz").read_bytes()
    assert gzip.decompress(first).decode() == (
        "sample_id,path,label,subset,split,status\n"
        "s/1,real/1.png,0,s,train,ok\ns/2,real/2.png,0,s,train,ok\n"
    )


def test_a_minimal_manifest_by_hand_from_a_spreadsheet_is_read(tmp_path):
    text = "\ufeffsubset,label,path,sample_id,age\r\ns,1,x/a.png,a,33\r\n\r\n"
    (one,) = read_manifest(written(tmp_path, text)).samples
    assert one == Sample("a", "x/a.png", 1, "s", extra={"age": "33"})


@pytest.mark.parametrize(
    ("columns", "cells", "complaint"),
    [
        ("", "a,a.png,1_real,s", "line 2: label '1_real' is not 0"),
        ("", "a,a.png,,s", "line 2: label is empty"),
        ("", "a,a.png,1", "line 2: 3 cells, but the header has 4"),
        (",width", "a,a.png,1,s,1_0", "line 2: width '1_0' is not a whole number"),
        (",frame_idx", "a,a.png,1,s,-1", "line 2: frame_idx '-1' is not"),
        (",boxes", "a,a.png,1,s,1 2 3", "line 2: boxes '1 2 3' are not four numbers"),
        (",boxes", "a,a.png,1,s,1 2 3 nan", "line 2: boxes '1 2 3 nan' are not four finite"),
        (",sha256", "a,a.png,1,s,ABC", "line 2: sha256 'ABC' is not 64"),
        (",spilt", "a,a.png,1,s,train", "column 'spilt' is not known, is it 'split'"),
        (",Width", "a,a.png,1,s,3", "column 'Width' is not known, is it 'width'"),
        (",label", "a,a.png,1,s,1", "column 'label' is not usable"),
        (",", "a,a.png,1,s,1", "column 'without a name' is not usable"),
        ("", 'a,"a.png,1,s', "as a CSV in UTF-8"),
    ],
)
def test_a_cell_or_column_of_another_form_is_named(tmp_path, columns, cells, complaint):
    path = written(tmp_path, f"{HEADER.strip()}{columns}\n{cells}\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert complaint in str(caught.value)


def test_labels_are_words_of_the_one_vocabulary(tmp_path):
    words = ["0", "1", "REAL", "Fake", "nature", "ai", "0_real", "1_fake", "0.0", "manipulated"]
    rows = "".join(f"{n},{n}.png,{word},s\n" for n, word in enumerate(words))
    found = read_manifest(written(tmp_path, f"{HEADER.strip()}\n{rows}"))
    assert [one.label for one in found.samples] == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]


def test_many_bad_rows_are_named_and_counted(tmp_path):
    rows = "".join(f"s/{i},{i}.png,2,s\n" for i in range(9))
    with pytest.raises(ManifestError, match=r"line 2: .*line 6: label '2'.* and 4 more$"):
        read_manifest(written(tmp_path, HEADER + rows))


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("s.csv", b"", "no column sample_id, path, label, subset"),
        ("s.csv", b"sample_id;path;label;subset\n", "separated by commas"),
        ("s.csv", HEADER.encode(), "subset s has no rows"),
        ("s.csv", HEADER.encode() + b"\xff,a,1,s\n", "as a CSV in UTF-8"),
        ("s.csv.gz", b"no gzip", "can't be read"),
        ("s.csv.gz", gzip.compress(b"sample_id" * 99, mtime=0)[:20], "as a CSV in UTF-8"),
        ("s.txt", b"", "ends in .csv"),
        ("two words.csv", HEADER.encode() + b"a,a,1,two words\n", "can't name a subset"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path, name, data, complaint):
    with pytest.raises(ManifestError, match=complaint):
        read_manifest(written(tmp_path, data, name))


def test_a_missing_manifest_is_one_sentence(tmp_path):
    with pytest.raises(ManifestError, match="is missing"):
        read_manifest(tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        ([], "no rows"),
        ([sample(subset="t")], r"subset other than s: 's/0' \(t\)"),
        ([sample(label=2)], "labels other than 0 and 1: 's/0'"),
        ([sample(split="dev")], r"splits that are not known: 's/0' \(dev\)"),
        ([sample(status="bad")], r"statuses that are not known: 's/0' \(bad\)"),
        ([sample(sample_id="")], "empty or has control characters: ''"),
        ([sample(sample_id="a\n")], "empty or has control characters"),
        ([sample(path="a.png"), sample(path="b.png")], "more than once: 's/0'"),
        ([sample(path="/a.png")], "is absolute"),
        ([sample(path="C:/a.png")], "is absolute"),
        ([sample(path="a\\b.png")], "has a backslash"),
        ([sample(path="a/../../b.png")], "leaves its root"),
        ([sample(path="./b.png")], "not in its shortest form"),
        ([sample(path="a//b.png")], "not in its shortest form"),
        ([sample(path="a/")], "not in its shortest form"),
        ([sample(path="")], "not in its shortest form"),
        ([sample(mask_path="/m.png")], "mask_path '/m.png' is absolute"),
        ([sample(mask_fake="grey")], r"mask_fake that is neither white nor black: 's/0' \(grey\)"),
        ([sample(landmark_path="../l.npy")], "landmark_path '../l.npy' leaves"),
        ([sample(1, path="a.png"), sample(2, path="A.png")], "in case or accents"),
        ([sample(1, path="\u00e4.png"), sample(2, path="a\u0308.png")], "in case or accents"),
        ([sample(1, path="a.png"), sample(2, path="a.png")], "listed twice: 's/2'"),
        ([sample(1, path="a.png"), sample(2, path="a.png", label=1)], "two labels: 's/2'"),
        ([sample(1, sha256="1" * 64), sample(2, sha256="1" * 64, label=1)], "two labels: 's/2'"),
        ([sample(1, sha256="1" * 64), sample(2, sha256="1" * 64, split="val")], "one image in two"),
        ([sample(1, source_ids="a|b"), sample(2, source_ids="b", split="test")], "one identity in"),
        ([sample(1, video_id="v"), sample(2, video_id="v", split="val")], "one video in two"),
    ],
)
def test_a_broken_rule_names_its_rows(samples, complaint):
    with pytest.raises(ManifestError, match=complaint):
        validate(manifest(*samples))


@pytest.mark.parametrize(
    "samples",
    [
        [sample(1), sample(2)],
        [sample(1, path="a.png", boxes="0 0 1 1"), sample(2, path="a.png", boxes="2 2 3 3")],
        [sample(1, root="a", path="a.png"), sample(2, root="b", path="A.png", label=1)],
        [sample(1, video_id="v", split=""), sample(2, video_id="v")],
        [sample(1, source_ids=""), sample(2, source_ids="", split="val")],
        [sample(path="a..b/...png")],
    ],
)
def test_what_breaks_no_rule_passes(samples):
    validate(manifest(*samples))


def test_a_long_list_of_rows_is_cut_and_counted():
    with pytest.raises(ManifestError, match=r"'s/4' and 15 more;"):
        validate(manifest(*(sample(i, label=3) for i in range(20))))


def test_a_manifest_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(ManifestError, match=r"is named s\.csv"):
        write_manifest(manifest(sample()), tmp_path / "t.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(ManifestError, match="can't be written"):
        write_manifest(manifest(sample()), tmp_path / "file" / "s.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8)


@given(
    st.lists(
        st.builds(
            sample,
            st.integers(0, 10**6),
            category=TEXT,
            face_crop=TEXT,
            frame_idx=st.none() | st.integers(0, 10**12),
            extra=st.dictionaries(st.sampled_from(["prompt", "seed"]), TEXT.filter(bool)),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda one: one.sample_id,
    )
)
def test_any_text_survives_the_file(tmp_path_factory, samples):
    path = tmp_path_factory.getbasetemp() / "round-trip" / "s.csv"
    write_manifest(manifest(*samples), path)
    assert set(read_manifest(path).samples) == set(samples)


def test_numbers_in_names_sort_by_value():
    assert sorted(["a10", "a9", "b1", "a", "10", "9"], key=natural_key) == [
        "9",
        "10",
        "a",
        "a9",
        "a10",
        "b1",
    ]


class TestRoots:
    def test_options_win_over_the_environment(self, tmp_path):
        for name in ("one", "two", "three"):
            (tmp_path / name).mkdir()
        roots = Roots.from_options(
            [str(tmp_path / "one"), f"df40.test={tmp_path / 'two'}"],
            {
                "CLARE_ROOT": "/nowhere",
                "CLARE_ROOT_DF40_TEST": "/nowhere",
                "CLARE_ROOT_FFPP": str(tmp_path / "three"),
                "CLARE_ROOTS": "/nowhere",
            },
        )
        assert roots.resolve(sample()) == tmp_path / "one/real/0.png"
        assert roots.resolve(sample(root="df40.test")) == tmp_path / "two/real/0.png"
        assert roots.resolve(sample(root="ffpp")) == tmp_path / "three/real/0.png"
        assert roots.resolve(sample(), "masks/0.png") == tmp_path / "one/masks/0.png"

    def test_a_folder_with_an_equals_sign_is_no_name(self, tmp_path):
        folder = tmp_path / "a=b"
        folder.mkdir()
        assert Roots.from_options([str(folder)], {}).resolve(sample()).parts[-3] == "a=b"

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            (["a", "b"], "second folder for the default root"),
            (["x=a", "X=b"], "second folder for root 'x'|second folder for root 'X'"),
            (["x="], "names no folder"),
            ([], "no folder is known for the default root: .*CLARE_ROOT"),
            (["no-such"], "no-such, the folder of the default root, is not there"),
        ],
    )
    def test_what_is_missing_is_said_with_its_remedy(self, options, complaint):
        with pytest.raises(InputError, match=complaint):
            Roots.from_options(options, {}).resolve(sample())

    def test_a_named_root_does_not_fall_back(self, tmp_path):
        with pytest.raises(InputError, match="CLARE_ROOT_DF40") as error:
            Roots(default=tmp_path, named={}).resolve(sample(root="df40"))
        assert Name("it", "root", "df40=DIR") in error.value.advice

    def test_no_path_leaves_its_root(self, tmp_path):
        root = tmp_path / "root"
        root.mkdir()
        (tmp_path / "rooted").mkdir()
        (root / "out").symlink_to(tmp_path / "rooted")
        (root / "in").symlink_to(root)
        roots = Roots(default=root, named={})
        assert roots.resolve(sample(path="in/a.png")) == root / "a.png"
        for path in ("out/a.png", "../rooted/a.png", "/etc/passwd"):
            with pytest.raises(ManifestError, match="'s/0'"):
                roots.resolve(sample(path=path))


def test_what_a_killed_writer_left_goes_with_the_next_and_a_living_one_s_stays(tmp_path):
    manifest = Manifest("s", (Sample(sample_id="a", path="a.png", label=1, subset="s"),))
    here = "".join(filter(str.isalnum, socket.gethostname()))
    dead, living, elsewhere = (
        tmp_path / f".s.csv.{name}.partial"
        for name in (f"{here}.{2**22 + 1}", f"{here}.{os.getppid()}", f"{here}x.{2**22 + 1}")
    )
    for left in (dead, living, elsewhere):
        left.write_bytes(b"sample_id")
    write_manifest(manifest, tmp_path / "s.csv")
    assert not dead.exists() and living.exists() and elsewhere.exists()
    assert read_manifest(tmp_path / "s.csv").samples == manifest.samples


def test_a_date_that_can_not_be_read_is_said_with_its_file_and_line(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text(
        "sample_id,path,label,subset,created\na,a.png,0,s,2024-02\nb,b.png,1,s,May 2024\n"
    )
    with pytest.raises(ManifestError, match=r"s\.csv: line 3: created 'May 2024' is no date"):
        read_manifest(path)
    with pytest.raises(ManifestError, match=r"a created that is no date: .*May 2024"):
        write_manifest(manifest(replace(sample(1), created="May 2024")), path)
