"""Tables of anybody's: whatever their order, separator and header, the manifest is the same."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clare.advice import Name
from clare.errors import ClareError, InputError, ManifestError
from clare.heads.metrics.predictions import read_predictions
from clare.labels import Labels
from clare.pipeline.checks.check import check_manifests
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.tables import import_csv

PATHS = [f"{kind}/{n}.png" for kind in ("a b", "c,d", "e") for n in range(2)]
ROWS = [(path, int(path.startswith("e"))) for path in PATHS]


@pytest.fixture
def data(tmp_path):
    for path in PATHS:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.new("L", (3, 3)).save(tmp_path / path)
    return tmp_path


def found(imported):
    return [(s.path, s.label) for s in imported.built.manifest.samples]


def said(imported):
    return "\n".join(map(str, imported.notices))


PLAIN = [row for row in ROWS if "," not in row[0] and " " not in row[0]] + [("x.png", 0)]
QUOTED = [(f'"{path}"', label) for path, label in ROWS]
TEXTS = {
    "header": "path,label\n" + "".join(f"{p},{y}\n" for p, y in QUOTED),
    "turned": "label,image\n" + "".join(f"{y},{p}\n" for p, y in QUOTED),
    "semicolon": "path;label\n" + "".join(f"{p};{y}\n" for p, y in ROWS),
    "tab": "filename\ttarget\n" + "".join(f"{p}\t{y}\n" for p, y in ROWS),
    "capitals": "Path, Label\r\n"
    + "".join(f"{p}, {'FAKE' if y else 'Real'}\r\n" for p, y in QUOTED),
    "pandas": ",path,label\n" + "".join(f"{n},{p},{y}.0\n" for n, (p, y) in enumerate(QUOTED)),
    "unnamed": "Unnamed: 0,path,label\n" + "".join(f"7,{p},{y}\n" for p, y in QUOTED),
    "no header": "".join(f"{p},{y}\n" for p, y in QUOTED),
    "text list": "".join(f"{p} {y}\n" for p, y in ROWS),
    "label first": "".join(f"{y} {p}\n" for p, y in ROWS),
    "words": "".join(f"{p} {'1_fake' if y else '0_real'}\n" for p, y in ROWS),
    "byte order mark": "\ufeffpath,label\n" + "".join(f"{p},{y}\n" for p, y in QUOTED),
    "plain paths": "path,label\n" + "".join(f'"./{p}",{y}\n' for p, y in ROWS),
    "empty lines": "\npath,label\n\n" + "".join(f"{p},{y}\n\n" for p, y in QUOTED),
}


@pytest.mark.parametrize("form", TEXTS)
def test_every_form_of_a_table_is_the_same_manifest(data, form):
    (data / "mine.csv").write_text(TEXTS[form])
    imported = import_csv([data / "mine.csv"])
    assert found(imported) == ROWS
    assert imported.built.manifest.name == "mine"
    write_manifest(imported.built.manifest, data / "out" / "mine.csv")
    assert {s.path for s in read_manifest(data / "out" / "mine.csv").samples} == {*PATHS}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(["path", "label", "video_id", "note"]), st.sampled_from(",;\t"))
def test_columns_stand_in_any_order(data, order, separator):
    cells = {"video_id": "v", "note": "n"}
    lines = [separator.join(order)]
    for path, label in ROWS:
        row = {**cells, "path": f'"{path}"', "label": str(label)}
        lines.append(separator.join(row[name] for name in order))
    (data / "mine.csv").write_text("\n".join(lines))
    imported = import_csv([data / "mine.csv"])
    assert found(imported) == ROWS
    assert {s.video_id for s in imported.built.manifest.samples} == {"v"}
    assert "left out: 'note'" in said(imported) and "video 'video_id'" in said(imported)


def test_a_column_that_is_named_must_be_there(data):
    (data / "mine.csv").write_text("image,y,Film\n" + "".join(f'"{p}",{y},f\n' for p, y in ROWS))
    imported = import_csv([data / "mine.csv"])
    assert "no video ids are known" in said(imported)
    with pytest.raises(InputError, match="no column 'clip'; it has image, y and Film") as refused:
        import_csv([data / "mine.csv"], columns={"video": "clip"})
    assert refused.value.advice == (Name("one of them", "video"),)
    taken = import_csv([data / "mine.csv"], columns={"video": "film"})
    assert {s.video_id for s in taken.built.manifest.samples} == {"f"}
    with pytest.raises(
        InputError, match="no column that is known for labels; it has image and odd"
    ):
        (data / "mine.csv").write_text("image,odd\na.png,0\n")
        import_csv([data / "mine.csv"])


def test_a_header_that_nobody_knows_is_told_by_its_names(data):
    path = data / "mine.csv"
    path.write_text("picture,truth\n" + "".join(f'"{p}",{y}\n' for p, y in ROWS))
    with pytest.raises(InputError) as refused:
        import_csv([path])
    assert refused.value.what == (
        f"{path} has no column that is known for paths; it has picture and truth"
    )
    assert refused.value.advice == (Name("it", "path"),)
    with pytest.raises(InputError, match="known for labels; it has picture and truth"):
        import_csv([path], columns={"path": "picture"})
    taken = import_csv([path], columns={"path": "picture", "label": "truth"})
    assert found(taken) == ROWS
    path.write_text("a;b\nc;d\n")
    with pytest.raises(InputError, match=r"has no line of names, .* to hold paths; .* is 'a, b'"):
        import_csv([path])


@pytest.mark.parametrize(("name", "known"), [("gt", True), ("y_true", True), ("fake_video", False)])
def test_lists_and_scores_know_the_same_names_of_columns(data, name, known):
    text = f"filename,{name},p_fake\n" + "".join(f'"{p}",{y},0.5\n' for p, y in ROWS)
    (data / "mine.csv").write_text(text)
    for read in (
        lambda: import_csv([data / "mine.csv"]),
        lambda: read_predictions(data / "mine.csv"),
    ):
        if known:
            read()
        else:
            with pytest.raises(InputError, match="label"):
                read()


def test_labels_and_splits_that_are_not_known_name_their_lines(data):
    path = data / "mine.csv"
    path.write_text(
        "path,label\n" + "".join(f'"{p}",{"swapped" if y else "clean"}\n' for p, y in ROWS)
    )
    with pytest.raises(InputError, match=r"neither real nor fake: line 2 \('clean'\), line 3"):
        import_csv([path])
    assert found(import_csv([path], labels=Labels(["clean"], ["swapped"]))) == ROWS
    path.write_text("path,label,split\n" + "".join(f'"{p}",{y},holdout\n' for p, y in ROWS))
    with pytest.raises(
        InputError, match=r"splits other than train, val, test: line 2 \('holdout'\)"
    ):
        import_csv([path])
    path.write_text("path,label\na b/0.png,0\ne/0.png,1,2\n")
    with pytest.raises(InputError, match="rows of other than 2 cells: line 3"):
        import_csv([path])


def test_files_named_after_splits_say_the_split(data):
    for (path, label), name in zip(ROWS, ["train", "valid", "test"] * 2, strict=True):
        with (data / f"{name}.txt").open("a") as file:
            file.write(f"{path} {label}\n")
    files = [data / f"{name}.txt" for name in ("train", "valid", "test")]
    imported = import_csv(files, subset="mine")
    samples = imported.built.manifest.samples
    assert {s.path: s.split for s in samples} == dict(
        zip(PATHS, ["train", "val", "test"] * 2, strict=True)
    )


def test_paths_start_at_the_tables_folder_or_at_the_root_that_is_named(data, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("lists") / "mine.csv"
    elsewhere.write_text("path,label\n" + "".join(f'"{p}",{y}\n' for p, y in ROWS))
    with pytest.raises(InputError, match="none of the 6 files") as refused:
        import_csv([elsewhere])
    assert refused.value.advice == (Name("the folder that their paths start at", "root"),)
    assert found(import_csv([elsewhere], root=data)) == ROWS
    elsewhere.write_text("path,label\n" + "".join(f'"{data}/{p}",{y}\n' for p, y in ROWS))
    assert found(import_csv([elsewhere], root=data)) == ROWS
    with pytest.raises(InputError, match="paths out of"):
        import_csv([elsewhere])


def test_repeated_missing_and_contradicting_rows(data):
    path = data / "mine.csv"
    path.write_text("path,label\ne/0.png,1\n./e/0.png,1\ne/gone.png,1\na b/0.png,0\n")
    imported = import_csv([path])
    assert {s.path: s.status for s in imported.built.manifest.samples} == {
        "e/0.png": "ok", "e/gone.png": "missing", "a b/0.png": "ok",
    }  # fmt: skip
    assert "1 row of files that stand above" in said(imported) and "1 missing" in said(imported)
    path.write_text("path,label\ne/0.png,1\ne/0.png,0\n")
    with pytest.raises(InputError, match="two labels"):
        import_csv([path])


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("ab1,;\t \n\"'.png/\\0\ufeff\x00é"), max_size=60))
def test_any_text_is_a_table_or_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "any.csv").write_text(text, newline="")
    with pytest.raises(InputError):
        import_csv([tmp_path / "any.csv"])


def test_one_file_in_two_splits_is_refused_and_rows_without_one_are_said(data):
    for name in ("train", "test"):
        (data / f"{name}.csv").write_text("path,label\ne/0.png,1\n")
    with pytest.raises(InputError, match="two splits"):
        import_csv([data / "train.csv", data / "test.csv"])
    (data / "mine.csv").write_text("path,label,split\ne/0.png,1,test\ne/1.png,1,\n")
    assert "1 row without a split" in said(import_csv([data / "mine.csv"]))


def test_boxes_that_are_none_are_refused_before_anything_is_written(data):
    (data / "mine.csv").write_text('path,label,boxes\ne/0.png,1,"[1, 2, 3, 4]"\n')
    with pytest.raises(InputError, match="boxes that are not"):
        import_csv([data / "mine.csv"])
    (data / "mine.csv").write_text("path,label,boxes\ne/0.png,1,1 2 3 4\n")
    assert import_csv([data / "mine.csv"]).built.manifest.samples[0].boxes == "1 2 3 4"


def test_dates_are_taken_and_one_that_can_not_be_read_is_said_with_its_line(data):
    (data / "mine.csv").write_text("path,label,created\ne/0.png,1,2024-03\ne/1.png,1,\n")
    samples = import_csv([data / "mine.csv"]).built.manifest.samples
    assert [sample.created for sample in samples] == ["2024-03", ""]
    (data / "mine.csv").write_text("path,label,created\ne/0.png,1,March\n")
    with pytest.raises(InputError, match=r"dates in created .*line 2 \('March'\)"):
        import_csv([data / "mine.csv"])


def draw_videos(folder, videos=12, frames=4):
    """Frames of several videos a label, and the lines that list them."""
    lines = []
    for label, source in ((0, "real"), (1, "DF")):
        for video in range(videos):
            for number in range(frames):
                path = folder / source / f"{video:03d}" / f"{number:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (3, 3)).save(path)
                lines.append(f"{path.relative_to(folder).as_posix()},{label}")
    return lines


def test_frames_of_one_video_share_a_split_in_a_table_too(tmp_path):
    (tmp_path / "ff.csv").write_text("\n".join(["path,label", *draw_videos(tmp_path)]))
    imported = import_csv([tmp_path / "ff.csv"])
    splits: dict[str, set[str]] = {}
    for sample in imported.built.manifest.samples:
        assert sample.video_id == sample.path.rpartition("/")[0]
        assert sample.path == f"{sample.video_id}/{sample.frame_idx:03d}.png"
        splits.setdefault(sample.video_id, set()).add(sample.split)
    assert len(splits) == 24 and all(len(found) == 1 for found in splits.values())
    assert "24 folders of numbered images are taken as videos" in said(imported)
    alone = import_csv([tmp_path / "ff.csv"], columns={"video": "none"})
    assert not any(sample.video_id for sample in alone.built.manifest.samples)


def test_images_alone_are_alone_where_the_table_has_a_column_of_videos_too(data):
    (data / "mine.csv").write_text("path,label,clip\n" + "".join(f'"{p}",{y},c\n' for p, y in ROWS))
    imported = import_csv([data / "mine.csv"], columns={"video": "none"})
    assert found(imported) == ROWS and "left out: 'clip'" in said(imported)
    assert not any(sample.video_id for sample in imported.built.manifest.samples)


@pytest.mark.parametrize("named", [{}, {"path": "1", "label": "2"}])
def test_a_first_row_is_no_header_for_an_unknown_suffix(data, named):
    (data / "mine.csv").write_text("e/0.jp2,1\n" + "".join(f'"{p}",{y}\n' for p, y in ROWS))
    if named:
        rows = found(import_csv([data / "mine.csv"], columns=named))
        assert sorted(rows) == sorted([("e/0.jp2", 1), *ROWS])
    else:
        with pytest.raises(InputError, match="no line of names"):
            import_csv([data / "mine.csv"])


def test_a_manifest_of_ours_is_read_as_it_was_written(tmp_path):
    paths = ["=x/0.png", "'+y.png", "z.png"]
    for path in paths:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.new("L", (3, 3)).save(tmp_path / path)
    samples = [Sample(path, path, n % 2, "mine") for n, path in enumerate(paths)]
    write_manifest(Manifest("mine", tuple(samples)), tmp_path / "mine.csv")
    assert {path for path, _ in found(import_csv([tmp_path / "mine.csv"]))} == {*paths}


def test_splits_of_a_table_that_cut_what_look_like_videos_are_said(tmp_path):
    lines = draw_videos(tmp_path, videos=3)
    splits = ["train" if n % 4 < 2 else "test" for n in range(len(lines))]
    rows = [f"{line},{split}" for line, split in zip(lines, splits, strict=True)]
    (tmp_path / "ff.csv").write_text("\n".join(["path,label,split", *rows]))
    imported = import_csv([tmp_path / "ff.csv"])
    assert "look like videos, and the splits cut 6 of them" in said(imported)
    assert [s.split for s in imported.built.manifest.samples] == splits
    write_manifest(imported.built.manifest, tmp_path / "made" / "ff.csv")
    (found,) = (one for one in check_manifests(tmp_path / "made") if "as of a video" in one.what)
    assert not found.gate and len(found.rows) == 6


def test_a_path_that_no_file_has_is_refused_in_a_sentence(data):
    (data / "odd.csv").write_text("path,label\na\0b.png,1\nx.png,0\n")
    with pytest.raises(ClareError, match="control characters"):
        import_csv([data / "odd.csv"])


FAR = "/home/someone/data"


@pytest.mark.parametrize("beginning", [f"{FAR}/FF/", "C:\\data\\FF\\", "../elsewhere/FF/", "FF/"])
def test_paths_of_another_machine_are_found_by_their_ends(tmp_path, beginning):
    lines = draw_videos(tmp_path, videos=2, frames=1)
    listed = [f"{beginning}{line}" for line in lines] + [f"{beginning}real/009/000.png,0"]
    if "\\" in beginning:
        listed = [line.replace("/", "\\") for line in listed]
    (tmp_path / "ff.csv").write_text("\n".join(["path,label", *listed]))
    imported = import_csv([tmp_path / "ff.csv"])
    there = [(s.path, s.label) for s in imported.built.manifest.samples if s.status == "ok"]
    assert [f"{path},{label}" for path, label in there] == lines
    lost = [s.path for s in imported.built.manifest.samples if s.status == "missing"]
    assert lost == ["real/009/000.png"], "as far as the others tell where it would lie"
    (told,) = (str(one) for one in imported.notices if "by the end" in str(one))
    assert told.startswith("4 files found") and told.endswith("FF/")


def test_what_is_fake_in_a_mask_is_said_by_a_column_or_for_all(data):
    Image.new("L", (3, 3), 0).save(data / "e" / "mask.png")
    lines = ["path,label,mask,mask_fake", "a b/0.png,0,,White", "e/0.png,1,e/mask.png,{}"]

    def read(cell, given=None):
        (data / "mine.csv").write_text("\n".join(lines).format(cell))
        made = import_csv([data / "mine.csv"], mask_fake=given)
        said = "without a mark" in str(made.notices)
        return [s.mask_fake for s in made.built.manifest.samples], said

    assert read("Black") == (["", "black"], False)
    assert read("") == read("white", "black") == (["", ""], True)
    assert read("", "black") == (["", "black"], False)
    with pytest.raises(ManifestError, match=r"neither white nor black: .*\(grey\)"):
        read("grey")


def test_masks_of_another_machine_are_found_too(data):
    Image.new("L", (3, 3), 255).save(data / "e" / "mask.png")
    lines = [f"{FAR}/a b/0.png,0,", f"{FAR}/e/0.png,1,{FAR}/e/mask.png"]
    (data / "mine.csv").write_text("\n".join(["path,label,mask", *lines]))
    samples = import_csv([data / "mine.csv"]).built.manifest.samples
    assert [(s.path, s.mask_path) for s in samples] == [
        ("a b/0.png", ""),
        ("e/0.png", "e/mask.png"),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        [f"{FAR}/fake/0.png,1", f"{FAR}/real/0.png,0"],
        [f"{FAR}/DF/0.png,1", f"{FAR}/originals/0.png,0"],
        [f"{FAR}/fake/sub/0.png,1", f"{FAR}/fake/sub/1.png,1"],
    ],
)
def test_no_path_loses_what_tells_its_label(tmp_path, lines):
    """Below the folder that is named lie reals alone, of the names that fakes have in the table."""
    for name in ("0.png", "1.png", "sub/0.png", "sub/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (3, 3)).save(tmp_path / name)
    (tmp_path / "mine.csv").write_text("\n".join(["path,label", *lines]))
    with pytest.raises(InputError, match="paths out of"):
        import_csv([tmp_path / "mine.csv"])


def test_a_file_that_lies_where_its_path_says_is_no_other(data):
    (data / "sub" / "e").mkdir(parents=True)
    for name in ("0.png", "1.png"):
        Image.new("L", (3, 3)).save(data / "sub" / "e" / name)
    (data / "sub" / "e" / "1.png").unlink()
    (data / "mine.csv").write_text("path,label\nsub/e/0.png,1\nsub/e/1.png,1\nsub/a b/0.png,0\n")
    assert found(import_csv([data / "mine.csv"])) == [
        ("sub/e/0.png", 1), ("e/1.png", 1), ("a b/0.png", 0),
    ]  # fmt: skip
