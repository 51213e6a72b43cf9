"""One image of a subset and what is known of it: a row of a manifest."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from clare.augmentation.deliveries import Delivery
from clare.columns import MaskFake
from clare.groups import Group, cluster_of, groups_of, ties_of
from clare.pipeline.images.marks import FaceMarks


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a manifest: an image and what is known of it. Empty text means "not known".

    Args:
        sample_id: stable name, unique in its subset; features, scores and errors join on it.
        path: POSIX path below a root; never absolute.
        label: 0 real, 1 fake.
        subset: name of the manifest that holds the row.
        root: which root ``path`` starts at; empty for the default one.
        category: kind of generation, for example FS, FR, EFS, FE or real.
        domain: the data that the image was made from, for example ff or cdf.
        split: train, val, test, or empty while none is assigned.
        official_split: the split that the data's authors gave.
        video_id: the video that a frame belongs to.
        frame_idx: number of the frame in its video.
        source_ids: identities in the image, several joined by ``|``.
        pair_id: the real image or clip that a fake was made from; of that real itself, if it says
            so, the same.
        pair_kind: how the members of a pair were made to lie on each other, pixel by pixel: vae,
            inpaint, sbi, blend, or a word of one's own.
        delivery: what was done to the image on its way, by name; empty for the image itself.
        delivery_steps: of which steps that is made; see `clare.augmentation.deliveries`.
        parent_id: of a delivery, the ``sample_id`` of the image itself.
        parent_subset: of a delivery, the subset of the image itself.
        created: when the image was made, a date or a range of dates; see `clare.dates`.
        compression: for example c23.
        width: pixels, as the file's header states, before any EXIF rotation.
        height: pixels, likewise.
        format: container in lower case, for example jpeg.
        bytes: size of the file.
        sha256: of the file's bytes, hexadecimal.
        mask_path: mask of the manipulated region, below the same root.
        mask_fake: what of the mask is fake, white or black; white where it is empty.
        landmark_path: landmarks, below the same root.
        boxes: face box ``x0 y0 x1 y1`` in pixels of the upright image.
        face_points: ``x y`` of both eyes, the nose and both corners of the mouth, likewise.
        face_detector: that found box and points.
        face_confidence: of the detector.
        face_turn: degrees by which the face is turned clockwise: 0, 90, 180 or 270.
        face_count: faces that were found in the image.
        no_face: why no face was found.
        face_crop: how the face was cropped, free text.
        status: ok, missing, empty, corrupt or duplicate.
        extra: the columns that CLaRE does not know, passed on as they are.
    """

    sample_id: str
    path: str
    label: int
    subset: str
    root: str = ""
    category: str = ""
    domain: str = ""
    split: str = ""
    official_split: str = ""
    video_id: str = ""
    frame_idx: int | None = None
    source_ids: str = ""
    pair_id: str = ""
    pair_kind: str = ""
    delivery: str = ""
    delivery_steps: str = ""
    parent_id: str = ""
    parent_subset: str = ""
    created: str = ""
    compression: str = ""
    width: int | None = None
    height: int | None = None
    format: str = ""
    bytes: int | None = None
    sha256: str = ""
    mask_path: str = ""
    mask_fake: str = ""
    landmark_path: str = ""
    boxes: str = ""
    face_points: str = ""
    face_detector: str = ""
    face_confidence: float | None = None
    face_turn: int | None = None
    face_count: int | None = None
    no_face: str = ""
    face_crop: str = ""
    status: str = "ok"
    extra: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def fake_in_mask(self) -> MaskFake:
        """What of its mask is fake."""
        return "black" if self.mask_fake == "black" else "white"

    @property
    def face(self) -> FaceMarks:
        """Where its face is."""
        return FaceMarks(self.boxes, self.face_points, self.face_detector, self.no_face)

    @property
    def delivered(self) -> Delivery | None:
        """What is done to its image before anything else; None where nothing is.

        Raises:
            InputError: its steps are none.
        """
        return Delivery.of(self.delivery, self.delivery_steps) if self.delivery else None

    @property
    def groups(self) -> list[Group]:
        """What it shares with images of its own split alone; see `clare.groups`."""
        return [*groups_of(self._grouping(), self.sha256), ("image", f"{self.root}/{self.path}")]

    @property
    def ties(self) -> list[Group]:
        """`groups`, and of a real its own name; see `clare.groups.ties_of`."""
        return [
            *ties_of(self._grouping(), self.sample_id, self.sha256),
            ("image", f"{self.root}/{self.path}"),
        ]

    @property
    def cluster(self) -> str:
        """What a bootstrap draws with it; see `clare.groups`."""
        return cluster_of(self._grouping(), self.sample_id)

    @property
    def facts(self) -> dict[str, Any]:
        """The columns that `clare.file_facts` reads."""
        names = ("format", "width", "height", "bytes", "domain", "boxes")
        return {name: getattr(self, name) for name in names}

    def _grouping(self) -> dict[str, Any]:
        names = ("subset", "video_id", "domain", "source_ids", "pair_id", "pair_kind")
        more = ("label", "parent_id", "parent_subset")
        return {name: getattr(self, name) for name in (*names, *more)}


@dataclass(frozen=True)
class Manifest:
    """The samples of one subset.

    Args:
        name: the subset's name; the name of its file.
        samples: rows in the file's order.
    """

    name: str
    samples: tuple[Sample, ...]


COLUMNS = tuple(f.name for f in fields(Sample) if f.name != "extra")
REQUIRED = ("sample_id", "path", "label", "subset")
