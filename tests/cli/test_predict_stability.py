"""`clare predict --stability`: verdicts on delivered images, and what is unsure."""

import csv
import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import clare as library
from clare.augmentation.deliveries import read_set
from clare.errors import InputError
from clare.heads.evaluation.conformal import calibrate_run
from clare.heads.runs.record import VAL_PREDICTIONS
from clare.heads.training.train_head import train_head
from clare.inference.predictor import Predictor
from clare.inference.redelivery import USUAL, Redelivery
from clare.inference.stability import StabilitySettings
from clare.pipeline.extract import extract
from clare.pipeline.extraction.direct import ExtractedImage, InputImage
from clare.pipeline.images.decode import decode_rgb
from clare.pipeline.video.read import Video
from tests.figures import existing

DEVICE = ("--device", "cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory, pictures):
    """A run on the class token alone, whose values depend on pixels and on nothing else."""
    place = tmp_path_factory.mktemp("stability")
    store = place / "features.zarr"
    images = {"real": pictures / "real", "fake": pictures / "fake"}
    extract(store, **images, subset="faces", features=["clip"], backbone="tiny", device="cpu")
    train_head(store, place / "run", fusion="cls", classifier="linear", epochs=2, device="cpu")
    return place / "run"


@pytest.fixture
def images(pictures):
    return sorted((pictures / "real").iterdir())[:3]


def test_it_is_damaging_by_hand_and_predicting(run, images, tmp_path):
    settings = StabilitySettings(times=4)
    detector = Predictor(run, "cpu")
    found = detector.predict(images, stability=settings)
    by_hand = []
    for image in images:
        data = image.read_bytes()
        for number, delivery in enumerate([*read_set("platform"), read_set("platform")["posted"]]):
            picture = decode_rgb(data)
            content = hashlib.sha256(data).hexdigest()
            view = delivery.view(content, picture.size, seed=number // 3)
            file = tmp_path / f"{image.stem}-{number}.png"
            view.apply(picture).save(file)
            by_hand.append(file)
    plain = [(one.p_fake, one.label) for one in detector.predict(by_hand)]
    again = [one for verdict in found for one in existing(verdict.stability).redelivered]
    assert [one.seed for one in again] == [0, 0, 0, 1] * 3
    assert [one.label for one in again] == [label for _, label in plain]
    assert [one.p_fake for one in again] == pytest.approx([score for score, _ in plain], abs=1e-6)
    assert len({one.p_fake for one in again}) > 9, "they differ, so equality says something"
    for verdict, own in zip(found, detector.predict(images), strict=True):
        assert (verdict.label, own.stability) == (own.label, None)
        assert verdict.p_fake == pytest.approx(own.p_fake, abs=1e-6)
        stable = existing(verdict.stability)
        same = [one.label == verdict.label for one in stable.redelivered]
        assert stable.agree == np.mean(same) and stable.judged == 4
        scores = [existing(one.p_fake) for one in stable.redelivered]
        assert stable.spread == (min(scores), max(scores))
    alone = existing(detector.predict(images[1], stability=settings)[0].stability).redelivered
    assert [one.p_fake for one in alone] == pytest.approx(
        [one.p_fake for one in again[4:8]], abs=1e-6
    ), "whatever stands beside it"


@pytest.mark.parametrize(
    ("margins", "turned", "real_up_to", "fake_from", "labels", "outcome"),
    [
        ([2, 2, 2, 2, 2], 0.2, 0.5, -0.5, "fake", "fake"),
        ([2, 2, 2, 2, -1], 0.2, 0.5, -0.5, "fake", "fake"),  # a fifth is not more than a fifth
        ([2, 2, 2, -1, -1], 0.2, 0.5, -0.5, "fake", "unsure"),
        ([2, 2, 2, -1, -1], 0.4, 0.5, -0.5, "fake", "fake"),
        ([2, 2, 2, 2, None], 0.2, 0.5, -0.5, "fake", "fake"),
        ([2, 2, 2, -1, None], 0.2, 0.5, -0.5, "fake", "unsure"),  # one of four
        ([None] * 5, 0.2, 0.5, -0.5, "fake", "unsure"),
        ([2, 2, 2, 2, 2], 0.2, 1.5, -0.5, "both", "unsure"),
        ([2, 2, 2, 2, 2], 0.2, 0.5, 1.5, "neither", "unsure"),
        ([2, 2, 2, 2, 2], 0.2, 1.5, 1.5, "real", "unsure"),
        ([2, 2, 2, 2, 2], 0.2, None, None, "both", "unsure"),
    ],
)  # fmt: skip
def test_what_is_unsure(run, images, monkeypatch, margins, turned, real_up_to, fake_from, labels,
                        outcome):  # fmt: skip
    """Of an image at margin 1 and a threshold of 0, delivered five times."""
    sets = existing(calibrate_run(run))
    sets = replace(sets, frame=replace(sets.frame, real_up_to=real_up_to, fake_from=fake_from))
    monkeypatch.setattr("clare.inference.redelivery.calibrate_run", lambda *_: sets)
    again = Redelivery(StabilitySettings(times=5, turned=turned), run, [])
    image = ExtractedImage(InputImage.of_file(images[0]))
    verdicts = [
        library.Verdict(
            images[0],
            failure="" if one is not None else "broken",
            label=None if one is None else "fake" if one >= 0 else "real",
            p_fake=one,
            margin=one,
        )
        for one in (1, *margins)
    ]
    ((found, _),) = again.gather((one, image) for one in verdicts)
    stable = existing(found.stability)
    assert (found.label, stable.labels, found.outcome) == ("fake", labels, outcome)
    monkeypatch.setattr("clare.inference.redelivery.calibrate_run", lambda *_: None)
    alone = Redelivery(StabilitySettings(times=5, turned=turned), run, [])
    ((found, _),) = alone.gather((one, image) for one in verdicts)
    assert existing(found.stability).labels is None
    told = [one for one in margins if one is not None]
    few = bool(told) and sum(one < 0 for one in told) <= turned * len(told)
    assert found.outcome == ("fake" if few else "unsure")


def test_columns_say_what_was_found_and_files_are_gone_on_with(clare, run, images, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    command = ("predict", run, *images, "broken.png", *DEVICE, "--stability")
    code, out, err = clare(*command, "--times", 3)
    assert code == 3 and "each image is judged 3 times more" in err
    assert "12 more passes through the models" in err
    assert "3 re-deliveries of platform" in out and "of 3" in out and "delivered" in out
    code, printed, _ = clare(*command, "--times", 3, "--json")
    rows = [json.loads(line) for line in printed.splitlines()]
    assert code == 3 and len(rows) == 4
    judged = Predictor(run, "cpu").predict(images, stability=StabilitySettings(times=3))
    for row, verdict in zip(rows, judged, strict=False):
        stable = existing(verdict.stability)
        assert row["verdict"] == verdict.outcome and row["labels"] == stable.labels
        assert (row["deliveries"], row["agree"]) == (3, stable.agree)
        assert (row["score_low"], row["score_high"]) == pytest.approx(
            existing(stable.spread), abs=1e-6
        )
        assert "3 re-deliveries of platform" in row["settings"]
    broken = rows[-1]
    assert (
        broken["failure"] and [broken[n] for n in ("verdict", "deliveries", "labels")] == [None] * 3
    )
    # A file is gone on with, and takes no rows of other settings.
    out = ("--out", "scores.csv")
    assert clare("predict", run, images[0], *DEVICE, "--stability", "--times", 3, *out)[0] == 0
    code, said, err = clare("predict", run, *images, *DEVICE, "--stability", "--times", 3, *out)
    assert code == 0 and "1 of them judged before" in said and "6 more passes" in err
    with (tmp_path / "scores.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [float(row["score_low"]) for row in written] == pytest.approx(
        [row["score_low"] for row in rows[:3]], abs=1e-6
    )
    others = (("--times", 4), ("--turned", 0.3), ("--coverage", 0.8), ("--delivery-set", "compact"))
    for other in others:
        code, _, err = clare(
            "predict", run, *images, *DEVICE, "--stability", "--times", 3, *other, *out
        )
        assert code == 1 and "scores of other settings" in err
    assert clare("predict", run, *images, *DEVICE, *out)[0] == 1


def test_what_can_not_be_asked_is_refused_before_the_models_run(
    clare, run, images, tmp_path, monkeypatch
):
    monkeypatch.setattr("clare.inference.predictor.Predictor", None)
    (tmp_path / "own.yaml").write_text("title: own\nsource: me\ndeliveries:\n  a: jpeg 50\n")
    for words, said in (
        (("--times", 3), "--stability"),
        (("--stability", "--times", 0), "times 0 is less than 1"),
        (("--stability", "--turned", 1), "turned 1 is no share"),
        (("--stability", "--coverage", 90), "between 0 and 1, as 0.9"),
        (("--stability", "--delivery-set", "moon"), "moon"),
        (("--stability", "--delivery-set", "own.yaml", "--times", 2), "1 times and not 2"),
    ):
        code, _, err = clare("predict", run, images[0], *DEVICE, *words)
        assert code == 1 and said in " ".join(err.split()), err


def test_frames_of_a_video_are_delivered_alike_and_add_up_to_it(clare, run, images, tmp_path):
    pytest.importorskip("av")
    from tests.pipeline.video.clips import write_clip

    clip, way = write_clip(tmp_path / "a.mkv", 20), read_set("platform")["platform"]
    frames = [frame.png() for frame in Video(clip).frames(3)]
    drawn_by, files = hashlib.sha256(frames[0]).hexdigest(), []
    for number, frame in enumerate(frames):
        picture = decode_rgb(frame)
        files.append(tmp_path / f"{number}.png")
        way.view(drawn_by, picture.size, seed=0).apply(picture).save(files[-1])
    detector = Predictor(run, "cpu")
    by_hand = [existing(one.margin) for one in detector.predict(files)]
    assert len(set(by_hand)) == 3
    _, video = detector.predict([images[0], clip], 3, StabilitySettings(times=3))
    stable = existing(video.stability)
    second = [existing(one.stability).redelivered[1] for one in video.frames]
    assert [one.margin for one in second] == pytest.approx(by_hand, abs=1e-5)
    assert stable.redelivered[1].delivery == "platform"
    assert stable.redelivered[1].p_fake == pytest.approx(np.mean([one.p_fake for one in second]))
    assert stable.judged == 3 and stable.labels is None, "validation has no videos"
    code, _, err = clare("predict", run, clip, *DEVICE, "--stability", "--times", 2, "--frames", 3)
    said = " ".join(err.split())
    assert code == 0 and "at most 6 more passes" in said and "all of one alike" in said
    assert "no conformal sets of them" in said


def test_a_video_that_can_not_be_read_has_no_stability(run, images, tmp_path):
    pytest.importorskip("av")
    (tmp_path / "clip.mp4").write_bytes(b"")
    found = Predictor(run, "cpu").predict(
        [tmp_path / "clip.mp4", images[0]], 3, StabilitySettings(times=2)
    )
    assert found[0].failure and found[0].stability is None
    assert existing(found[1].stability).judged == 2


def test_a_set_is_taken_in_turns_and_what_draws_nothing_once(run, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(
        "title: t\nsource: s\ndeliveries:\n  a: jpeg 50\n  b: jpeg 50-60\n  c: noise 0.1\n"
    )
    again = Redelivery(StabilitySettings(str(own), times=6), run, [])
    image = InputImage(tmp_path / "x", bytes)
    given = [(one.delivery and one.delivery.name, one.seed) for one in again.images([image])]
    assert given == [(None, 0), ("a", 0), ("b", 0), ("c", 0), ("b", 1), ("c", 1), ("b", 2)]
    assert len(Redelivery(StabilitySettings(str(own)), run, [])) == USUAL
    own.write_text("title: t\nsource: s\ndeliveries:\n  a: jpeg 50\n  b: jpeg 60\n")
    assert len(Redelivery(StabilitySettings(str(own)), run, [])) == 2
    with pytest.raises(InputError, match="draw nothing"):
        Redelivery(StabilitySettings(str(own), times=3), run, [])


def test_without_scores_of_validation_the_deliveries_decide_alone(clare, run, images, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in run.iterdir():
        if file.is_file() and file.name != VAL_PREDICTIONS:
            (copy / file.name).write_bytes(file.read_bytes())
    command = (*DEVICE, "--stability", "--times", 3, "--json")
    code, printed, err = clare("predict", copy, images[0], *command)
    assert code == 0 and "told by the deliveries alone" in " ".join(err.split())
    row = json.loads(printed)
    assert row["labels"] is None and row["verdict"] == ("unsure" if row["agree"] < 0.8 else "real")


def test_an_image_from_memory_too(run, images):
    picture = Image.open(io.BytesIO(images[0].read_bytes()))
    (found,) = library.predict(run, picture, device="cpu", stability=StabilitySettings(times=2))
    assert existing(found.stability).judged == 2
