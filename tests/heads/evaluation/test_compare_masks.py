"""Two localisers on the same images: paired differences of their masks' figures."""

import csv

import numpy as np
import pytest

from clare.errors import InputError
from clare.heads.evaluation.better import verdict
from clare.heads.evaluation.compare import compare

FAKES = [f"{n}.png" for n in range(12)]


def write(path, ious, *, reals=0, **columns):
    """A table of fakes with their IoU, and of reals, which have none."""
    rows = [
        {"sample_id": name, "label": 1, "score": 0.9, "iou": value, "truth_area": 0.25}
        | {column: values[n] for column, values in columns.items()}
        for n, (name, value) in enumerate(zip(FAKES, ious, strict=True))
    ]
    rows += [{"sample_id": f"real/{n}", "label": 0, "score": n / 10} for n in range(reals)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def ends(figure):
    assert figure.low is not None and figure.high is not None
    return figure.low, figure.high


@pytest.fixture
def ious():
    return np.random.default_rng(0).uniform(0.3, 0.6, len(FAKES)).round(3).tolist()


def test_the_difference_is_of_the_same_images_and_says_who_is_better(tmp_path, ious):
    better = [value + 0.1 + n / 100 for n, value in enumerate(ious)]
    noise = [0.4, 0.5] * 6
    one = write(tmp_path / "one.csv", ious, ap=noise, f1=ious)
    other = write(tmp_path / "other.csv", better, ap=noise[::-1], f1=ious)
    found = compare(one, other)
    pair = found.masks["all"]
    assert pair.first["iou"].value == pytest.approx(np.mean(ious)) and pair.first["iou"].n == 12
    gap = pair.difference["iou"]
    low, high = ends(gap)
    assert gap.value == pytest.approx(0.155) and 0.1 < low < 0.155
    # The images differ far more among themselves than the two do on each.
    first = ends(pair.first["iou"])
    assert first[1] - first[0] > 2 * (high - low)
    said = verdict(found, ("a", "b"))
    assert said.startswith("By the IoU of b less a, b is better on all (+0.155, 95 % +0.1")
    assert "By the F1, neither is clearly better on all (+0.000" in said
    assert "By the pixel AP, neither is clearly better" in said and "AUC" not in said


def test_an_image_that_one_of_them_lacks_counts_in_neither(tmp_path, ious):
    one = write(tmp_path / "one.csv", [*ious[:-1], ""])
    other = write(tmp_path / "other.csv", ious)
    pair = compare(one, other).masks["all"]
    assert pair.second["iou"].n == 11
    assert pair.second["iou"].value == pytest.approx(np.mean(ious[:-1]))


def test_a_detector_beside_a_localiser_is_compared_where_there_are_reals(tmp_path, ious):
    one = write(tmp_path / "one.csv", ious)
    scores = "sample_id,label,score\n" + "".join(f"{name},1,0.8\n" for name in FAKES)
    other = tmp_path / "other.csv"
    other.write_text(scores)
    with pytest.raises(InputError, match="the first says which pixels are fake and the second do"):
        compare(one, other)
    write(one, ious, reals=5)
    other.write_text(scores + "".join(f"real/{n},0,0.1\n" for n in range(5)))
    found = compare(one, other, resamples=0)
    assert found.localisers == (True, False) and not found.masks and found.detects
    assert "AUC of b less a" in verdict(found, ("a", "b"))


def test_other_masks_and_percents_are_refused(tmp_path, ious):
    one = write(tmp_path / "one.csv", ious)
    other = write(tmp_path / "other.csv", ious, truth_area=[0.25] * 11 + [0.3])
    with pytest.raises(InputError, match="the masks of 1 image are not the same in both"):
        compare(one, other)
    other.write_text(other.read_text().replace("truth_area", "area"))
    assert compare(one, other).masks["all"].difference["iou"].value == 0
    percents = write(tmp_path / "percents.csv", [100 * value for value in ious])
    with pytest.raises(InputError, match=r"12 of 12 numbers in iou are above 1: .*percents"):
        compare(one, percents)
