"""What an audit found, and what its figures mean: sentences, and the preparation they ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from clare.advice import Notice, Run, Set
from clare.bootstrap import Figure
from clare.file_facts import FACTS, FORMAT, TABLES
from clare.pipeline.checks.duplicates import Doubles
from clare.pipeline.images.settings import ImageSettings
from clare.typed_json import to_json
from clare.wording import counted, listed, name_rows

TELLS = 0.6
"""AUC from which on a fact counts as a shortcut, if its interval lies above one half."""

SHARE = 10
"""Images of one label for each of the other, from which on a notice is made."""


@dataclass(frozen=True)
class Count:
    """What there is of one split and label.

    Args:
        split: empty where rows have none.
        label: 0 real, 1 fake.
        images: rows with a usable file.
        videos: that they are frames of.
        identities: that they show.
    """

    split: str
    label: int
    images: int
    videos: int
    identities: int


@dataclass(frozen=True)
class Shortcut:
    """The AUC of one fact of `clare.file_facts` alone.

    Args:
        before: of the images as they are.
        after: of the images as they would be prepared.
        in_pairs: share of fakes whose value is above that of the real that they lie on, a tie being
            a half, of the images as they are; None without such pairs, and of facts without order.
    """

    before: Figure
    after: Figure
    in_pairs: Figure | None = None


@dataclass(frozen=True)
class Audit:
    """What separates the labels of some manifests without a look at a face.

    Args:
        subsets: that were compared, taken together.
        counts: by split and label.
        unusable: files without a usable image, by reason.
        shortcuts: by fact.
        prepared: how images would be prepared.
        asked: whether that was asked for, or follows from the shortcuts.
        decoded: images whose pixels were measured.
        images: all images.
        side: pixels that they were squashed to.
        duplicates: images that stand twice: with equal ``bytes``, or ``near``.
    """

    subsets: tuple[str, ...]
    counts: tuple[Count, ...]
    unusable: Mapping[str, int]
    shortcuts: Mapping[str, Shortcut]
    prepared: ImageSettings
    asked: bool
    decoded: int
    images: int
    side: int
    duplicates: Mapping[Literal["bytes", "near"], Doubles]

    @property
    def notices(self) -> list[Notice]:
        """One for everything that deserves a look."""
        return [
            *_unusable(self.unusable),
            *_classes(self.counts),
            *_doubles(self.duplicates),
            *_shortcuts(self.shortcuts, self.prepared.to_json()),
        ]

    def to_json(self, say: Callable[[Notice], str] = str) -> dict[str, Any]:
        """All of it as plain JSON, the notices as sentences that ``say`` words."""
        return {
            "subsets": list(self.subsets),
            "counts": [asdict(one) for one in self.counts],
            "unusable": dict(self.unusable),
            "shortcuts": to_json(self.shortcuts),
            "prepared": {**self.prepared.to_json(), "asked": self.asked},
            "pixels": {"images": self.decoded, "of": self.images, "side": self.side},
            "duplicates": to_json(self.duplicates),
            "remarks": [say(notice) for notice in self.notices],
        }


def tells(figure: Figure | None) -> bool:
    """Whether a fact alone separates the labels by more than chance."""
    if figure is None or figure.value is None or figure.value < TELLS:
        return False
    return figure.low is None or figure.low > 0.5


def suggest(files: Mapping[str, Figure]) -> ImageSettings:
    """The preparation that removes the shortcuts found; none where there are none.

    Args:
        files: the AUC of each fact of the files.
    """
    removing = [fact.advice for name, fact in FACTS.items() if tells(files.get(name))]
    return ImageSettings(**{one.name: one.value for one in removing if isinstance(one, Set)})


def describe_preparation(images: Mapping[str, Any]) -> str:
    """Settings of images in words; empty where nothing is prepared."""
    named = {name: images.get(name) for name in ("align", "crop", "resize", "recode")}
    done = [f"{name} {value}" for name, value in named.items() if value not in (None, "none")]
    return listed(done) if done else ""


def _unusable(reasons: Mapping[str, int]) -> Iterator[Notice]:
    if reasons:
        shown = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        yield Notice(f"left out, no usable image: {shown}")


def _classes(counts: Sequence[Count]) -> Iterator[Notice]:
    for split in dict.fromkeys(row.split for row in counts):
        named = f"split {split}" if split else "rows without a split"
        images = {row.label: row.images for row in counts if row.split == split}
        real, fake = images.get(0, 0), images.get(1, 0)
        if not (real and fake):
            yield Notice(f"{named}: {real} real and {fake} fake images, one label alone")
        elif max(real, fake) >= SHARE * min(real, fake):
            yield Notice(
                f"{named}: {real} real and {fake} fake images: accuracy and average precision mean "
                "little",
                "look at AUC and balanced accuracy",
            )


def _doubles(found: Mapping[Literal["bytes", "near"], Doubles]) -> Iterator[Notice]:
    titles = {"bytes": "equal bytes", "near": "nearly the same picture"}
    for kind, doubles in found.items():
        title = titles[kind]
        example = f", for example {name_rows(doubles.examples[:2])}" if doubles.examples else ""
        if doubles.splits:
            yield Notice(
                f"{title} in two splits: {len(doubles.splits)} images{example}: what is tested was "
                "seen in training"
            )
        if doubles.labels:
            expected = "to be expected of swaps and edits of these very reals, a fault elsewhere"
            told = f"{title} under both labels: {len(doubles.labels)} images{example}"
            yield Notice(told if kind == "bytes" else f"{told}: {expected}")


def _shortcuts(found: Mapping[str, Shortcut], images: Mapping[str, Any]) -> Iterator[Notice]:
    known = {name: found[name] for name in FACTS if name in found}
    for name, one in known.items():
        if tells(one.before):
            title, auc = FACTS[name].title, _said(one.before)
            yield Notice(f"real and fake differ in {title}, AUC {auc}", FACTS[name].advice)
    for name, one in known.items():
        if one.in_pairs is not None and (leaning := _leaning(one.in_pairs)):
            yield Notice(
                f"{leaning} {FACTS[name].title} than the real that they lie on: what is trained on "
                "pairs may learn that"
            )
    left = [
        f"{FACTS[name].title} {_said(one.after)}" for name, one in known.items() if tells(one.after)
    ]
    prepared = describe_preparation(images)
    when = f"after {prepared}" if prepared else "without any preparation"
    if left:
        yield Notice(
            f"left {when}: {', '.join(left)}; a detector has to beat these",
            Run("evaluate", settings={"baselines": True}, effect="measures them beside it"),
        )
    else:
        yield Notice(f"nothing of these separates the classes {when}")
    if images["recode"] and any(tells(found[fact.name].before) for fact in (FORMAT, TABLES)):
        yield Notice(
            "an earlier compression stays in the pixels: coding images anew lays one and the same "
            "over all of them, and undoes none"
        )


def _leaning(share: Figure) -> str:
    """That fakes are higher, or lower, in a fact than their own reals; empty where neither."""
    if share.value is None or share.low is None or share.high is None:
        return ""
    side, value, low, high = "higher", share.value, share.low, share.high
    if value < 0.5:
        side, value, low, high = "lower", 1 - value, 1 - high, 1 - low
    if value < TELLS or low <= 0.5:
        return ""
    told = f"{100 * value:.0f} % ({100 * low:.0f} to {100 * high:.0f})"
    return f"of {counted(share.n, 'fake')}, {told} are {side} in"


def _said(figure: Figure) -> str:
    if figure.low is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
