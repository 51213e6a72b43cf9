"""Faces drawn as soft-edged shapes, all of a batch at once."""

from __future__ import annotations

import numpy as np

from clare.models.mini import SIZE
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.synthetic.faces import Faces

_SKIN = np.array([[246, 220, 204], [232, 190, 160], [203, 154, 114], [148, 98, 66], [92, 60, 42]])
_HAIR = np.array([[28, 24, 26], [92, 58, 36], [214, 178, 104], [164, 70, 32], [168, 166, 164]])
_IRIS = np.array([[82, 50, 28], [70, 118, 186], [74, 128, 78], [124, 132, 138]])
_BACK = np.array(
    [
        [128, 130, 134],
        [176, 58, 54],
        [220, 140, 60],
        [222, 202, 92],
        [84, 144, 82],
        [70, 108, 180],
        [128, 84, 156],
        [232, 230, 226],
    ]
)


_TURN = 0.16
"""How far a head that is turned wholly carries its face's middle to the side."""
_EYES, _NOSE, _MOUTH, _SMILE = -0.08, 0.16, 0.33, 1.6
"""Heights in the face, and how far a smile lifts the corners of the mouth."""


class _Canvas:
    """Colours (N, H, W, 3) that shapes are laid over; a pixel's edge is as wide as a pixel."""

    def __init__(self, count: int, size: int) -> None:
        axis = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
        self.u = np.broadcast_to(axis[None, None, :], (count, size, size))
        self.v = np.broadcast_to(axis[None, :, None], (count, size, size))
        self.pixel = 2 / size
        self.colour = np.zeros((count, size, size, 3), np.float32)

    def lay(self, distance: np.ndarray, colour: np.ndarray, strength: np.ndarray | float) -> None:
        """Lay a colour (N, 3) or (N, H, W, 3) where a signed distance (N, H, W) is negative."""
        cover = np.clip(0.5 - distance / self.pixel, 0, 1) * _wide(strength, distance)
        colour = colour[:, None, None, :] if colour.ndim == 2 else colour
        self.colour += cover[..., None] * (colour - self.colour)


def paint(faces: Faces, size: int = SIZE) -> np.ndarray:
    """Pictures without noise, uint8 (N, size, size, 3)."""
    blocks = [_paint(_part(faces, start), size) for start in range(0, len(faces), 512)]
    return np.concatenate(blocks) if blocks else np.zeros((0, size, size, 3), np.uint8)


def locate(faces: Faces, size: int = SIZE) -> list[FaceMarks]:
    """Where each face is in its picture: the head's box, and eyes, nose and corners of the mouth.

    Args:
        faces: N of them.
        size: side of the pictures in pixels.
    """
    if not len(faces):
        return []
    trait, shot = faces.traits.T, faces.circumstances.T
    roll, scale, sideways, upright = _pose(shot)
    cos, sin = np.cos(roll) / scale, np.sin(roll) / scale
    middle, apart, wide = _TURN * faces.yaw, _eyes_apart(trait), _mouth_width(trait)
    corner = _MOUTH - _SMILE * faces.smile * wide**2
    level = np.ones_like(middle)
    x = np.stack([middle - apart, middle + apart, middle, middle - wide, middle + wide], 1)
    y = np.stack([_EYES * level, _EYES * level, _NOSE * level, corner, corner], 1)
    u = cos[:, None] * x - sin[:, None] * y + sideways[:, None]
    v = sin[:, None] * x + cos[:, None] * y + upright[:, None]
    points = (np.stack([u, v], 2) + 1) * size / 2 - 0.5
    width, height = _head(trait)
    reach = np.stack([np.hypot(width * cos, height * sin), np.hypot(width * sin, height * cos)], 1)
    at = np.stack([sideways, upright], 1)
    ends = np.clip((np.concatenate([at - reach, at + reach], 1) + 1) * size / 2, 0, size)
    return [
        FaceMarks(boxes=_written(box), points=_written(five))
        for box, five in zip(ends, points, strict=True)
    ]


def _part(faces: Faces, start: int) -> Faces:
    end = start + 512
    return Faces(faces.identity[start:end], faces.traits[start:end], faces.circumstances[start:end])


