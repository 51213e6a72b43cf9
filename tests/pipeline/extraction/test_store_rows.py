"""Rows of samples, made while threads look at the samples' files."""

import time
from typing import Any

import pytest

from clare.pipeline.extraction.store_rows import rows_of_samples
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Sample


class Looked(Roots):
    """Knows of no file, counts those that are asked for, and takes a while for each."""

    count = 0

    def resolve(self, sample, path=None):
        self.count += 1
        time.sleep(0.001)
        return super().resolve(sample, path)


def test_who_ends_on_the_way_waits_for_no_file_that_nobody_began_with(tmp_path):
    roots: Any = Looked.from_options([str(tmp_path)], {})
    samples = [Sample(f"a/{k}", f"{k}.png", 0, "a", split="test") for k in range(8000)]

    def end(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows_of_samples(samples, roots, [], progress=end)
    assert roots.count < len(samples) / 2
