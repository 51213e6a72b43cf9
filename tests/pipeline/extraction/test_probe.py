"""What a few images tell of the cost of each subset."""

import pytest

from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.extraction import job, probe
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.synthetic.toys import draw_faces
from tests.pipeline.extraction.conftest import Job


@pytest.fixture
def two_sizes(tmp_path) -> Job:
    draw_faces(tmp_path / "large", 20, seed=0, size=768)
    draw_faces(tmp_path / "small", 20, seed=0, size=64, kind="fake")
    selection = select_manifests(
        None, [], tmp_path, [], [tmp_path / "large"], [f"small={tmp_path / 'small'}"]
    )
    return Job(ExtractSettings(tmp_path / "store", features=("pixels",)), selection)


@pytest.mark.parametrize("worth", [10, 1000])
def test_large_images_weigh_more_where_it_is_worth_to_look(two_sizes, monkeypatch, worth):
    found = {}
    monkeypatch.setattr(probe, "WORTH", worth)

    def look(*given):
        found.update(probe.decoding_weights(*given))
        return found

    monkeypatch.setattr(job, "decoding_weights", look)
    report = two_sizes.run()
    assert report.rows == 40 and not report.failures
    if worth == 10:
        assert found["real"] > found["small"]
    else:
        assert set(found.values()) == {1.0}
