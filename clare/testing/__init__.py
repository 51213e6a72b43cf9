"""Contract tests that a part of one's own passes by inheriting them; for pytest alone.

::

    from clare.testing import FusionContract

    class TestFilm(FusionContract):
        part = "film.py"

Each class takes a part's name, or the path of its file, seen from the file of the tests. Models
without trained weights and generated inputs do: the tests are offline and take seconds on a CPU.
"""

import pytest

for _name in ("part", "fusion", "classifier", "decoder", "extractor", "tuning"):
    pytest.register_assert_rewrite(f"clare.testing.{_name}")

from clare.testing.classifier import ClassifierContract  # noqa: E402
from clare.testing.decoder import DecoderContract  # noqa: E402
from clare.testing.extractor import ExtractorContract  # noqa: E402
from clare.testing.fusion import FusionContract  # noqa: E402
from clare.testing.tuning import TuningContract  # noqa: E402

__all__ = [
    "ClassifierContract",
    "DecoderContract",
    "ExtractorContract",
    "FusionContract",
    "TuningContract",
]
