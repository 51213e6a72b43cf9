"""Probes of a store whose features hold known parts of the truth."""

import csv
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

import clare
from clare.errors import InputError, StoreError
from clare.heads.data.dataset import FeatureDataset
from clare.heads.evaluation.field_rows import FieldRows
from clare.heads.linear.solvers import STRENGTHS
from clare.heads.probing.record import read_record
from clare.heads.probing.rows import exchange
from clare.heads.probing.said import is_sure
from clare.store.feature_store import create_store
from clare.store.spec import Fingerprint
from tests.heads.probing.probed_store import CLIP, LARE, create_probed, fill, make_rows, store_of

QUICK: dict[str, Any] = {"train": ["gan"], "resamples": 400}


def ends(figure):
    return figure.low, figure.high


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    return create_probed(tmp_path_factory.mktemp("probed") / "features.zarr")


@pytest.fixture(scope="module")
def found(probed, tmp_path_factory):
    return clare.probe(probed, tmp_path_factory.mktemp("probes"), test=["gan", "swap"], **QUICK)


def test_every_field_is_probed_in_every_pooling(found):
    tokens = {
        f"clip_tokens_{layer}:{pooling}"
        for layer in (2, 4, 6)
        for pooling in ("mean", "max", "top", "by-lare")
    }
    # Two fingerprints of LaRE would not say which of them weighs; one does, and masks are none.
    lare = {f"lare:{pooling}@{step}" for pooling in ("mean", "grid") for step in (100, 300)}
    assert {*found.shown} == {"clip_cls", *tokens, *lare}
    assert found.layers["clip_tokens_4:max"] == 4
    assert found.counts == {"train": 320, "val": 160, "test": 720}
    assert found.tests == {"gan": 320, "swap": 400}


def test_what_tells_fakes_is_found_and_what_does_not_is_at_chance(found):
    best = found.best()
    assert best["clip_cls"].mean.value > 0.75
    assert best["clip_tokens_4:mean"].mean.value > 0.9
    assert best["lare:mean@300"].mean.value > 0.6
    for name in ("clip_tokens_2:mean", "clip_tokens_6:max"):
        assert best[name].mean.low < 0.55


def test_a_probe_is_a_plain_ridge_on_the_same_rows(probed, tmp_path):
    found = clare.probe(
        probed,
        tmp_path / "one",
        inputs=["clip_cls"],
        norms=["standard"],
        kinds=["ridge"],
        test=["swap"],
        **QUICK,
    )
    rows = {}
    for split in ("train", "val", "test"):
        subsets = ["gan"] if split != "test" else ["swap"]
        data = FeatureDataset(probed, ["clip_cls"], subsets=subsets, split=split)
        rows[split] = data.read(range(len(data)))["clip_cls"].numpy().astype(float), data.labels
    x, labels = rows["train"]
    mean, deviation = x.mean(0), x.std(0)
    plain = []
    for strength in STRENGTHS:
        one = Ridge(alpha=strength * len(x)).fit((x - mean) / deviation, 2 * labels - 1)
        aucs = [
            roc_auc_score(y, one.predict((values - mean) / deviation))
            for values, y in (rows["val"], rows["test"])
        ]
        plain.append(aucs)
    (probe,) = found.probes
    assert [*probe.path.values()] == pytest.approx([val for val, _ in plain])
    chosen = STRENGTHS.index(probe.strength)
    assert plain[chosen][0] == pytest.approx(max(val for val, _ in plain))
    assert probe.tests["swap"].value == pytest.approx(plain[chosen][1])


def test_a_planted_gain_is_found_and_its_shuffled_control_is_not(probed, tmp_path):
    found = clare.probe(
        probed,
        tmp_path / "asked",
        inputs=["clip_cls"],
        ask=["does lare:mean@300 add to clip_cls?", "clip_tokens_2:mean adds to clip_cls"],
        test=["gan", "swap"],
        **QUICK,
    )
    adds, idle = found.answers
    assert (adds.base, adds.added) == ("clip_cls", "lare:mean@300")
    assert is_sure(adds.mean)
    gain, control, nothing = (ends(one) for one in (adds.mean.auc, adds.shuffled, idle.mean.auc))
    assert gain[0] > 0.01
    assert gain[0] > control[1]
    assert not is_sure(idle.mean)
    assert nothing[0] < 0.01


