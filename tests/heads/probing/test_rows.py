"""The rows of probes: which they are, what is refused, and videos that are kept together."""

from typing import Any

import numpy as np
import pytest

import clare
from clare.errors import InputError, StoreError
from clare.heads.probing.rows import exchange
from clare.heads.probing.said import is_sure
from clare.store.feature_store import create_store
from tests.heads.probing.probed_store import (
    CLIP,
    LARE,
    QUICK,
    create_probed,
    fill,
    make_rows,
    store_of,
)

FRAMES, VIDEOS = 10, 60


def film(seed):
    """Frames of videos: ``a`` tells fakes frame by frame, ``b`` is noise that a video shares."""
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(VIDEOS), FRAMES)
    signs = 2 * (video % 2) - 1
    a = rng.normal(size=(len(video), 3))
    a[:, 0] += 0.8 * signs
    b = rng.normal(size=(VIDEOS, 4))[video] + 0.1 * rng.normal(size=(len(video), 4))
    splits = np.array(["train", "train", "val", "test", "test", "test"])[video // 2 % 6]
    vectors = {name: one.astype(np.float32) for name, one in (("a", a), ("b", b))}
    return vectors, signs, splits, [f"v{number}" for number in video]


def test_rows_that_lack_a_field_are_told(tmp_path):
    store = create_probed(tmp_path / "features.zarr", 80, 40)
    extra = make_rows("swap", 80, ("test",))[40:]
    fill(store, extra, [CLIP])
    quick: dict[str, Any] = {"inputs": ["clip_cls", "lare:mean"], "kinds": ["centroid"], "ask": []}
    found = clare.probe(store, tmp_path / "out", test=["swap"], **quick, **QUICK)
    assert found.tests["swap"] == 40
    assert any("40 of 80 of swap (test)" in told for told in found.notices)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"inputs": ["clip_clas"]}, "no input 'clip_clas' for a probe: there are clip_cls"),
        ({"inputs": ["clip_tokens_9"]}, "no input 'clip_tokens_9'"),
        ({"ask": ["is lare good?"]}, "no question that probes answer"),
        ({"ask": ["does clip_cls add to clip_cls?"]}, "asks what adds"),
        ({"strengths": [0]}, "a strength of regularisation is above 0"),
        ({"fractions": [2]}, "a share of the rows is above 0 and at most 1"),
        (
            {"norms": ["whiten"], "fractions": [0.01]},
            "clip_.* can't be probed with whiten: 4 train",
        ),
        ({"inputs": ["clip_cls+"]}, "no sum of different inputs"),
        ({"inputs": ["clip_cls+clip_cls"]}, "no sum of different inputs"),
        ({"inputs": ["lare:mean@100+lare:mean@300+lare:mean"]}, "no sum of different inputs"),
        ({"kinds": []}, "there are no kinds"),
        ({"kinds": ["svm"]}, "there is no probe 'svm'"),
        ({"train": ["swap"]}, "no complete training rows"),
    ],
)
def test_what_cannot_be_probed_is_said_in_a_sentence(probed, tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        clare.probe(probed, tmp_path / "out", **{**QUICK, "test": ["gan"], **settings})
    assert not (tmp_path / "out").exists()


def test_a_fingerprint_that_is_not_there_and_a_folder_of_something_else(probed, tmp_path):
    with pytest.raises(StoreError, match="nobody"):
        clare.probe(probed, tmp_path / "out", train=["gan"], reals=["nobody"])
    with pytest.raises(StoreError, match="no fingerprint ffff has values of gan"):
        clare.probe(probed, tmp_path / "out", test=["gan"], features=["ffff"], **QUICK)
    store = create_store(tmp_path / "features.zarr")
    fill(store, make_rows("gan", 40))
    fill(store, make_rows("swap", 40, ("test",)), (CLIP,))
    with pytest.raises(StoreError, match=f"no fingerprint {LARE.digest} has values of swap$"):
        clare.probe(store, tmp_path / "out", test=["swap"], features=[LARE.digest], **QUICK)
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="holds something else"):
        clare.probe(probed, tmp_path, test=["gan"], **QUICK)


def test_rows_that_training_saw_are_no_test(tmp_path):
    store = create_probed(tmp_path / "features.zarr", 80, 40)
    leaked = make_rows("gan", 80)[0]
    copy = type(leaked)(
        sample_id="copy",
        view=0,
        content=leaked.content,
        columns={**leaked.columns, "subset": "copies", "split": "test", "label": 1},
    )
    other = make_rows("copies", 2, ("test",))
    fill(store, [copy, *other])
    with pytest.raises(InputError, match="1 of the 3 test rows of copies share"):
        clare.probe(store, tmp_path / "out", test=["copies"], **QUICK)


def test_frames_of_a_video_count_as_one_in_intervals(tmp_path):
    vectors, signs, splits, videos = film(1)
    widths = []
    for name, told in (("videos", videos), ("images", None)):
        store = store_of(tmp_path / f"{name}.zarr", vectors, signs, splits, told)
        quick: dict[str, Any] = {"inputs": ["b"], "norms": ["standard"], "kinds": ["ridge"]}
        found = clare.probe(
            store, tmp_path / name, train=["drawn"], test=["drawn"], ask=[], **quick
        )
        (probe,) = found.best().values()
        mean: Any = probe.mean
        widths.append(mean.high - mean.low)
    # Ten frames that are alike are one: the root of ten as wide.
    assert widths[0] / widths[1] == pytest.approx(10**0.5, rel=0.3)


def test_shuffled_rows_are_those_of_whole_other_videos():
    rng = np.random.default_rng(0)
    clusters = np.array([*"aaaabbbbccdddddde", "f"])
    labels = np.arange(len(clusters)) % 2
    same = 0
    for _ in range(200):
        others = exchange(clusters, rng)
        for name in "abcdef":
            givers = {*clusters[others[clusters == name]]}
            assert len(givers) == 1 and name not in givers
        same += (labels[others] == labels)[clusters == "a"].mean()
    assert same / 200 == pytest.approx(0.5, abs=0.05), "labels don't stay with their places"
    alone = exchange(np.array(["a"] * 5), rng)
    assert sorted(alone) == [0, 1, 2, 3, 4] and (alone != np.arange(5)).all()


def test_noise_that_videos_share_is_not_said_to_add_or_cost(tmp_path):
    for seed in range(3):
        store = store_of(tmp_path / f"{seed}.zarr", *film(seed))
        quick: dict[str, Any] = {"norms": ["standard"], "kinds": ["ridge"], "ask": ["b adds to a"]}
        found = clare.probe(
            store, tmp_path / f"{seed}", train=["drawn"], test=["drawn"], resamples=200, **quick
        )
        assert not is_sure(found.answers[0].mean)
