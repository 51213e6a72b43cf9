"""Streamed statistics against numpy over everything at once."""

from __future__ import annotations

import numpy as np
import pytest

from clare.errors import CorruptStoreError, StoreError
from clare.store.feature_store import open_store
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
from clare.store.statistics import channel_statistics, store_statistics
from tests.store.conftest import make_rows


@pytest.fixture
def feature(store):
    """150 rows of offset, outlying and missing values, of which row 7 failed."""
    fields = [
        FeatureSpec("last", (5, 3), "float32"),
        FeatureSpec("first", (2, 4, 4), "float16", channel_axis=-3),
        FeatureSpec("bytes", (3,), "uint8"),
    ]
    fingerprint = Fingerprint("drawn", 1, "")
    store.assign_rows("faces", make_rows(150))
    store.declare(fingerprint, fields)
    feature = store.feature("faces", "drawn")
    chance = np.random.default_rng(1)
    for shard in feature.pending():
        assert feature.claim(shard)
        values = {
            s.field: (chance.normal(1000, 5, (SHARD_ROWS, *s.shape)) % 256).astype(s.dtype)
            for s in fields
        }
        values["last"] += np.float32(1e4) * np.array([0, 1, 2], np.float32)
        values["last"][::9, 0, 1] = 1e6
        values["first"][::5, 1, 2] = np.nan
        values["first"][1, 0, 0, 0] = np.inf
        feature.write_shard(shard, values, {7: "bad"} if shard == 0 else {}, {})
        feature.release(shard)
    return feature


@pytest.mark.parametrize(("field", "axis"), [("last", 2), ("first", 1), ("bytes", 1)])
def test_equals_numpy_over_all_complete_rows(feature, field, axis):
    slots = [slot for slot in range(150) if slot != 7]
    values = feature.reader(field).read(slots)
    channels = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis]).astype(np.float64)
    finite = np.where(np.isfinite(channels), channels, np.nan)
    found = channel_statistics(feature, field)
    assert found.rows == 149
    np.testing.assert_array_equal(found.n, np.isfinite(channels).sum(0))
    np.testing.assert_allclose(found.mean, np.nanmean(finite, 0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, np.nanstd(finite, 0), rtol=1e-9)
    np.testing.assert_allclose(found.nan_share, np.isnan(finite).mean(0), atol=1e-12)
    far = np.abs(finite - np.nanmean(finite, 0)) > 6 * np.nanstd(finite, 0)
    np.testing.assert_allclose(found.outlier_share, far.sum(0) / found.n)


def test_store_statistics_is_plain_data(feature):
    found = store_statistics(open_store(feature.layout.root))
    measures = found["faces"][feature.key]["bytes"]
    assert measures["rows"] == 149 and len(measures["mean"]) == 3
    assert store_statistics(open_store(feature.layout.root), subset="faces") == found


def test_without_complete_rows_nothing_is_made_up(store):
    store.assign_rows("faces", make_rows(1))
    store.declare(Fingerprint("drawn", 1, ""), [FeatureSpec("x", (2,), "float32")])
    found = channel_statistics(store.feature("faces", "drawn"), "x").to_json()
    assert found["rows"] == 0 and found["mean"] == [None, None]


def test_errors_are_named(feature):
    with pytest.raises(StoreError, match="has no field 'lost'"):
        channel_statistics(feature, "lost")
    (feature.array_path("last") / "c" / "1" / "0" / "0").unlink()
    with pytest.raises(CorruptStoreError, match=r"last, row \d+, .* missing"):
        channel_statistics(feature, "last")