def test_noise_adds_nothing_and_is_not_said_to_cost(probed, found, tmp_path):
    answers = {one.added.partition(":")[0]: one for one in found.answers}
    for name in ("clip_tokens_2", "clip_tokens_6"):
        assert not is_sure(answers[name].mean)
        assert abs(answers[name].mean.auc.value) < 0.03


def test_a_question_gives_both_sides_the_same_normalisations(probed, tmp_path):
    """Seven rows a class can whiten six channels, and not ten."""
    found = clare.probe(
        probed,
        tmp_path / "few",
        inputs=["clip_cls"],
        fractions=[0.022],
        ask=["does lare:mean@300 add to clip_cls?"],
        test=["swap"],
        **QUICK,
    )
    assert {one.norm for one in found.probes} == {"none", "l2", "standard", "whiten"}
    assert {one.rows for one in found.probes} == {8}
    (one,) = found.answers
    assert "whiten" not in one.alone + one.together
    assert any("whiten is left out for clip_cls+lare:mean@300" in told for told in found.notices)


def test_questions_of_a_share_are_asked_of_one_seed(probed, tmp_path):
    found = clare.probe(
        probed,
        tmp_path / "seeds",
        inputs=["clip_cls"],
        norms=["standard"],
        kinds=["centroid"],
        fractions=[0.25],
        seeds=[3, 0],
        ask=["does lare:mean@300 add to clip_cls?"],
        test=["swap"],
        **QUICK,
    )
    alone = clare.probe(
        probed,
        tmp_path / "one",
        inputs=["clip_cls"],
        norms=["standard"],
        kinds=["centroid"],
        fractions=[0.25],
        seeds=[3],
        ask=["does lare:mean@300 add to clip_cls?"],
        test=["swap"],
        **QUICK,
    )
    assert found.answers == alone.answers


def test_tokens_weighed_by_lare_and_sums_are_what_they_say(probed, tmp_path):
    """Against a plain reading of the same rows, part for part."""
    found = clare.probe(
        probed,
        tmp_path / "sum",
        inputs=["clip_tokens_4:by-lare+clip_cls"],
        norms=["standard"],
        kinds=["centroid"],
        features=[CLIP.digest, LARE.digest],
        test=["swap"],
        **QUICK,
    )
    vectors, labels = {}, {}
    for split, subset in (("train", "gan"), ("test", "swap")):
        data = FeatureDataset(
            probed, ["clip_cls", "clip_tokens_4", "lare"], subsets=[subset], split=split
        )
        batch = data.read(range(len(data)))
        error = batch["lare"][:, 0].mean(1)  # the first step, its draws averaged
        cells = error.reshape(-1, 4, 4, 2, 4, 2).mean((1, 3, 5)).flatten(1)
        weights = cells / cells.sum(1, keepdim=True)
        pooled = (batch["clip_tokens_4"] * weights[..., None]).sum(1)
        vectors[split] = [pooled.numpy().astype(float), batch["clip_cls"].numpy().astype(float)]
        labels[split] = data.labels
    scaled = []
    for split in ("train", "test"):
        parts = []
        for part, train in zip(vectors[split], vectors["train"], strict=True):
            parts.append((part - train.mean(0)) / train.std(0) / np.sqrt(train.shape[1]))
        scaled.append(np.concatenate(parts, 1))
    means = [scaled[0][labels["train"] == label].mean(0) for label in (0, 1)]
    scores = [((scaled[1] - mean) ** 2).sum(1) for mean in means]
    auc = roc_auc_score(labels["test"], scores[0] - scores[1])
    assert found.probes[0].tests["swap"].value == pytest.approx(auc)


def test_a_sum_with_a_field_is_one_with_each_of_its_poolings_that_is_not_there_yet(
    probed, tmp_path
):
    asked = {**QUICK, "test": ["gan"], "norms": ["none"], "kinds": ["centroid"], "ask": []}
    found = clare.probe(probed, tmp_path / "out", inputs=["lare:mean@100+lare:mean"], **asked)
    assert found.shown == ("lare:mean@100+lare:mean@300",)


