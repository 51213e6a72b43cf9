"""Dates of the registry, where a manifest has none: what is newer than a tower is known by them."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clare.bootstrap import Resampling
from clare.dates import read_span
from clare.heads.evaluation.newer import newer_figures, sight_of
from clare.heads.metrics.predictions import Predictions, evaluation_sets
from clare.heads.runs.record import ExtractorRecord
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.extraction.store_rows import rows_of_samples
from clare.pipeline.manifests.csv_io import write_manifest
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.store.spec import Fingerprint

OWN = """
datasets:
  mine: {display: Mine, roots: {mine: somewhere}}
domains:
  here: {split: held-out}
subsets:
  blend:
    dataset: mine
    category: FS
    created: 2022-05/2022-06
    video_level: true
    reals: {here: photos}
    layouts: [{root: mine, path: '{video}', domain: here, label: fake}]
  photos:
    dataset: mine
    category: real
    created: 2022-04
    video_level: true
    layouts: [{root: mine, path: '{video}', domain: here, label: real}]
"""


def sample_of(subset, number, **columns):
    return Sample(
        sample_id=f"{subset}{number}",
        path=f"{subset}{number}.png",
        label=int(subset == "blend"),
        subset=subset,
        split="test",
        domain="here",
        root="mine",
        **columns,
    )


@pytest.fixture
def folder(tmp_path):
    """Two manifests without a column of dates, and the images that they name."""
    (tmp_path / "subsets.yaml").write_text(OWN)
    for number, subset in enumerate(("blend", "photos")):
        samples = [sample_of(subset, n) for n in range(4)]
        write_manifest(Manifest(subset, tuple(samples)), tmp_path / f"{subset}.csv")
        for n, sample in enumerate(samples):
            Image.new("L", (4, 4), 10 * n + number).save(tmp_path / sample.path)
    return tmp_path


def selected(folder):
    found = select_manifests("blend,photos", [], folder, [f"mine={folder}"], [], [])
    return {manifest.name: (manifest, roots) for manifest, roots in found}


def test_without_a_column_a_figure_on_newer_images_has_the_registrys_dates(folder):
    rows = [
        row
        for manifest, roots in selected(folder).values()
        for row in rows_of_samples(manifest.samples, roots, [])
    ]
    scores = np.array([row.columns["label"] + 0.0 for row in rows])
    predictions = Predictions.of_rows(rows, scores, ["both"] * len(rows))
    openai = ExtractorRecord(
        Fingerprint("clip", 1, "aa"), {"model": "ViT-L-14", "weights": "openai"}
    )
    sets = evaluation_sets(predictions)
    found = newer_figures(
        rows, predictions, sets, {"it": (sight_of([openai]), scores)}, Resampling(0, 0)
    )["it"]
    assert (found.tests["both"].n, found.tests["both"].value) == (8, 1.0)


def test_what_a_row_says_itself_stays_and_other_images_are_not_dated(folder):
    samples = [sample_of("blend", 0, created="2020"), replace(sample_of("blend", 1), root="")]
    write_manifest(Manifest("blend", tuple(samples)), folder / "blend.csv")
    manifest, _ = selected(folder)["blend"]
    assert [sample.created for sample in manifest.samples] == ["2020", ""]


def test_all_that_comes_with_clare_is_dated_df40_between_its_generators_and_itself():
    subsets = load_registry().subsets.values()
    spans = {one.id: read_span(one.created) for one in subsets}
    assert {str(spans[one.id].last) for one in subsets if one.dataset == "df40"} == {"2024-06-30"}
    assert str(spans["sit"].first) == "2024-01-01"
    # Not since their papers are on arXiv, but since they were at a conference.
    earlier = {"simswap": "2020-10-01", "fomm": "2019-12-01", "lia": "2021-10-01"}
    assert {name: str(spans[name].first) for name in earlier} == earlier
    # Of reals it is known by when they were there, and not since when.
    reals = [one for one in subsets if one.category == "real"]
    assert all(one.created.startswith("/") for one in reals)
