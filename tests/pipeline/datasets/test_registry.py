from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clare.errors import InputError
from clare.pipeline.datasets.build import build_dataset
from clare.pipeline.datasets.layouts import Placer
from clare.pipeline.datasets.registry import load_registry


@pytest.fixture(scope="module")
def registry():
    return load_registry()


def test_the_forty_methods_are_there_by_kind_and_release(registry):
    df40 = [subset for subset in registry.subsets.values() if subset.dataset == "df40"]
    assert Counter(one.category for one in df40) == {"FS": 10, "FR": 13, "EFS": 12, "FE": 5}
    assert sum("train" in one.release for one in df40) == 31
    alone = {one.id for one in df40 if one.own_reals}
    assert alone == {"deepfacelab", "heygen", "midjourney", "whichfaceisreal"} | {
        "collabdiff", "stargan", "starganv2", "styleclip",
    }  # fmt: skip
    assert registry.subset("e4e").reals == {"ff": "ffpp_real", "cdf": "celebdf_v2_real"}


def test_the_official_lists_are_720_140_140_in_pairs(registry):
    ff = registry.domains["ff"]
    assert Counter(ff.listed.values()) == {"train": 720, "val": 140, "test": 140}
    assert set(ff.listed) == {f"{n:03d}" for n in range(1000)}
    assert ff.official_split("953_974") == "test" and ff.official_split("071_953") == ""
    cdf = registry.domains["cdf"]
    assert len(cdf.test_videos) == 518
    assert cdf.official_split("00170") == "test" and cdf.official_split("00000") == "train"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("PixArt", "pixart"),
        ("SD2.1", "sd21"),
        ("mraa", "mraa"),
        ("DaGAN", "danet"),
        ("WhichIsReal", "whichfaceisreal"),
        ("ff-df", "ffpp_deepfakes"),
        ("STARGAN2", "starganv2"),
    ],
)
def test_a_subset_is_found_by_any_of_its_names(registry, name, found):
    assert registry.subset(name).id == found


def test_a_misspelt_name_is_answered_with_those_alike(registry):
    with pytest.raises(InputError, match="'pixrat' is registered; is it pixart"):
        registry.subset("pixrat")


@pytest.mark.parametrize(
    ("root", "path", "found"),
    [
        ("df40_test", "simswap/cdf/frames/id0_id16_0003", ("simswap", "cdf", 1, "id0_id16_0003")),
        ("df40_test", "a/b/BlendFace/FF/frames/953_974", ("blendface", "ff", 1, "953_974")),
        ("df40_test", "SiT/cdf/Fake_from_Celeb-real/id1_0000", ("sit", "cdf", 1, "id1_0000")),
        ("df40_test", "sd2.1/cdf/YouTube-real/00170", ("sd21", "cdf", 1, "00170")),
        ("df40_test", "e4e/e4e/cdf/Celeb-real/inversions", ("e4e", "cdf", 1, "")),
        ("df40_test", "e4e/ff/003", ("e4e", "ff", 1, "003")),
        ("df40_test", "stargan/real/real", ("stargan", "celeba", 0, "")),
        ("df40_test", "whichisreal/fake", ("whichfaceisreal", "ffhq", 1, "")),
        ("df40_test", "heygen/heygen_new/real/v", ("heygen", "vfhq", 0, "v")),
        ("df40_train", "facedancer/frames/993_989", ("facedancer", "ff", 1, "993_989")),
        ("df40_train", "pixart/000", ("pixart", "ff", 1, "000")),
        ("df40_train", "frames/000_003", ("uniface", "ff", 1, "000_003")),
        ("ffpp", "original_sequences/youtube/c23/frames/000", ("ffpp_real", "ff", 0, "000")),
        ("cdf2", "Celeb-real/id0_0000", ("celebdf_v2_real", "cdf", 0, "id0_0000")),
    ],
)
def test_a_folder_is_placed_by_position(registry, root, path, found):
    place = Placer(registry, root).place(path)
    assert place is not None
    assert (place.subset.id, place.layout.domain, place.label, place.video) == found


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("df40_test", "stargan/fake/real"),
        ("df40_test", "simswap/frames/000_003"),
        ("df40_test", "pixart/ff/odd"),
        ("df40_test", "deepfacelab/fake/frames"),
        ("df40_train", "frames"),
        ("df40_test", "unknown/ff/frames/000_003"),
    ],
)
def test_what_fits_no_layout_has_no_place(registry, root, path):
    assert Placer(registry, root).place(path) is None