def test_rows_that_lack_a_field_are_told(tmp_path):
    store = create_probed(tmp_path / "features.zarr")
    extra = make_rows("swap", 440, ("test",))[400:]
    fill(store, extra, [CLIP])
    found = clare.probe(store, tmp_path / "out", test=["swap"], kinds=["centroid"], **QUICK)
    assert found.tests["swap"] == 400
    assert any("40 of 440 of swap (test)" in told for told in found.notices)


def test_strengths_may_come_in_any_order(probed, tmp_path):
    chosen = []
    for number, strengths in enumerate(([10, 1, 0.1], [0.1, 1, 10, 10])):
        found = clare.probe(
            probed,
            tmp_path / str(number),
            inputs=["clip_cls"],
            kinds=["ridge"],
            strengths=strengths,
            test=["swap"],
            **QUICK,
        )
        chosen.append([one.strength for one in found.probes])
        assert found.fitted == 4 * 3
    assert chosen[0] == chosen[1]


def test_every_field_is_read_once(probed, tmp_path, monkeypatch):
    read = Counter[str]()
    plain = FieldRows.read

    def counting(self, places):
        read[str(self.keys) + str(self.shape)] += len(places)
        return plain(self, places)

    monkeypatch.setattr(FieldRows, "read", counting)
    found = clare.probe(probed, tmp_path / "out", test=["swap"], kinds=["centroid"], **QUICK)
    rows = sum(found.counts.values())
    # Three layers of tokens share a fingerprint and a shape; what ranks them is found first.
    assert sorted(read.values()) == [rows, rows, 3 * (rows + found.counts["train"])]


def test_by_default_every_other_field_is_asked_whether_it_adds_to_the_best(found):
    assert {one.base.partition(":")[0] for one in found.answers} == {"clip_tokens_4"}
    fields = {one.added.partition(":")[0] for one in found.answers}
    assert fields == {"clip_cls", "clip_tokens_2", "clip_tokens_6", "lare"}


def test_smaller_shares_are_fitted_once_a_seed(probed, tmp_path):
    found = clare.probe(
        probed,
        tmp_path / "shares",
        inputs=["clip_cls"],
        norms=["none"],
        kinds=["centroid"],
        fractions=[0.25, 1],
        seeds=[0, 1, 2],
        test=["swap"],
        **QUICK,
    )
    shares = [(one.fraction, one.seed) for one in found.probes]
    assert shares == [(0.25, 0), (0.25, 1), (0.25, 2), (1, 0)]
    assert {one.rows for one in found.probes} == {80, 320}
    assert len({one.tests["swap"].value for one in found.probes}) == 4


