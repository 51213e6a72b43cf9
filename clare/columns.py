"""Columns of images: customary names, for lists and for tables of scores, and the splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

SPLITS = ("train", "val", "test")
"""What a split may be; a row may have none."""

MaskFake = Literal["white", "black"]
"""Which end of a mask's values marks what is fake."""
MASK_FAKE: tuple[str, ...] = get_args(MaskFake)
"""What the column ``mask_fake`` may be; white where a row says nothing."""

_PATHS = (
    *("path", "image_path", "img_path", "file_path", "filepath", "image", "img"),
    *("file", "file_name", "filename", "name"),
)

CUSTOMARY: Mapping[str, tuple[str, ...]] = {
    "path": _PATHS,
    "sample": ("sample_id", *_PATHS, "id"),
    "label": (
        *("label", "labels", "target", "targets", "class", "is_fake", "y", "y_true"),
        *("true_label", "gt", "ground_truth", "fake"),
    ),
    "score": (
        *("margin", "score", "scores", "prob", "probability", "p_fake", "prob_fake", "fake_prob"),
        *("fake_score", "fake_probability", "fake_probability_score", "prob_class_1", "y_score"),
        *("logit", "pred", "prediction"),
    ),
    "subset": ("subset", "dataset"),
    "video": ("video_id", "video", "clip", "clip_id", "video_name"),
    "split": ("split", "partition", "phase", "set"),
    "identity": ("source_ids", "identity", "identities", "person", "subject"),
    "mask": ("mask_path", "mask"),
    "mask_fake": ("mask_fake",),
    "domain": ("domain",),
    "boxes": ("boxes",),
    "created": ("created",),
}
"""By what a column holds, the names by which it is taken where none is named; likeliest first."""
