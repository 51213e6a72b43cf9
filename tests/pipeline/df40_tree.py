"""A small DF40 on disk: every layout and every defect that unpacked releases are known for."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from PIL import Image

Fate = Literal["row", "ignored", "unmatched"]

TRAIN = ("071_054", "087_081", "881_856", "187_234")
VAL = ("720_672", "939_115")
TEST = ("953_974", "012_026")
"""Pairs of FaceForensics++ as its official lists have them."""

SWAPPED_BOTH = ("simswap", "blendface", "MRAA", "danet", "facevid2vid")
CELEB = ("id0_id1_0000", "id13_id10_0005")
ROOTS = {"df40_test": "DF40", "df40_train": "DF40_train", "ffpp": "FF", "cdf2": "CDF"}


@dataclass
class Tree:
    """What was put where, and what has to become of it.

    Args:
        folder: parent of all roots.
        fates: by (root, path below it): a row, left out by design, or listed as unmatched.
    """

    folder: Path
    fates: dict[tuple[str, str], Fate] = field(default_factory=dict)

    @property
    def roots(self) -> dict[str, Path]:
        """Folder by root name."""
        return {name: self.folder / folder for name, folder in ROOTS.items()}

    @property
    def options(self) -> list[str]:
        """The roots as options of the command line."""
        return [part for name, at in self.roots.items() for part in ("--root", f"{name}={at}")]

    def having(self, fate: Fate) -> set[tuple[str, str]]:
        """The files of one fate."""
        return {key for key, found in self.fates.items() if found == fate}

    def put(
        self,
        root: str,
        path: str,
        fate: Fate = "row",
        *,
        data: bytes | None = None,
        size: int = 32,
        dark: bool = False,
    ) -> None:
        """Write one file; a picture that its path decides, unless data are given."""
        target = self.roots[root] / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(picture(f"{root}/{path}", size, dark) if data is None else data)
        self.fates[root, path] = fate

    def clip(self, root: str, folder: str, frames: int = 2, **look: object) -> None:
        """Frames as DeepfakeBench names them."""
        for number in range(frames):
            self.put(root, f"{folder}/{10 * number:03d}.png", **look)  # type: ignore[arg-type]


def picture(name: str, size: int, dark: bool) -> bytes:
    """Noise that the name decides, in the container that its suffix asks for."""
    noise = hashlib.shake_128(name.encode()).digest(size * size)
    image = Image.frombytes("L", (size, size), noise).point(lambda v: v // 2 + (0 if dark else 127))
    data = io.BytesIO()
    container = "PNG" if name.lower().endswith("png") else "JPEG"
    image.convert("RGB").save(data, container, quality=92)
    return data.getvalue()


def make_tree(folder: Path) -> Tree:
    """Write the tree; about 300 small files."""
    tree = Tree(folder)
    _put_clips(tree)
    _put_stills(tree)
    _put_methods_with_reals(tree)
    _put_edits(tree)
    _put_reals(tree)
    _put_clutter(tree)
    return tree


def _put_clips(tree: Tree) -> None:
    for method in SWAPPED_BOTH:
        for pair in TEST:
            tree.clip("df40_test", f"{method}/ff/frames/{pair}", dark=True)
        for video in CELEB:
            tree.clip("df40_test", f"{method}/cdf/frames/{video}", dark=True)
        for pair in (*TRAIN, *VAL):
            tree.clip("df40_train", f"{method}/frames/{pair}", dark=True)
    for video in ("953_974", "012_026"):
        for number in range(2):
            place = f"simswap/ff/landmarks/{video}/{10 * number:03d}.npy"
            tree.put("df40_test", place, "ignored", data=b"landmarks")
    # e4s: videos of all splits in the test release, and one of two splits at once.
    for pair in ("953_974", "071_054", "071_953"):
        tree.clip("df40_test", f"e4s/ff/frames/{pair}", dark=True)
    # Names that are no A_B, and one that names nobody.
    tree.clip("df40_test", "sadtalker/ff/frames/953_audio_7", dark=True)
    tree.clip("df40_test", "sadtalker/ff/frames/clip_b", dark=True)
    # Fewer frames than usual.
    tree.clip("df40_test", "fomm/ff/frames/953_974", 4, dark=True)
    tree.clip("df40_test", "fomm/ff/frames/012_026", 4, dark=True)
    tree.clip("df40_test", "fomm/ff/frames/000_003", 1, dark=True)
    # An archive inside the archive.
    tree.put("df40_test", "mobileswap/ff/frames.zip", "unmatched", data=b"PK")
    # The training archive of uniface has no folder of its own.
    tree.clip("df40_train", "frames/087_081", dark=True)
    # The same frame in both releases.
    copied = (tree.roots["df40_test"] / "simswap/ff/frames/953_974/000.png").read_bytes()
    tree.put("df40_train", "simswap/frames/953_974/000.png", data=copied)


def _put_stills(tree: Tree) -> None:
    names = {
        "pixart": "Celeb-real_{id}_045.png",
        "StyleGAN3": "seed0188.png",
        "VQGAN": "013158.png",
        "DiT": "sample-11287.png",
        "RDDM": "7.png",
        "sd2.1": "Celeb-real_{id}_045.png",
    }
    for method, name in names.items():
        at = "pixart/pixart" if method == "pixart" else method
        file = "00.png" if "{id}" in name else name
        for one in (identity for pair in TEST for identity in pair.split("_")):
            tree.put("df40_test", f"{at}/ff/{one}/{file}", size=48, dark=True)
        for one in (identity for pair in (*TRAIN, *VAL) for identity in pair.split("_")):
            tree.put("df40_train", f"{method}/{one}/{file}", size=48, dark=True)
        prefix = "" if method == "sd2.1" else "Fake_from_"
        tube = "YouTube-real" if method == "sd2.1" else "Youtube-real"
        file = name.format(id="id13_0011")
        tree.put("df40_test", f"{at}/cdf/{prefix}Celeb-real/id10_0001/{file}", size=48, dark=True)
        file = name.format(id="").replace("Celeb-real__", "YouTube-real_00208_")
        tree.put("df40_test", f"{at}/cdf/{prefix}{tube}/00170/{file}", size=48, dark=True)
    for empty in ("RDDM/ff/003", "RDDM/cdf/Fake_from_Celeb-real/id1_0000"):
        (tree.roots["df40_test"] / empty).mkdir(parents=True)
    tree.put("df40_test", "pixart/pixart/ff/953/broken.png", data=b"no picture")


def _put_methods_with_reals(tree: Tree) -> None:
    put = tree.put
    for side, dark in (("fake", True), ("real", False)):
        suffix = "_fake" if dark else ""
        for number in ("0000", "0001"):
            tree.clip(
                "df40_test", f"deepfacelab/deepfacelab/{side}/frames/{number}{suffix}", dark=dark
            )
        middle = "fake/frames" if dark else "real"
        tree.clip("df40_test", f"heygen/heygen/heygen_new/{middle}/speaker_1", dark=dark)
        prompt = f"13592447708_Clean_East_Asian_{side}_face_only_face_shown_close-up_3ad609fd-"
        put("df40_test", f"MidJourney/MidJourney/{side}/{prompt * 2}.png", dark=dark)
        name = "900.png" if dark else "00219.jpeg"
        put("df40_test", f"whichfaceisreal/whichfaceisreal/{side}/{name}", dark=dark)
        put("df40_test", f"stargan/{side}/{side}/000042.jpg", dark=dark)
        put("df40_test", f"starganv2/{side}/546.jpg", dark=dark)
        put("df40_test", f"styleclip/styleclip/{side}/1.jpg", dark=dark)
    put("df40_test", "MidJourney/MidJourney/fake/nothing.png", data=b"")
    put("df40_test", "starganv2/real/547.jpg", data=b"")
    put("df40_test", "CollabDiff/CollabDiff/fake/0001/5.png", dark=True)


def _put_edits(tree: Tree) -> None:
    for one in ("953", "071"):
        tree.put("df40_test", f"e4e/e4e/ff/{one}/00001.jpg", dark=True)
    tree.put("df40_test", "e4e/e4e/ff/953/latents.pt", "ignored", data=b"latents")
    for pool in ("Celeb-real", "Youtube-real"):
        tree.put("df40_test", f"e4e/e4e/cdf/{pool}/inversions/00001.jpg", dark=True)


def _put_reals(tree: Tree) -> None:
    original = "FaceForensics++/original_sequences/youtube/c23/frames"
    for pair in (*TRAIN, *VAL, *TEST):
        for one in pair.split("_"):
            tree.clip("ffpp", f"{original}/{one}")
    made = "FaceForensics++/manipulated_sequences"
    for pair in ("071_054", "720_672", "953_974"):
        tree.clip("ffpp", f"{made}/Deepfakes/c23/frames/{pair}", dark=True)
        tree.put("ffpp", f"{made}/Deepfakes/c23/masks/{pair}/000.png", "ignored")
        tree.clip("ffpp", f"{made}/NeuralTextures/c23/frames/{pair}", dark=True)
        tree.put("ffpp", f"{made}/NeuralTextures/masks/{pair}/000.png", "ignored")
    tree.put("ffpp", f"{made}/Deepfakes/c40/frames/071_054/000.png", "ignored")
    tree.put("ffpp", "FaceForensics++/original_sequences/actors/c23/frames/01/000.png", "ignored")
    for pool, videos in {
        "Celeb-real": ("id0_0000", "id1_0007"),
        "YouTube-real": ("00170", "00000"),
        "Celeb-synthesis": ("id0_id1_0000", "id1_id0_0007"),
    }.items():
        for video in videos:
            tree.clip("cdf2", f"Celeb-DF-v2/{pool}/frames/{video}", dark=pool == "Celeb-synthesis")


def _put_clutter(tree: Tree) -> None:
    put = tree.put
    put("df40_test", "__MACOSX/simswap/ff/frames/953_974/._000.png", "ignored", data=b"x")
    put("df40_test", "simswap/.DS_Store", "ignored", data=b"x")
    put("df40_test", "heygen/heygen/heygen_new/fake/speaker_1.mp4", "ignored", data=b"x")
    put("df40_test", "pixart.zip", "unmatched", data=b"PK")
    put("df40_test", "simswap/readme.txt", "unmatched", data=b"x")
    put("df40_test", "newmethod/ff/frames/953_974/000.png", "unmatched")
    put("df40_test", "pixart/pixart/ff/odd/0.png", "unmatched")
    put("df40_test", "stargan/fake/real/1.jpg", "unmatched")
