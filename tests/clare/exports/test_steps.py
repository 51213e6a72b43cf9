"""A head over all of LaRE's noise steps, alone, from features as they are stored."""

import torch

from clare.exports.module import HeadAlone
from clare.heads.config import DetectorConfig
from clare.heads.detector import Detector


def test_random_features_are_like_those_of_training_step_by_step():
    size = torch.tensor([1.0, 9.0]).view(2, 1, 1, 1, 1)
    stored = torch.randn(64, 2, 3, 4, 6, 6) * size + 5 * size
    detector = Detector(DetectorConfig("lare_trajectory", "linear"), {"lare": (2, 3, 4, 6, 6)})
    detector.fit_statistics([{"lare": stored}])
    head = HeadAlone(detector.eval())
    (features,) = head.examples(64)
    assert features.shape == stored.shape
    for step, deviation in enumerate((1.0, 9.0)):
        found = features[:, step]
        torch.testing.assert_close(found.std(), torch.tensor(deviation), rtol=0.05, atol=0)
        torch.testing.assert_close(found.mean(), torch.tensor(5 * deviation), rtol=0.05, atol=0)
    margin, p_fake = head(features)
    assert margin.shape == p_fake.shape == (64,)
    torch.testing.assert_close(margin, detector.margins({"lare": features}).float())
