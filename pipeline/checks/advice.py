"""What an audit's figures mean, in sentences, and which preparation they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clare.bootstrap import Figure
from clare.pipeline.images.settings import ImageSettings
from clare.wording import name_rows

TELLS = 0.6
"""AUC from which on a fact counts as a shortcut, if its interval lies above one half."""

SHARE = 10
"""Images of one label for each of the other, from which on a remark is made."""

SUGGESTED_SIDE = 256
SUGGESTED_CODING = "jpeg:95"

TITLES = {
    "format": "file format",
    "size": "width x height",
    "pixels": "number of pixels",
    "bytes": "bytes of the file",
    "tables": "JPEG quantisation tables",
    "exif": "EXIF data",
    "domain": "domain",
    "framing": "the face box's share of the image",
    "laplacian": "Laplacian energy",
    "jpeg_size": "bytes as JPEG 95",
}
"""Facts as a person calls them, in the order of a table."""

_REMEDIES = {
    "format": "--recode jpeg:95 removes it",
    "tables": "--recode jpeg:95 gives all images the same",
    "size": "--resize 256 removes it",
    "pixels": "--resize 256 removes it",
    "exif": "it never reaches an extractor, but says that the classes have other histories",
    "framing": "--crop boxes removes it",
    "domain": "name reals of the same domains",
    "bytes": "--resize and --recode change it; what is left stands in the last column",
    "laplacian": "sharpness: no option removes it",
    "jpeg_size": "detail: no option removes it",
}


def tells(figure: Figure | None) -> bool:
    """Whether a fact alone separates the labels by more than chance."""
    if figure is None or figure.value is None or figure.value < TELLS:
        return False
    return figure.low is None or figure.low > 0.5


def suggest(files: Mapping[str, Figure], *, has_boxes: bool) -> ImageSettings:
    """The preparation that removes the shortcuts found; none where there are none.

    Args:
        files: the AUC of each fact of the files.
        has_boxes: whether every image has a face box.
    """
    resizes = any(tells(files.get(name)) for name in ("size", "pixels"))
    recodes = any(tells(files.get(name)) for name in ("format", "tables"))
    crops = has_boxes and tells(files.get("framing"))
    return ImageSettings(
        resize=SUGGESTED_SIDE if resizes else None,
        recode=SUGGESTED_CODING if recodes else None,
        crop="boxes" if crops else "none",
    )


def options_of(settings: Mapping[str, Any]) -> str:
    """Settings of images as options of `clare extract`; empty where nothing is prepared."""
    said = []
    if settings["crop"] != "none":
        said.append(f"--crop {settings['crop']}")
    if settings["resize"]:
        said.append(f"--resize {settings['resize']}")
    if settings["recode"]:
        said.append(f"--recode {settings['recode']}")
    return " ".join(said)


def remark(report: Mapping[str, Any]) -> list[str]:
    """One line for everything in an audit that deserves a look."""
    return [
        *_unusable(report["unusable"]),
        *_classes(report["counts"]),
        *_doubles(report["duplicates"]),
        *_shortcuts(report["shortcuts"], options_of(report["prepared"])),
    ]


def _unusable(reasons: Mapping[str, int]) -> Iterator[str]:
    if reasons:
        shown = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        yield f"left out, no usable image: {shown}"


def _classes(counts: list[dict[str, Any]]) -> Iterator[str]:
    for split in dict.fromkeys(row["split"] for row in counts):
        named = f"split {split}" if split else "rows without a split"
        images = {row["label"]: row["images"] for row in counts if row["split"] == split}
        real, fake = images.get(0, 0), images.get(1, 0)
        if not (real and fake):
            yield f"{named}: {real} real and {fake} fake images, one label alone"
        elif max(real, fake) >= SHARE * min(real, fake):
            yield (
                f"{named}: {real} real and {fake} fake images: accuracy and average precision "
                "mean little, look at AUC and balanced accuracy"
            )


def _doubles(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for kind, title in (("bytes", "equal bytes"), ("near", "nearly the same picture")):
        doubles = found[kind]
        named = f", for example {name_rows(doubles['examples'][:2])}" if doubles["examples"] else ""
        if doubles["across_splits"]:
            yield (
                f"{title} in two splits: {doubles['across_splits']} images{named}: "
                "what is tested was seen in training"
            )
        if doubles["across_labels"] and kind == "bytes":
            yield f"{title} under both labels: {doubles['across_labels']} images{named}"
        elif doubles["across_labels"]:
            yield (
                f"{title} under both labels: {doubles['across_labels']} images{named}: "
                "to be expected of swaps and edits of these very reals, a fault elsewhere"
            )


def _shortcuts(found: Mapping[str, Mapping[str, Figure | None]], options: str) -> Iterator[str]:
    for name, title in TITLES.items():
        before = found[name]["before"] if name in found else None
        if before is not None and tells(before):
            yield f"real and fake differ in {title}, AUC {_said(before)}: {_REMEDIES[name]}"
    left = [
        f"{TITLES[name]} {_said(after)}"
        for name in TITLES
        if name in found and (after := found[name]["after"]) is not None and tells(after)
    ]
    prepared = f"after {options}" if options else "without any preparation"
    if left:
        yield (
            f"left {prepared}: {', '.join(left)}; a detector has to beat these "
            "(`clare evaluate --baselines`)"
        )
    else:
        yield f"nothing of these separates the classes {prepared}"
    if "--recode" in options and any(tells(found[name]["before"]) for name in ("format", "tables")):
        yield (
            "an earlier compression stays in the pixels: --recode lays one and the same over all "
            "images, and undoes none"
        )


def _said(figure: Figure) -> str:
    if figure.low is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
