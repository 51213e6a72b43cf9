"""Faces as parameters: who is seen (an identity) and how (a shot), and the captions that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HAIR_COLOURS = ("black", "brown", "blond", "red", "grey")
HAIR_STYLES = ("no", "short", "curly", "long")
SKINS = ("pale", "light", "tan", "brown", "dark")
EYES = ("brown", "blue", "green", "grey")
BACKGROUNDS = ("grey", "red", "orange", "yellow", "green", "blue", "purple", "white")
LIGHTS = ("the left", "the front", "the right")
POSES = ("left", "ahead", "right")

FIRST_TRAINING_IDENTITY = 1_000_000
"""From here on people were seen by the models, or helped to make fakes; nobody below was."""

_IDENTITY = 15
_SHOT = 17

_BEGINNINGS = (
    "a photo of a face with",
    "a photo of a person with",
    "a face with",
    "a portrait of a person with",
    "a picture of a face with",
)


@dataclass(frozen=True)
class Faces:
    """N faces, a value of each array for each.

    Args:
        identity: who is seen, int64 (N,).
        traits: what a person keeps, uniform in 0 to 1, float64 (N, 15).
        circumstances: what a shot decides, uniform in 0 to 1, float64 (N, 17).
    """

    identity: np.ndarray
    traits: np.ndarray
    circumstances: np.ndarray

    def __len__(self) -> int:
        """How many faces these are."""
        return len(self.identity)

    @property
    def hair_style(self) -> np.ndarray:
        """Index into `HAIR_STYLES`, (N,)."""
        return np.searchsorted([0.08, 0.42, 0.62], self.traits[:, 0])

    @property
    def hair_colour(self) -> np.ndarray:
        """Index into `HAIR_COLOURS`, (N,)."""
        return (self.traits[:, 1] * len(HAIR_COLOURS)).astype(int)

    @property
    def skin(self) -> np.ndarray:
        """Index into `SKINS`, (N,)."""
        return (self.traits[:, 2] * len(SKINS)).astype(int)

    @property
    def eyes(self) -> np.ndarray:
        """Index into `EYES`, (N,)."""
        return (self.traits[:, 3] * len(EYES)).astype(int)

    @property
    def beard(self) -> np.ndarray:
        """Whether there is a beard, bool (N,)."""
        return (self.traits[:, 4] > 0.75) & (self.hair_style < 3)

    @property
    def glasses(self) -> np.ndarray:
        """Whether glasses are worn: some people often wear them, others never; bool (N,)."""
        return (self.traits[:, 5] > 0.55) & (self.circumstances[:, 0] > 0.3)

    @property
    def background(self) -> np.ndarray:
        """Index into `BACKGROUNDS`, (N,)."""
        return (self.circumstances[:, 1] * len(BACKGROUNDS)).astype(int)

    @property
    def light(self) -> np.ndarray:
        """Index into `LIGHTS`, (N,)."""
        return (self.circumstances[:, 2] * len(LIGHTS)).astype(int)

    @property
    def yaw(self) -> np.ndarray:
        """Turn of the head, -1 (to the left of the picture) to 1, (N,)."""
        return 2 * self.circumstances[:, 3] - 1

    @property
    def smile(self) -> np.ndarray:
        """From -0.5 (sad) to 1 (smiling), (N,)."""
        return 1.5 * self.circumstances[:, 4] - 0.5


def list_faces(identities: Sequence[int] | np.ndarray, shots: Sequence[int] | np.ndarray) -> Faces:
    """The faces of some people in some shots; the same ones for the same numbers.

    Args:
        identities: who, (N,), at least 0.
        shots: which picture of them, (N,), at least 0.
    """
    who = np.asarray(identities, np.int64)
    traits = {int(n): np.random.default_rng([1, n]).random(_IDENTITY) for n in np.unique(who)}
    pairs = zip(who.tolist(), np.asarray(shots).tolist(), strict=True)
    return Faces(
        identity=who,
        traits=np.array([traits[n] for n in who.tolist()]).reshape(-1, _IDENTITY),
        circumstances=np.array(
            [np.random.default_rng([2, n, shot]).random(_SHOT) for n, shot in pairs]
        ).reshape(-1, _SHOT),
    )


def write_captions(faces: Faces, seed: int = 0) -> list[str]:
    """What is seen, in words; each caption names some of it, as people do."""
    dice = np.random.default_rng([3, seed, len(faces)])
    pose = np.searchsorted([-0.4, 0.4], faces.yaw)
    captions = []
    for n in range(len(faces)):
        style = HAIR_STYLES[faces.hair_style[n]]
        hair = HAIR_COLOURS[faces.hair_colour[n]]
        looks = [
            "no hair" if style == "no" else f"{style} {hair} hair",
            f"{SKINS[faces.skin[n]]} skin",
            f"{EYES[faces.eyes[n]]} eyes",
            *(["a beard"] if faces.beard[n] else []),
            *(["glasses"] if faces.glasses[n] else []),
            *(["a smile"] if faces.smile[n] > 0.4 else []),
        ]
        scene = [
            f"looking {POSES[pose[n]]}",
            f"on a {BACKGROUNDS[faces.background[n]]} background",
            f"with light from {LIGHTS[faces.light[n]]}",
        ]
        if dice.random() < 0.15:
            captions.append("a photo of a face")
            continue
        kept = [words for words in looks if dice.random() < 0.75] or looks[:1]
        kept_scene = [words for words in scene if dice.random() < 0.6]
        beginning = _BEGINNINGS[dice.integers(len(_BEGINNINGS))]
        captions.append(f"{beginning} {' and '.join(kept)} {' '.join(kept_scene)}".strip())
    return captions