def _paint(faces: Faces, size: int) -> np.ndarray:
    canvas = _Canvas(len(faces), size)
    trait, shot = faces.traits.T.astype(np.float32), faces.circumstances.T.astype(np.float32)
    skin = _tinted(_SKIN[faces.skin], trait[6], trait[7], 14)
    hair = _tinted(_HAIR[faces.hair_colour], trait[8], trait[9], 12)
    _background(canvas, faces, shot)

    x, y = _head_frame(canvas, shot)
    turn = _wide(faces.yaw.astype(np.float32), x)
    width, height = (_wide(half, x) for half in _head(trait))
    long, curly = faces.hair_style == 3, faces.hair_style == 2
    bald = faces.hair_style == 0

    ripple = _wide(curly * 0.05, x) * np.sin(9 * np.arctan2(y, x) + 6 * _wide(trait[12], x))
    behind = _oval(x, y + 0.05, width * 1.16, height * 1.12) + ripple
    mane = np.maximum(np.abs(x) - width * 1.12, np.abs(y - 0.25) - height * 0.95)
    canvas.lay(np.minimum(behind, mane), hair * 0.82, long * 1.0)
    _body(canvas, x, y, skin, shot)
    canvas.lay(_oval(np.abs(x) - width, y - 0.02, 0.07, 0.12), skin * 0.9, ~long * 1.0)
    lit = _light(faces, x, y, width, height, shot)
    canvas.lay(_oval(x, y, width, height), np.clip(skin[:, None, None, :] * lit, 0, 255), 1.0)
    line = y + height * _wide(0.42 + 0.2 * trait[13], x) + 0.5 * (x - 0.12 * turn) ** 2
    crown = np.maximum(behind, line)
    canvas.lay(crown, np.clip(hair[:, None, None, :] * lit**1.3, 0, 255), ~bald * 1.0)
    _features(canvas, faces, x - _TURN * turn, y, width, height, skin, hair, trait)
    return np.clip(canvas.colour + 0.5, 0, 255).astype(np.uint8)