@given(
    st.sampled_from(["simswap/ff/frames/953_974", "sd2.1/cdf/YouTube-real/00170", "e4e/ff/003"]),
    st.lists(st.sampled_from(["DF40", "unzipped", "e", "new folder", "frames"]), max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_wrappers_doubled_folders_and_case_change_nothing(path, wrappers, doubled, upper):
    placer = Placer(load_registry(), "df40_test")
    method, rest = path.split("/", 1)
    wrapped = "/".join([*wrappers, method, *([method] if doubled else []), rest])
    found, plain = placer.place(wrapped.upper() if upper else wrapped), placer.place(path)
    assert found is not None and plain is not None
    assert (found.subset, found.layout, found.label, found.bucket) == (
        plain.subset,
        plain.layout,
        plain.label,
        plain.bucket,
    )
    assert found.video.casefold() == plain.video.casefold()
    owner = placer.owner(wrapped)
    assert owner is not None and owner.id == plain.subset.id


OWN = """
datasets:
  mine: {display: Mine, roots: {mine: somewhere}}
domains:
  here: {split: identity, identity: 'p[0-9]+'}
subsets:
  blend:
    dataset: mine
    category: FS
    video_level: true
    reals: own
    layouts: [{root: mine, path: '{label}/{video}', domain: here}]
"""


def test_a_dataset_is_added_by_entries_alone(tmp_path, registry):
    (tmp_path / "subsets.yaml").write_text(OWN)
    own = load_registry(tmp_path)
    assert own.subset("blend").own_reals and own.dataset("mine").roots == {"mine": "somewhere"}
    assert set(registry.subsets) < set(own.subsets)


@pytest.mark.parametrize("text", ["2024", "2024-03-05", "2023-11/2024-02"])
def test_an_entry_says_when_its_fakes_were_made(tmp_path, text):
    made = OWN.replace("category: FS", f"category: FS\n    created: {text}")
    (tmp_path / "subsets.yaml").write_text(made)
    for video in ("mine/blend/fake/p1", "mine/blend/real/p1"):
        (tmp_path / video).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / video / "0.png")
    built = build_dataset(load_registry(tmp_path), "mine", {"mine": tmp_path / "mine"})
    found = {sample.label: sample.created for sample in built.subsets["blend"].samples}
    assert found == {1: text, 0: ""}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("category: FS", "category: XX"), "category can't be 'XX': it is one of FS"),
        (("video_level: true", "video_levle: true"), "video_levle is not known"),
        (("video_level: true", "video_level: true\n    colour: red"), "colour is not known"),
        (("domain: here", "domain: there"), "domain of a layout 'there' is not one of"),
        (("root: mine", "root: yours"), "root of a layout 'yours' is not one of mine"),
        (("{label}/{video}", "{vid}"), "{vid} is not one of the placeholders"),
        (("{label}/{video}", "{video}"), "stands either in label or"),
        (("{label}/{video}", "{label}/("), "is not a regular expression"),
        (("blend:", "pixart2:\n    aliases: [pixart]"), "name 'pixart' belongs to pixart"),
        (("split: identity,", "split: listed,"), "identities names no list"),
        (("datasets:", "dataset:"), "dataset is not known"),
        (("dataset: mine", "dataset: [mine]"), "dataset can't be ['mine']"),
        (("  mine: {", "  ../mine: {"), "'../mine' is no name"),
        (("roots: {mine:", "roots: {mine: a, ../mine:"), "'../mine' is no name"),
        (("category: FS", "category: FS\n    created: soon"), "created: 'soon' is no date"),
        (("  here: {", "  /here: {"), "'/here' is no name"),
        (("  blend:", "  ../blend:"), "'../blend' is no name"),
        ((OWN, "- a"), "is not a mapping"),
        ((OWN, "a: ["), "can't be read as a registry"),
    ],
)
def test_a_slip_in_an_entry_is_named(tmp_path, change, said):
    (tmp_path / "subsets.yaml").write_text(OWN.replace(*change))
    with pytest.raises(InputError, match=r"subsets\.yaml") as error:
        load_registry(tmp_path)
    assert said in str(error.value)
