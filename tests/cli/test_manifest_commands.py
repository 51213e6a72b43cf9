"""`clare manifest build --dataset`, `status` and `check`, as a user meets them."""

import json

import pytest
from PIL import Image

from tests.pipeline.df40_tree import make_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("df40"))


def test_a_release_goes_from_disk_to_checked_manifests(clare, tree, tmp_path):
    code, out, _ = clare("manifest", "build", "--dataset", "df40", *tree.options)
    assert code == 0
    assert "6 files matched nothing; all in data_manifests/df40.unmatched.txt" in out
    assert "29 manifests, 316 rows" in out
    assert len(out.splitlines()) < 12 and "collabdiff: no reals" not in out
    assert "e4e: fakes of ff train but none validate" in out, "which asks for a decision"

    code, out, _ = clare("manifest", "build", "--dataset", "df40", *tree.options, "--list")
    assert "df40_test: stargan/fake/real: 1 file, no layout fits" in out
    assert "collabdiff: no reals" in out and "starganv2" in out

    code, out, _ = clare("manifest", "status")
    assert "13 ok: simswap, blendface" in out and "36 absent: fsgan" in out
    assert len(out.splitlines()) < 8 and "mcnet" not in out
    assert "mcnet" in clare("manifest", "status", "--list")[1]

    code, out, _ = clare("manifest", "status", "--json")
    state = {one["id"]: one["state"] for one in json.loads(out)}
    assert code == 0 and state["simswap"] == "ok"
    assert state["collabdiff"] == "partial" and state["mcnet"] == "absent"

    code, out, _ = clare("manifest", "check")
    assert code == 0 and "0 gates failed" in out and "starganv2/real/547.jpg" in out

    path = tmp_path / "data_manifests" / "e4s.csv"
    text = path.read_text().replace(",ff,,test,e4s:ff:071_953", ",ff,test,test,e4s:ff:071_953")
    path.write_text(text)
    code, out, _ = clare("manifest", "check", "E4S")
    assert code == 1 and "FAILED" in out and "df40/e4s/ff/071_953/000" in out
    code, out, _ = clare("manifest", "check", "e4s", "--json")
    assert code == 1 and [one["subset"] for one in json.loads(out) if one["gate"]]


def test_extraction_needs_a_root_and_nothing_else(clare, tree):
    command = ("extract", "--subset", "PixArt,ffpp_real", "--features", "pixels", "--store", "f")
    code, out, _ = clare(*command, *tree.options, "--max-failures", "10%")
    assert code == 0 and "51 rows" in out
    code, out, _ = clare("store", "info", "f", "--json")
    assert set(json.loads(out)["subsets"]) == {"pixart", "ffpp_real"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dataset", "df41"), "no dataset 'df41'"),
        (("--dataset", "df40"), "df40_test=DIR"),
        (("--dataset", "df40", "--root", "DF40"), "'DF40' names no root of df40"),
        (("--dataset", "df40", "--root", "ffpp=nowhere"), "nowhere is not a folder"),
        (("--dataset", "df40", "--split", "ff"), "--split"),
        (("--dataset", "df40", "--subset", "pixrat"), "is it pixart"),
        (("--dataset", "df40", "--out", "x.csv"), "--out"),
    ],
)
def test_a_mistake_in_a_build_is_one_sentence(clare, options, said):
    code, _, err = clare("manifest", "build", *options)
    assert code == 1
    assert said in err and len(err.strip().splitlines()) == 1


def test_a_plain_table_becomes_a_manifest(clare, tmp_path):
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / kind / "0.png")
    (tmp_path / "mine.csv").write_text(",image,label,clip\n0,a/0.png,nature,v\n1,b/0.png,AI,w\n")
    code, out, _ = clare("manifest", "import-csv", "mine.csv")
    assert code == 0 and "video 'clip'" in out and (tmp_path / "data_manifests/mine.csv").is_file()
    code, _, err = clare("manifest", "import-csv", "mine.csv")
    assert code == 1 and "--subset" in err and "--out" in err
    code, _, err = clare("manifest", "import-csv", "mine.csv", "--video", "film", "--subset", "two")
    assert code == 1 and "no column 'film'" in err and "--video" in err


def test_masks_come_by_folder_and_a_wrong_option_for_them_is_said(clare, pictures, tmp_path):
    for file in (pictures / "fake").iterdir():
        mask = Image.new("L", (96, 96), 255)
        mask.paste(0, (30, 30, 60, 60))
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask.save(tmp_path / "masks" / f"{file.stem}.png")
    folders = ("--real", pictures / "real", "--fake", pictures / "fake")
    build = ("manifest", "build", "--subset", "cut", *folders, "--masks", tmp_path / "masks")
    code, out, _ = clare(*build)
    assert code == 0 and "40 of 40 masks of fakes mark more than half of their image" in out
    assert "--mask-fake black turns them round" in " ".join(out.split())
    code, out, _ = clare(*build, "--mask-fake", "black")
    assert code == 0 and "masks of fakes" not in out
    text = (tmp_path / "data_manifests/cut.csv").read_text()
    assert text.count(".png,black,") == 40 and "mask_fake" in text.splitlines()[0]

    extract = ("extract", *folders, "--features", "mask", "--masks", tmp_path / "masks")
    code, _, err = clare(*extract, "--mask-fake", "black", "--store", "f")
    assert code == 0 and "no mask" not in err
    for wrong, said in (
        (("--mask-fake", "black"), "name their folder with --masks, or leave --mask-fake out"),
        (("--masks", pictures / "real"), "name a folder that holds masks alone with --masks"),
    ):
        code, _, err = clare("extract", *folders, "--features", "mask", *wrong)
        assert code == 1 and said in err
    code, _, err = clare("manifest", "build", "--dataset", "df40", "--masks", tmp_path)
    assert code == 1 and "leave --masks out" in err