def test_what_is_written_is_what_is_returned(found, probed, tmp_path):
    again = clare.probe(probed, tmp_path / "again", test=["gan", "swap"], **QUICK)
    read = read_record(tmp_path / "again")
    assert read.probes == again.probes == found.probes
    with (tmp_path / "again" / "probes.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(found.probes) + len(found.untrained)
    assert float(lines[0]["swap_auc"]) == found.probes[0].tests["swap"].value
    assert [one.name for one in (tmp_path / "again").iterdir()] != []
    assert not list(tmp_path.glob("**/*.npy"))


def test_two_towers_stand_side_by_side_by_their_fingerprints(tmp_path):
    store = create_probed(tmp_path / "features.zarr")
    second = Fingerprint("clip", 1, "cc", {"model": "second"})
    fill(store, make_rows("gan", 800), [second], "other")
    for tower, model in ((CLIP, "ViT-L-14"), (second, "PE-Core-L-14-336")):
        origin = json.dumps({"model": model, "weights": "own"}).encode()
        store.write_assets(tower.key, {"origin.json": origin})
    found = clare.probe(store, tmp_path / "out", test=["gan"], kinds=["centroid"], **QUICK)
    own = [name for name in found.shown if name.startswith("clip_cls#")]
    assert len(own) == 2
    meaning = found.meaning[f"clip_cls#{second.digest[:8]}"]
    assert meaning == "PE-Core-L-14-336:own, model second", "names tell more than digests"
    narrow = clare.probe(
        store,
        tmp_path / "narrow",
        test=["gan"],
        kinds=["centroid"],
        features=[second.digest[:6]],
        **QUICK,
    )
    assert "clip_cls" in narrow.shown
    assert not any(name.startswith("lare") for name in narrow.shown)


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
    store = create_probed(tmp_path / "features.zarr")
    leaked = make_rows("gan", 800)[0]
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


def test_the_page_shows_inputs_layers_answers_and_likeness(probed, found, tmp_path):
    clare.probe(probed, tmp_path / "probes", test=["gan", "swap"], **QUICK)
    page = clare.report([tmp_path / "probes"], tmp_path / "page.html")
    titles = [section.title for section in page.sections]
    assert titles[:3] == ["Inputs", "Over the layers", "Does it add?"]
    assert "Validation likes clip_tokens_4:" in page.answer[0]
    clear = {said.partition(" ")[0] for said in page.answer[1:] if "it adds 0." in said}
    assert clear == {"lare:mean@300", "clip_cls"}
    assert np.allclose(np.diag(found.alike), 1)


def test_top_tokens_are_those_along_what_parts_the_training_classes(probed, tmp_path):
    """Against a plain reading of the same rows."""
    found = clare.probe(
        probed,
        tmp_path / "top",
        inputs=["clip_tokens_4:top"],
        norms=["none"],
        kinds=["centroid"],
        fractions=[0.25, 1],
        test=["swap"],
        **QUICK,
    )
    tokens, labels = {}, {}
    for split, subset in (("train", "gan"), ("test", "swap")):
        data = FeatureDataset(probed, ["clip_tokens_4"], subsets=[subset], split=split)
        tokens[split] = data.read(range(len(data)))["clip_tokens_4"].numpy().astype(float)
        labels[split] = data.labels
    means = tokens["train"].mean(1)
    real, fake = (means[labels["train"] == label].mean(0) for label in (0, 1))
    pooled = {}
    for split, values in tokens.items():
        best = np.argsort(-(values @ (fake - real)), 1)[:, :2]  # an eighth of 16
        pooled[split] = np.take_along_axis(values, best[..., None], 1).mean(1)
    real, fake = (pooled["train"][labels["train"] == label].mean(0) for label in (0, 1))
    auc = roc_auc_score(labels["test"], pooled["test"] @ (fake - real))
    (probe,) = found.probes  # of the largest share alone: its labels gave the direction
    assert probe.fraction == 1
    assert probe.tests["swap"].value == pytest.approx(auc)


@pytest.mark.parametrize("name", ["clip_cls", "clip_tokens_4:max", "lare:grid@300"])
def test_a_probe_becomes_a_run_with_the_same_figures(found, probed, tmp_path, name):
    check_run(found, found.best()[name], probed, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("clip_tokens_2:max+clip_tokens_4:top+lare:mean@100+lare:mean@300", "standard"),
        ("clip_cls+lare:grid@300", "l2"),
        ("clip_tokens_4:by-lare", "whiten"),
    ],
)
def test_so_do_sums_ranked_tokens_and_weighed_ones(probed, tmp_path, name, norm):
    found = clare.probe(
        probed,
        tmp_path / "sums",
        inputs=[name],
        norms=[norm],
        kinds=["ridge"],
        test=["gan", "swap"],
        ask=[],
        train=["gan"],
        resamples=0,
    )
    check_run(found, found.probes[0], probed, tmp_path / "run")


def test_a_sum_of_more_fields_than_a_head_takes_has_no_run(probed, tmp_path):
    found = clare.probe(
        probed,
        tmp_path / "wide",
        inputs=["clip_tokens_2:max+clip_tokens_4:max+clip_tokens_6:max"],
        norms=["none"],
        kinds=["centroid"],
        test=["swap"],
        ask=[],
        **QUICK,
    )
    assert found.head_of(found.probes[0]) is None


def check_run(found, probe, probed, folder):
    run = clare.train_head(probed, folder, **found.head_of(probe))
    assert run.validation.metrics["auc"].value == pytest.approx(probe.val_auc, abs=1e-3)
    tested = clare.evaluate(run.path, probed, ["gan", "swap"], resamples=0)
    for subset, auc in tested.record.aucs.items():
        assert auc == pytest.approx(probe.tests[subset].value, abs=1e-3)


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
        widths.append(np.diff(ends(probe.mean)).item())
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
