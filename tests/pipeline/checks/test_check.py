import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clare.advice import Notice, Set
from clare.errors import InputError
from clare.pipeline.checks.check import Finding, check_manifests
from clare.pipeline.checks.files import FileCheck
from clare.pipeline.datasets.build import build_dataset, write_dataset
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.manifests.csv_io import write_manifest
from clare.pipeline.manifests.folders import build_manifest
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.synthetic.toys import draw_faces
from tests.pipeline.df40_tree import make_tree

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    tree = make_tree(tmp_path_factory.mktemp("df40"))
    return build_dataset(load_registry(), "df40", tree.roots, hash=True)


@pytest.fixture
def manifests(built, tmp_path):
    write_dataset(built, "df40", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def said(built, tmp_path_factory):
    """What is found in the tree as it was built."""
    folder = tmp_path_factory.mktemp("manifests")
    write_dataset(built, "df40", folder)
    return check_manifests(folder)


def edit(folder: Path, name: str, change: Callable[[Rows], object]) -> None:
    """Change the rows of a manifest as a person with a spreadsheet could."""
    path = folder / f"{name}.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0])
    change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def row(rows: Rows, sample_id: str) -> dict[str, str]:
    return next(one for one in rows if one["sample_id"] == sample_id)


def gates(found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.gate]


def test_the_tree_as_built_fails_no_gate(said):
    assert gates(said) == []


FRAME = "df40/simswap/ff/953_974/010"
STILL = "df40/pixart/ff/953/00"
OTHER = "df40/pixart/ff/071/00"
ORIGINAL = "ffpp/ffpp_real/ff/953/010"


PLANTED = {
    "label in a subset": (
        "simswap",
        lambda rows: rows.append(row(rows, FRAME) | {"sample_id": "planted", "label": "0"}),
        "one file with two labels",
        "planted",
    ),
    "label across subsets": (
        "ffpp_real",
        lambda rows: rows.append(
            row(rows, ORIGINAL)
            | {"sample_id": "planted", "root": "df40_test"}
            | {"path": "simswap/ff/frames/953_974/010.png", "sha256": ""}
        ),
        "one file with two labels, here and in another subset",
        FRAME,
    ),
    "bytes of two labels": (
        "pixart",
        lambda rows: row(rows, STILL).update(sha256="REAL"),
        "one file with two labels, here and in another subset",
        STILL,
    ),
    "identity in a subset": (
        "simswap",
        lambda rows: row(rows, FRAME).update(split="train"),
        "one identity in two splits",
        FRAME,
    ),
    "video in a subset": (
        "simswap",
        lambda rows: row(rows, FRAME).update(split="train", source_ids=""),
        "one video in two splits",
        FRAME,
    ),
    "test identity trains": (
        "pixart",
        lambda rows: row(rows, STILL).update(split="train"),
        "identities of the official test in training or validation",
        STILL,
    ),
    "train identity tests": (
        "pixart",
        lambda rows: row(rows, OTHER).update(split="test"),
        "identities of the official test in training or validation, or the reverse",
        OTHER,
    ),
    "identity across subsets": (
        "pixart",
        lambda rows: row(rows, OTHER).update(split="val"),
        "one identity in two splits, here and in another subset",
        OTHER,
    ),
    "celebrity across subsets": (
        "celeb_synthesis",
        lambda rows: [
            one.update(split="train") for one in rows if "id0_id1_0000" in one["video_id"]
        ],
        "one identity in two splits",
        "celebdf/celeb_synthesis/cdf/id0_id1_0000/000",
    ),
    "fake of two splits": (
        "e4s",
        lambda rows: [one.update(split="test") for one in rows if "071_953" in one["path"]],
        "a fake has a split although its two identities do not share one",
        "df40/e4s/ff/071_953/000",
    ),
    "file in two splits": (
        "ffpp_deepfakes",
        lambda rows: rows.append(
            row(rows, "ffpp/ffpp_deepfakes/ff/071_054/000")
            | {"sample_id": "planted", "root": "df40_test", "source_ids": "", "video_id": ""}
            | {"path": "simswap/ff/frames/953_974/010.png", "sha256": ""}
        ),
        "one file in two splits, here and in another subset",
        FRAME,
    ),
    "validation is test": (
        "midjourney",
        lambda rows: rows.extend(
            [one | {"sample_id": f"val {n}", "split": "val"} for n, one in enumerate(rows)]
        ),
        "a file listed twice",
        "val 0",
    ),
    "no rows": ("fomm", lambda rows: rows.clear(), "has no rows", "fomm"),
    "case": (
        "simswap",
        lambda rows: rows.append(
            row(rows, FRAME) | {"sample_id": "planted", "path": "simswap/FF/frames/953_974/010.png"}
        ),
        "in case or accents' coding alone",
        "planted",
    ),
    "backslash": (
        "simswap",
        lambda rows: row(rows, FRAME).update(path="simswap\\ff\\010.png"),
        "paths that are not plain relative ones",
        FRAME,
    ),
    "absolute": (
        "simswap",
        lambda rows: row(rows, FRAME).update(path="/data/010.png"),
        "paths that are not plain relative ones",
        FRAME,
    ),
    "repeated id": (
        "simswap",
        lambda rows: rows.append(row(rows, FRAME) | {"path": "elsewhere.png"}),
        "a sample_id stands more than once",
        FRAME,
    ),
    "label that is none": (
        "simswap",
        lambda rows: row(rows, FRAME).update(label="neither"),
        "label 'neither' is not 0 (real) or 1 (fake)",
        "simswap.csv",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_or_conflict_fails_its_gate_with_the_row_named(manifests, built, name):
    subset, change, gate, named = PLANTED[name]
    edit(manifests, subset, change)
    if name == "bytes of two labels":
        real = next(s for s in built.subsets["ffpp_real"].samples if s.sample_id == ORIGINAL)
        edit(manifests, subset, lambda rows: row(rows, STILL).update(sha256=real.sha256))
    found = gates(check_manifests(manifests))
    hits = [one for one in found if gate in one.what]
    assert hits, found
    assert any(named in text for one in hits for text in (one.subset, one.what, *one.rows))


def test_one_subset_is_checked_against_its_reals_alone(manifests):
    edit(manifests, "pixart", lambda rows: row(rows, OTHER).update(split="val"))
    edit(manifests, "fomm", lambda rows: rows[0].update(path="/absolute"))
    [finding] = gates(check_manifests(manifests, ["PixArt"]))
    assert finding.subset == "pixart" and "ff:071" in finding.rows[0]
    with pytest.raises(InputError, match=r"there is no .*mcnet\.csv"):
        check_manifests(manifests, ["mcnet"])


@pytest.mark.parametrize(
    ("subset", "words", "named"),
    [
        ("starganv2", "1 file empty", ["starganv2/real/547.jpg"]),
        ("pixart", "1 file corrupt", ["broken.png"]),
        ("simswap", "1 file duplicate", ["@df40_train"]),
        ("fomm", "1 folder with fewer frames than the median, 4", ["df40/fomm/ff/000_003 (1)"]),
        (
            "rddm",
            "2 empty folders",
            ["RDDM/cdf/Fake_from_Celeb-real/id1_0000", "df40_test/RDDM/ff/003"],
        ),
        ("whichfaceisreal", "in ffhq, file format alone tells real (jpeg) from fake (png)", []),
        ("pixart", "in ff, width x height alone tells real (32x32) from fake (48x48)", []),
        ("collabdiff", "its own reals are missing", []),
    ],
)
def test_warnings_name_what_deserves_a_look(said, subset, words, named):
    [warning] = [o for o in said if not o.gate and o.subset == subset and words in o.what]
    rows = sorted(warning.rows)
    assert len(rows) == len(named)
    assert all(name in row for name, row in zip(named, rows, strict=True))


@pytest.mark.parametrize("paths", [("/abs/a.png", "rel/b.png"), ("/a/x.png", "/b/y.png")])
def test_paths_of_any_form_are_findings_and_stop_nothing(tmp_path, paths):
    rows = [f"{n},{path},1,odd" for n, path in enumerate(paths)]
    (tmp_path / "odd.csv").write_text("\n".join(["sample_id,path,label,subset", *rows]))
    (found,) = gates(check_manifests(tmp_path))
    assert found.what == "paths that are not plain relative ones"


def test_a_pool_that_is_not_built_and_copies_in_another_subset_are_said(manifests, built):
    (manifests / "celebdf_v2_real.csv").unlink()
    twin = next(s for s in built.subsets["blendface"].samples if s.split == "test")
    edit(manifests, "simswap", lambda rows: row(rows, FRAME).update(sha256=twin.sha256))
    found = check_manifests(manifests)
    assert any(one.subset == "simswap" and "build celebdf_v2_real" in one.advice for one in found)
    [copy] = [one for one in found if "byte for byte" in one.what]
    assert copy.subset == "simswap" and FRAME in copy.rows[0] and "in blendface" in copy.rows[0]


def test_a_shortcut_is_said_in_the_same_words_wherever_images_are_listed(tmp_path):
    for kind, form in (("real", "jpeg"), ("fake", "png")):
        draw_faces(tmp_path / kind, 3, seed=0, size=32, format=form)
    real, fake = tmp_path / "real", tmp_path / "fake"
    (words,) = build_manifest("mine", [real], [fake]).notices()
    assert words.what == "file format alone tells real (jpeg) from fake (png)"
    for name, reals, fakes in (
        ("mine", [real], [fake]),
        ("pool", [real], []),
        ("swaps", [], [fake]),
    ):
        write_manifest(build_manifest(name, reals, fakes).manifest, tmp_path / f"m/{name}.csv")
    found = [one for one in check_manifests(tmp_path / "m") if not one.gate]
    said = {one.subset: Notice(one.what, *one.advice) for one in found}
    assert said == {"mine": words, "swaps": words}
    assert check_manifests(tmp_path / "m", ["swaps"]) == []  # no reals are named beside it


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """The roots of a tree of which a file is gone, one is empty and one is spoilt."""
    tree = make_tree(tmp_path_factory.mktemp("changed"))
    frames = tree.roots["df40_test"] / "simswap/ff/frames"
    (frames / "953_974/010.png").unlink()
    (frames / "012_026/000.png").write_bytes(b"")
    spoilt = frames / "012_026/010.png"
    spoilt.write_bytes(spoilt.read_bytes()[:60] + bytes(len(spoilt.read_bytes()) - 60))
    return tree.roots


@pytest.mark.parametrize(
    ("decode", "kinds"),
    [(False, ["empty", "missing"]), (True, ["empty", "missing", "not decodable"])],
)
def test_files_that_changed_since_are_seen(manifests, changed, decode, kinds):
    found = files_unlike(manifests, FileCheck(Roots(None, changed), decode=decode))
    assert sorted(found) == [f"1 file {kind}" for kind in kinds]
    assert FRAME in found["1 file missing"][0]


def test_where_roots_are_not_known_no_file_is_called_missing(manifests):
    assert files_unlike(manifests, FileCheck(Roots(None, {}))) == {}


@pytest.mark.parametrize("pool", ["by name of the manifest", "by the registry"])
def test_masks_are_compared_with_reals_of_another_manifest(tmp_path, pool):
    """Masks that are white where black is fake, as of a manifest that lost its column."""
    registered = pool == "by the registry"
    fakes, reals = ("lama", "dolos_real") if registered else ("cut", "plain")
    rows: dict[int, list[Sample]] = {0: [], 1: []}
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (2, 8, 8, 3), np.uint8)
        plain, other = (Image.fromarray(one).resize((64, 64)) for one in noise)
        mask = Image.new("L", (64, 64), 255)
        mask.paste(0, (8, 8, 30, 30))
        for kind, image in ((reals, plain), (fakes, Image.composite(plain, other, mask))):
            (tmp_path / kind).mkdir(exist_ok=True)
            image.save(tmp_path / kind / f"{number}.png")
        mask.save(tmp_path / f"{number}.png")
        pair = "" if registered else f"plain/{number}"
        rows[0].append(Sample(f"{reals}/{number}", f"{reals}/{number}.png", 0, reals))
        own = Sample(f"{fakes}/{number}", f"{fakes}/{number}.png", 1, fakes, pair_id=pair)
        rows[1].append(replace(own, mask_path=f"{number}.png"))
    for name, label in ((fakes, 1), (reals, 0)):
        write_manifest(Manifest(name, tuple(rows[label])), tmp_path / "m" / f"{name}.csv")
    look = FileCheck(Roots(tmp_path, {}), decode=True)
    (found,) = [one for one in check_manifests(tmp_path / "m", [fakes], look=look) if one.rows]
    assert found.what == "3 of 3 masks of fakes mark what did not change" and not found.gate
    assert found.rows[0] == f"{fakes}/0 0.png" and found.advice == (
        Set("mask_fake", "black", "turns them round"),
    )


@pytest.mark.parametrize("order", ["real first", "fake first"])
def test_a_fake_may_not_be_split_from_its_real_in_another_subset(tmp_path, order):
    names = ("a", "b", "z") if order == "real first" else ("m", "n", "a")
    first, _, fakes = names
    for name in names[:2]:
        split = "train" if name == first else "test"
        own = Sample("0001", f"{name}/1.png", 0, name, split=split)
        write_manifest(Manifest(name, (own,)), tmp_path / f"{name}.csv")
    # Two photographs have one name, each in its own subset: that alone says nothing.
    assert not [one for one in check_manifests(tmp_path) if "two splits" in one.what]
    fake = Sample("f", "f.png", 1, fakes, pair_id="0001", split="test")
    write_manifest(Manifest(fakes, (fake,)), tmp_path / f"{fakes}.csv")
    (found,) = [one for one in check_manifests(tmp_path) if "two splits" in one.what]
    assert found.gate and found.what.startswith("one pair in two splits")


@pytest.mark.parametrize("split", ["train", "test"])
def test_each_split_of_reals_of_one_name_is_held_against_a_fake(tmp_path, split):
    """The first real of the name may be of the fake's own split, and another one of another."""
    for name, own_split in (("a", "train"), ("b", "test")):
        own = Sample("0001", f"{name}/1.png", 0, name, split=own_split)
        write_manifest(Manifest(name, (own,)), tmp_path / f"{name}.csv")
    fake = Sample("f", "f.png", 1, "z", pair_id="0001", split=split)
    write_manifest(Manifest("z", (fake,)), tmp_path / "z.csv")
    (found,) = [one for one in check_manifests(tmp_path) if "two splits" in one.what]
    assert found.gate and found.what.startswith("one pair in two splits")
    # With its subset before it, the name is that of one of the two.
    named = replace(fake, pair_id="a/0001" if split == "train" else "b/0001")
    write_manifest(Manifest("z", (named,)), tmp_path / "z.csv")
    assert not [one for one in check_manifests(tmp_path) if "two splits" in one.what]


def files_unlike(manifests: Path, look: FileCheck) -> dict[str, tuple[str, ...]]:
    """Rows of simswap, by what is the matter with their files that the manifest does not know."""
    found = check_manifests(manifests, ["simswap"], look=look)
    unknown = [one for one in found if "the manifest does not know" in one.what]
    return {one.what.split(",")[0]: one.rows for one in unknown}
