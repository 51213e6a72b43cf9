"""What a few images tell of the cost of each subset."""

import pytest

from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.extraction import job, probe
from clare.pipeline.extraction.loading import Loader
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.synthetic.toys import draw_faces
from clare.store.row import Row
from tests.pipeline.extraction.conftest import Job


def two_subsets(tmp_path, size: int, count: int) -> Job:
    """Reals of a size, and small fakes."""
    draw_faces(tmp_path / "large", count, seed=0, size=size)
    draw_faces(tmp_path / "small", count, seed=0, size=64, kind="fake")
    selection = select_manifests(
        None, [], tmp_path, [], [tmp_path / "large"], [f"small={tmp_path / 'small'}"]
    )
    return Job(ExtractSettings(tmp_path / "store", features=("pixels",)), selection)


@pytest.mark.parametrize("worth", [10, 1000])
def test_large_images_weigh_more_where_it_is_worth_to_look(tmp_path, monkeypatch, worth):
    found = {}
    monkeypatch.setattr(probe, "WORTH", worth)

    def look(*given):
        found.update(probe.decoding_weights(*given))
        return found

    monkeypatch.setattr(job, "decoding_weights", look)
    report = two_subsets(tmp_path, 512, 10).run()
    assert report.rows == 20 and not report.failures
    if worth == 10:
        assert found["real"] > found["small"]
    else:
        assert set(found.values()) == {1.0}


def test_what_is_looked_at_are_all_views_of_an_image_that_are_still_to_be_made(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(probe, "WORTH", 10)
    looked_at: list[list[Row]] = []

    class Watched(Loader):
        def start(self, rows, extractors):
            looked_at.append(list(rows.values()))
            return super().start(rows, extractors)

    monkeypatch.setattr(job, "Loader", Watched)
    subsets_of = two_subsets(tmp_path, 64, 12)
    for job_now, first in ((subsets_of.but(views=2), 0), (subsets_of.but(views=4), 2)):
        looked_at.clear()
        assert job_now.run().rows > 12
        subsets = {rows[0].columns["subset"]: rows for rows in looked_at[:2]}
        assert set(subsets) == {"real", "small"}
        for rows in subsets.values():
            views: dict[str, list[int]] = {row.sample_id: [] for row in rows}
            for row in rows:
                views[row.sample_id].append(row.view)
            training = {row.sample_id for row in rows if row.columns["split"] == "train"}
            assert training and all(views[name] == [first, first + 1] for name in training)
            assert all(views[name] == [0] for name in views.keys() - training)