def _head_frame(canvas: _Canvas, shot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (N, H, W) in which the head is upright, at the origin and of unit scale."""
    roll, scale, sideways, upright = _pose(shot)
    u, v = canvas.u - _wide(sideways, canvas.u), canvas.v - _wide(upright, canvas.u)
    cos, sin = _wide(np.cos(roll) * scale, u), _wide(np.sin(roll) * scale, u)
    return cos * u + sin * v, cos * v - sin * u


def _pose(shot: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Roll in radians, how much smaller the head is than the picture, and where its middle is."""
    roll, scale = 0.3 * (shot[5] - 0.5), 0.78 + 0.24 * shot[8]
    return roll, scale, 0.2 * (shot[6] - 0.5), 0.02 + 0.14 * (shot[7] - 0.5)


def _head(trait: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half of a head's width, and of its height."""
    return 0.40 + 0.10 * trait[10], 0.54 + 0.08 * trait[11]


def _eyes_apart(trait: np.ndarray) -> np.ndarray:
    return 0.17 + 0.05 * trait[14]


def _mouth_width(trait: np.ndarray) -> np.ndarray:
    return 0.14 + 0.06 * trait[13]


def _background(canvas: _Canvas, faces: Faces, shot: np.ndarray) -> None:
    base = _tinted(_BACK[faces.background], shot[9], shot[10], 20)
    angle = 2 * np.pi * shot[11]
    slope = _wide(np.cos(angle), canvas.u) * canvas.u + _wide(np.sin(angle), canvas.u) * canvas.v
    shade = 1 + _wide(0.45 * (shot[12] - 0.2), canvas.u) * slope
    canvas.colour[:] = np.clip(base[:, None, None, :] * shade[..., None], 0, 255)


def _body(
    canvas: _Canvas, x: np.ndarray, y: np.ndarray, skin: np.ndarray, shot: np.ndarray
) -> None:
    neck = np.maximum(np.abs(x) - 0.19, np.abs(y - 0.6) - 0.3)
    canvas.lay(neck, skin * 0.8, 1.0)
    cloth = np.stack([shot[13], shot[14], shot[15]], 1) * 190 + 25
    canvas.lay(_oval(x, y - 1.35, 0.95, 0.62), cloth, 1.0)


def _light(
    faces: Faces,
    x: np.ndarray,
    y: np.ndarray,
    width: np.ndarray,
    height: np.ndarray,
    shot: np.ndarray,
) -> np.ndarray:
    """Brightness (N, H, W, 1) of a rounded head lit from a side."""
    from_x = _wide((faces.light - 1) * (0.22 + 0.16 * shot[16]), x)
    fall = 1 - 0.16 * ((x / width) ** 2 + (y / height) ** 2)
    return np.clip(fall + from_x * x / width - 0.08 * y / height, 0.3, 1.35)[..., None]


def _features(
    canvas: _Canvas,
    faces: Faces,
    x: np.ndarray,
    y: np.ndarray,
    width: np.ndarray,
    height: np.ndarray,
    skin: np.ndarray,
    hair: np.ndarray,
    trait: np.ndarray,
) -> None:
    """Beard, eyes, brows, nose, mouth and glasses, about the face's turned middle."""
    beard = np.maximum(_oval(x, y, width * 0.98, height * 0.98), 0.2 - y + 0.35 * np.abs(x))
    canvas.lay(beard, hair * 0.9, faces.beard * 0.8)
    apart, large = _wide(_eyes_apart(trait), x), _wide(0.075 + 0.02 * trait[12], x)
    eye_x, eye_y = np.abs(x) - apart, y - _EYES
    white = np.full((len(faces), 3), 238.0, np.float32)
    iris = _IRIS[faces.eyes].astype(np.float32)
    canvas.lay(_oval(eye_x, eye_y, large * 1.2, large * 0.75), white, 1.0)
    canvas.lay(_oval(eye_x, eye_y, large * 0.62, large * 0.68), iris, 1.0)
    canvas.lay(_oval(eye_x, eye_y, large * 0.25, large * 0.3), iris * 0.15, 1.0)
    canvas.lay(_oval(eye_x, eye_y + 0.15, large * 1.5, 0.025), hair * 0.7, 0.85)
    nose = np.maximum(np.abs(x) - 0.03 - 0.12 * np.maximum(y, 0), np.abs(y - 0.08) - 0.12)
    canvas.lay(nose, skin * 0.78, 0.8)
    smile = _wide(faces.smile.astype(np.float32), x)
    wide = _wide(_mouth_width(trait), x)
    mouth = _oval(x, y - _MOUTH + _SMILE * smile * x**2, wide, 0.035 + 0.02 * smile)
    lips = np.clip(skin * np.array([0.85, 0.5, 0.52]) + np.array([12, 0, 4]), 0, 255)
    canvas.lay(mouth, lips, 1.0)
    rim = np.abs(_oval(eye_x, eye_y, large * 2, large * 1.7)) - 0.018
    bridge = np.maximum(np.abs(x) - apart + large * 2, np.abs(eye_y) - 0.018)
    frame = np.full((len(faces), 3), 30.0, np.float32)
    canvas.lay(np.minimum(rim, bridge), frame, faces.glasses * 0.95)


def _oval(
    x: np.ndarray, y: np.ndarray, across: np.ndarray | float, down: np.ndarray | float
) -> np.ndarray:
    """About the signed distance to an ellipse with these half axes."""
    radius = np.sqrt((x / across) ** 2 + (y / down) ** 2)
    return (radius - 1) * np.minimum(across, down)


def _tinted(base: np.ndarray, bright: np.ndarray, warm: np.ndarray, by: float) -> np.ndarray:
    """Colours (N, 3) moved a little in brightness and warmth."""
    shift = (bright - 0.5)[:, None] * np.ones(3) + (warm - 0.5)[:, None] * np.array([0.6, 0, -0.6])
    return np.clip(base + 2 * by * shift, 5, 250).astype(np.float32)


def _wide(values: np.ndarray | float, like: np.ndarray) -> np.ndarray:
    """Values (N,) so that they meet arrays (N, H, W)."""
    values = np.asarray(values, np.float32)
    return values[:, None, None] if values.ndim == 1 else np.broadcast_to(values, like.shape)


def _written(numbers: np.ndarray) -> str:
    return " ".join(f"{number:.2f}" for number in np.ravel(numbers))
