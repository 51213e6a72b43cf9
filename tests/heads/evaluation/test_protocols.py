"""Protocols: what trains, what is tested beside what, which frames, and DF40's own way."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from clare.advice import LeaveOut
from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig, create_config
from clare.heads.data.frames import choose_frames
from clare.heads.data.leakage import Seen
from clare.heads.detector import Detector, save_detector
from clare.heads.evaluation.df40 import (
    METHODS,
    PUBLISHED,
    DF40Record,
    ListFigures,
    choose_published,
    group_by_folder,
    measure_as_df40,
)
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.evaluation.published import published_by
from clare.heads.metrics.by_subset import Macro
from clare.heads.runs.record import (
    BEST,
    VAL_METRICS,
    RunRecord,
    read_record,
    write_record,
    write_seen,
)
from clare.heads.sweeps.axes import expand
from clare.pipeline.datasets.registry import load_registry
from clare.protocol import list_protocols, list_trainings, read_protocol
from clare.store.feature_store import create_store, open_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
from clare.typed_json import read_json
from tests.figures import existing

CLS = FeatureSpec("clip_cls", (1,), "float32")
CLIP = Fingerprint("clip", 1, "aa")

NINE = {
    "collabdiff", "stargan", "starganv2", "styleclip", "midjourney", "sd21_cdf", "rddm_cdf",
    "whichfaceisreal", "heygen",
}  # fmt: skip
TEN = {
    "dit", "sit", "stylegan2", "stylegan3", "styleganxl", "vqgan", "ddim", "pixart", "rddm", "sd21"
}  # fmt: skip


@pytest.mark.parametrize("name", list_protocols())
def test_a_protocol_names_what_the_registry_knows(name):
    registry = load_registry()
    protocol = read_protocol(name)
    assert protocol.title and protocol.source
    for subset in protocol.needs():
        assert registry.subset(subset).id == subset
    for training in protocol.trainings.values():
        for fake in training.fakes:
            pools = registry.subset(fake).reals
            assert {pools[domain] for domain in training.domains} == set(training.reals)
    for target in protocol.targets:
        entry = registry.subset(target.fakes)
        if target.reals:
            assert target.reals == (entry.reals[target.domain],)
        else:
            assert entry.own_reals


def test_protocols_are_those_of_their_authors():
    assert {one.name for one in read_protocol("clare-41k").targets} == NINE
    for name, frames in (("clare-41k", 8), ("clare-82k", 16), ("clare-164k", 32)):
        training = read_protocol(name).training()
        assert set(training.fakes) == {"pixart", "sit", "vqgan", "styleganxl"}
        assert (training.frames, training.reals) == (frames, ("ffpp_real",))
    assert set(read_protocol("clare-train10").training().fakes) == TEN
    seventeen = read_protocol("clare-test17").targets
    assert len(seventeen) == 18 and {one.name for one in seventeen if one.beside} == {"deepfacelab"}
    assert len(read_protocol("p3-unknown").targets) == 9
    sizes = {key: len(read_protocol("p1-ff").training(key).fakes) for key in ("fs", "fr", "efs")}
    assert sizes == {"fs": 9, "fr": 12, "efs": 10}
    assert list_trainings("p1-ff") == ["p1-ff/fs", "p1-ff/fr", "p1-ff/efs"]
    joint = read_protocol("joint")
    assert len(joint.training().fakes) == 31 and len(joint.targets) == 40
    assert len(read_protocol("p4-one-vs-all").trainings) == 31


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "is not a mapping"),
        ("a: [", "can't be read"),
        ("titel: x\ntrain: {fakes: [a]}", "titel is not known"),
        ("title: x", "neither train nor test"),
        ("train: {fakes: []}", "names no fakes"),
        ("train: {fakes: [a], frames: 0}", "frames can't be 0"),
        ("train: {fakes: [a], sampling: odd}", "sampling can't be 'odd'"),
        ("test: {frames: 8}", "no list of sets"),
        ("test: {sets: [{fakes: [a, a]}]}", "a twice"),
        ("test: {sets: [{fakes: [a], split: train}]}", "split can't be 'train'"),
        ("test: nowhere", "no protocol 'nowhere'"),
        ("train: clare-test17", "neither a mapping nor the name of a protocol with one"),
    ],
)
def test_a_mistake_in_a_protocol_is_one_sentence(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_protocol(str(path))


def test_a_configuration_follows_a_protocol():
    config = create_config({"protocol": "p1-ff/fr", "epochs": 2})
    assert len(config.train) == 12 and config.reals == ("ffpp_real",) and config.domains == ("ff",)
    assert (config.frames, config.sampling, config.epochs) == (8, "even", 2)
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    published = create_config({"protocol": "clare-41k", "sampling": "first_n"})
    assert (published.sampling, published.protocol) == ("first_n", "clare-41k")
    other = create_config({"train": "pixart"}, config)
    assert (other.train, other.protocol) == (("pixart",), None)
    for beside in ({"train": ["pixart"]}, {"reals": ["ffpp_real"]}, {"domains": ["cdf"]}):
        with pytest.raises(InputError) as refused:
            create_config({"protocol": "clare-41k", **beside})
        assert refused.value.advice == (LeaveOut(*beside),)
        with pytest.raises(InputError, match="protocol"):
            expand(beside, {"protocol": ["clare-41k"]})
    for name, said in (
        ("p1-ff", "p1-ff/fs, p1-ff/fr, p1-ff/efs"),
        ("p1-ff/x", "name one"),
        ("clare-41k/x", "leave /x out"),
        ("clare-test17", "tests alone"),
    ):
        with pytest.raises(InputError, match=said):
            create_config({"protocol": name})


# ---- frames


def frame(subset, folder, number, label=1, video=True, content=None, **columns):
    known = {"subset": subset, "label": label, "split": "test", "frame_idx": number, **columns}
    if video:
        known["video_id"] = f"{subset}:{folder}"
    sample_id = f"{subset}/{folder}/{number:04d}"
    known.setdefault("path", f"{sample_id}.png")
    return Row(sample_id=sample_id, view=0, content=content or sample_id, columns=known)


@given(st.integers(1, 40), st.integers(1, 12), st.booleans(), st.randoms())
def test_frames_of_a_clip(count, frames, video, order):
    rows = [frame("a", "v", 10 * n, video=video) for n in range(count)]
    order.shuffle(rows)
    alone = Row(sample_id="a/flat", view=0, content="", columns={"subset": "a", "label": 1})

    def chosen(sampling):
        found = choose_frames([*rows, alone], frames, sampling)
        assert found == sorted(found) and found[-1] == count  # what is no clip's stays
        return sorted(rows[place].columns["frame_idx"] // 10 for place in found[:-1])

    kept = min(frames, count)
    assert chosen("first_n") == list(range(kept))
    even = chosen("even")
    assert len(even) == kept and even[0] == 0
    if kept > 1:
        steps = np.diff(even)
        assert even[-1] == count - 1 and steps.max() - steps.min() <= 1
    assert choose_frames(rows, None, "even") == list(range(count))


def test_a_fake_and_a_real_video_of_one_name_are_two_clips():
    rows = [frame("a", "v", n, label) for label in (0, 1) for n in range(6)]
    labels = Counter(rows[place].columns["label"] for place in choose_frames(rows, 2, "even"))
    assert labels == {0: 2, 1: 2}


# ---- tests of a protocol


def stored_rows():
    """Two swaps in two domains of one name, a method with reals, one without, two pools."""
    found = {}
    for number, subset in enumerate(("swap", "other")):
        found[subset] = [
            frame(subset, f"{domain}-{video}", n, domain=domain, category="FS",
                  path=f"{subset}/{domain}/frames/{video}/{n}.png",
                  source_ids=f"{domain}:{subset}{video}")
            for domain in ("ff", "cdf") for video in range(3) for n in range(12 + number)
        ]  # fmt: skip
    for pool, domain in (("ff_real", "ff"), ("cdf_real", "cdf")):
        found[pool] = [
            frame(pool, video, n, 0, domain=domain, category="real",
                  path=f"{pool}/frames/{video}/{n}.png")
            for video in range(4) for n in range(12)
        ]  # fmt: skip
    found["own"] = [
        frame("own", "fake" if label else "real", n, label, video=False, domain="x",
              category="EFS") for label in (0, 1) for n in range(5)
    ]  # fmt: skip
    for row in found["own"]:
        del row.columns["frame_idx"]
    found["bare"] = [frame("bare", "v", 0, domain="x", category="FE")]
    return found


PROTOCOL = """
title: mine
train: {fakes: [swap], reals: [ff_real], domains: [ff]}
test:
  frames: 4
  others: true
  sets:
    - {fakes: [swap, other], domains: [cdf], reals: [cdf_real]}
    - {fakes: [swap, other], domains: [ff], reals: [ff_real]}
    - {fakes: [own, bare, nowhere]}
    - {fakes: [own], domains: [x], beside: true}
"""


@pytest.fixture
def world(tmp_path):
    """A store, a run whose margin is the one feature, and a protocol."""
    store = create_store(tmp_path / "f.zarr")
    store.declare(CLIP, [CLS])
    for subset, rows in stored_rows().items():
        assigned = store.assign_rows(subset, rows)
        feature = store.feature(subset, "clip", CLIP.digest)
        for shard in feature.pending():
            feature.claim(shard)
            values = np.zeros((SHARD_ROWS, 1), np.float32)
            for row in assigned:
                if row.slot // SHARD_ROWS == shard:
                    # Frames past the fourth look alike: which are taken shows in the figures.
                    late = row.columns.get("frame_idx", 0) > 3
                    values[row.slot % SHARD_ROWS] = 0 if late else 2 * row.columns["label"] - 1
            feature.write_shard(shard, {"clip_cls": values}, {}, {})
            feature.release(shard)
    run = tmp_path / "run"
    run.mkdir()
    detector = Detector(DetectorConfig(fusion="cls", classifier="linear"), {"clip_cls": (1,)}, None)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            parameter.copy_(torch.tensor([[-1.0], [1.0]]) if "weight" in name else torch.zeros(2))
    save_detector(detector, run / BEST)
    config = create_config(
        {"fusion": "cls", "classifier": "linear", "train": ["swap"], "reals": ["ff_real"]}
    )
    keys = {"clip": CLIP.key}
    record = RunRecord(config, str(store.path), ("ff_real", "swap"), keys, {}, (), {}, {})
    write_record(run, record)
    columns = {"subset": "elsewhere", "label": 1}
    trained = Row(sample_id="x", view=0, content="elsewhere", columns=columns)
    write_seen(run, Seen.of([trained]))
    auc = dict.fromkeys(("value", "low", "high", "n"), 1)
    found = {"epoch": 1, "threshold": 0.0, "metrics": {"auc": auc}}
    (run / VAL_METRICS).write_text(json.dumps(found))
    path = tmp_path / "mine.yaml"
    path.write_text(PROTOCOL)
    return run, str(path)


def test_each_fake_stands_beside_the_reals_of_its_domain(world):
    run, protocol = world
    report = evaluate(run, protocol=protocol, resamples=0).record
    counts = {name: (s.real, s.fake, s.beside) for name, s in report.subsets.items()}
    assert counts == {
        "swap_cdf": (16, 12, ("cdf_real_cdf",)),
        "swap_ff": (16, 12, ("ff_real_ff",)),
        "other_cdf": (16, 12, ("cdf_real_cdf",)),
        "other_ff": (16, 12, ("ff_real_ff",)),
        "own": (5, 5, ()),
        "own_x": (5, 5, ()),
    }
    assert report.absent == {
        "bare": "bare has no reals in split test",
        "nowhere": "nowhere is not in the store",
    }
    # swap was trained on, own_x is beside: both are measured and in no mean.
    assert set(report.aside) == {"swap_cdf", "swap_ff", "own_x"}
    assert existing(report.macro.subsets).frame["auc"].n == 3
    assert report.categories["FS"].subsets == ("other_cdf", "other_ff")
    assert existing(report.subsets["other_cdf"].frame["auc"].value) < 1
    first = evaluate(run, protocol=protocol, sampling="first_n", resamples=0).record
    assert first.subsets["other_cdf"].frame["auc"].value == 1
    assert (
        evaluate(run, protocol=protocol, frames=1, resamples=0).record.subsets["swap_ff"].fake == 3
    )
    with pytest.raises(InputError, match="names its subsets, reals and domains"):
        evaluate(run, subsets=["swap"], protocol=protocol)


def test_a_protocol_of_what_was_trained_on_has_no_mean(world, tmp_path):
    run, _ = world
    path = tmp_path / "own.yaml"
    path.write_text(
        "title: own\ntest:\n  others: true\n  sets:\n"
        "    - {fakes: [swap], domains: [cdf], reals: [cdf_real]}\n"
    )
    report = evaluate(run, protocol=str(path), resamples=0).record
    assert report.aside == tuple(report.subsets) == ("swap_cdf",)
    assert report.macro == Macro(None, None)
    assert report.categories == {}


def add_rows(store, *subsets):
    """Rows of subsets that nobody extracted."""
    for name in subsets:
        rows = [frame(name, f"v{k}", 0, domain="cdf", category="FS") for k in range(3)]
        rows += [frame(name, f"r{k}", 0, label=0, domain="cdf") for k in range(3)]
        store.assign_rows(name, rows)


def test_a_set_without_features_is_absent_like_one_without_rows(world, tmp_path):
    run, _ = world
    store = open_store(read_record(run).store)
    add_rows(store, "late", "late_real")
    path = tmp_path / "late.yaml"
    path.write_text(
        "title: late\ntest:\n  sets:\n"
        "    - {fakes: [late, own]}\n"
        "    - {fakes: [other], domains: [cdf], reals: [late_real]}\n"
        "    - {fakes: [late], domains: [cdf], reals: [cdf_real]}\n"
    )
    report = evaluate(run, protocol=str(path), resamples=0).record
    assert set(report.subsets) == {"own"}
    assert set(report.absent) == {"late", "other_cdf", "late_cdf"}
    assert "late has no features of this run" in report.absent["late"]
    assert "late_real has no features of this run" in report.absent["other_cdf"]
    assert report.skipped == {}
    path.write_text("title: late\ntest:\n  sets:\n    - {fakes: [late]}\n")
    with pytest.raises(InputError, match="no set of protocol late: late: late has no features"):
        evaluate(run, protocol=str(path))


def test_what_was_seen_is_refused_in_a_protocol_too(world):
    run, protocol = world
    seen = [row for row in stored_rows()["other"] if row.columns["domain"] == "cdf"][:1]
    write_seen(run, Seen.of(seen))
    with pytest.raises(InputError, match="rows of other_cdf share"):
        evaluate(run, protocol=protocol)


def test_domains_and_frames_without_a_protocol(world):
    run, _ = world
    report = evaluate(run, subsets=["other"], reals=["cdf_real"], resamples=0).record
    assert "fakes of ff beside reals of cdf alone" in report.notes[0]
    chosen = evaluate(
        run, subsets=["other"], reals=["cdf_real"], domains=["cdf"], frames=2, resamples=0
    ).record
    assert (chosen.subsets["other"].fake, chosen.subsets["other"].real) == (6, 8)
    assert chosen.notes == ()


def test_nothing_of_a_protocol_in_the_store_is_refused(world):
    run, _ = world
    with pytest.raises(
        InputError, match="the store has no set of protocol p3-unknown: deepfacelab"
    ):
        evaluate(run, protocol="p3-unknown")


# ---- DF40's own way


def test_df40s_way_is_told_apart_from_ours(world):
    run, protocol = world
    found = measure_as_df40(run, protocol=protocol)
    lists = found.lists
    assert lists["FSAll_cdf"].sets == ("other_cdf", "swap_cdf")
    assert (lists["FSAll_cdf"].real, lists["FSAll_cdf"].fake) == (32, 48)
    # Videos 0-2 of two methods and of the reals share folder names; only real video 3 is alone.
    assert (lists["FSAll_cdf"].groups, lists["FSAll_cdf"].mixed) == (4, 3)
    assert lists["FSAll_cdf"].video_auc == lists["FSAll_cdf"].frame_auc < 1
    assert lists["own"].groups == 2 and not lists["own"].pool
    assert "trained by no protocol" in found.unpublished and not any(found.published.values())
    assert found.wrong and read_json(run / "df40_metrics.json", DF40Record) == found
    assert not (run / "test_metrics.json").exists()


def test_two_flat_folders_give_a_video_auc_of_one():
    random = np.random.default_rng(0)
    label = np.repeat([0, 1], 200)
    score = 1 / (1 + np.exp(-random.normal(1.4 * label)))
    found = group_by_folder(np.where(label == 1, "fake", "real"), label, score)
    assert found.frame_auc == roc_auc_score(label, score) < 0.9
    assert found.video_auc == 1 and found.groups == 2
    # One real frame makes a group of fakes a real one.
    folders = np.array(["a", "a", "a", "b", "c"])
    found = group_by_folder(folders, np.array([0, 1, 1, 1, 0]), np.array([0.9, 0.9, 0.9, 0.5, 0.1]))
    assert (found.groups, found.mixed, found.video_auc) == (3, 1, 0.5)
    # A real that a list has twice weighs twice.
    times = np.array([3, 1, 1, 1, 3])
    label, score = np.array([0, 1, 1, 1, 0]), np.array([0.5, 0.9, 0.9, 0.7, 0.1])
    weighed = group_by_folder(folders, label, score, times)
    repeated = group_by_folder(*(np.repeat(one, times) for one in (folders, label, score)))
    assert weighed == repeated and weighed.video_auc == 1
    assert group_by_folder(folders, label, score).video_auc == 0.5


def of_list(pool, sets):
    return ListFigures(0.5, 0.5, 2, 0, real=1, fake=1, pool=pool, sets=tuple(sets))


def test_published_figures_stand_beside_the_same_training_and_lists_alone():
    joint, registry = read_protocol("joint"), load_registry()
    pools = {
        f"{key.upper()}All_cdf": [f"{fake}_cdf" for fake in training.fakes]
        for key, training in read_protocol(METHODS).trainings.items()
    }
    for name, sets in pools.items():
        kinds = {registry.subset(one.removesuffix("_cdf")).category for one in sets}
        assert kinds == {name.partition("All")[0]}
    unknown = {target.name for target in joint.targets}.difference(*pools.values())
    lists = {name: of_list(True, sets) for name, sets in pools.items()}
    lists |= {name: of_list(False, [name]) for name in unknown}
    figures, why = choose_published("joint", joint, lists)
    assert figures == published_by(PUBLISHED, "list", "frame_auc") and not why and len(unknown) == 9
    figures, why = choose_published("p1-ff/fs", joint, lists)
    assert not any(figures.values()) and "trained by protocol p1-ff/fs" in why
    # One method is absent: its pool is another list.
    fewer = lists | {"FSAll_cdf": of_list(True, pools["FSAll_cdf"][1:])}
    del fewer["heygen"]
    figures, why = choose_published("joint", joint, fewer)
    assert set(figures["CLIP-large"]) == {"FRAll_cdf", "EFSAll_cdf"}
    assert "of FSAll_cdf, unknown:" in why
