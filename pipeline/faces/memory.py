"""What was found in which file, kept beside the manifest: a run that was killed goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from clare.errors import InputError
from clare.files import storage_errors, write_durably
from clare.foreign import RECORD, read_bytes, reading
from clare.pipeline.faces.face import Face
from clare.store.records import seal, unseal

VERSION = 2
"""Raised by hand when the same settings find other faces."""

Key = tuple[str, int, int]
"""A file as it was: its absolute path, bytes, and time of modification in nanoseconds."""


@dataclass(frozen=True)
class Finding:
    """What was found in an image.

    Args:
        faces: all of them.
        size: width and height of the upright image; (0, 0) where it could not be decoded.
        reason: why it could not be decoded; empty where it could.
    """

    faces: tuple[Face, ...] = ()
    size: tuple[int, int] = (0, 0)
    reason: str = ""


class Memory:
    """Findings by file, in a text that grows by a line each.

    Each line says which settings found it, so that those of others stay for whoever goes back to
    them. The file is not touched before something is found; a line that a crash cut off goes then.

    Args:
        path: of the file; beside the manifest.
        finding: what decides which faces are found, as plain values.

    Raises:
        InputError: the file can't be read.
    """

    def __init__(self, path: Path, finding: Mapping[str, Any]) -> None:
        self.path = path
        self._settings = {"version": VERSION, **finding}
        self._known: dict[Key, Finding] = {}
        self._file: FileIO | None = None
        lines, good = self._lines(), []
        for line in lines:
            try:
                record = unseal(line)
                if record["by"]["version"] != VERSION:
                    continue
                key, found = _read(record)
            except (ValueError, KeyError, TypeError):
                continue
            good.append(line)
            if record["by"] == self._settings:
                self._known[key] = found
        self._mended = None if good == lines else b"".join(good)

    def __len__(self) -> int:
        """How many files are known."""
        return len(self._known)

    def get(self, key: Key) -> Finding | None:
        """What was found in a file; None where it is not known, or is another now."""
        return self._known.get(key)

    def add(self, key: Key, found: Finding) -> None:
        """Keep what was found in a file; it outlives this process at once.

        Raises:
            StoreError: the file can't be written.
        """
        self._known[key] = found
        path = self.path
        with storage_errors(path):
            if self._file is None:
                if self._mended is not None:
                    write_durably(path, self._mended)
                self._file = path.open("ab", buffering=0)
            self._file.write(seal({"by": self._settings, **_written(key, found)}))

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _lines(self) -> list[bytes]:
        if not self.path.exists():
            return []
        with reading(self.path, "a list of faces", InputError):
            return read_bytes(self.path, RECORD).splitlines(keepends=True)


def _written(key: Key, found: Finding) -> dict[str, Any]:
    faces = [
        {
            "box": one.box.round(2).tolist(),
            "points": one.points.round(2).ravel().tolist(),
            "confidence": round(one.confidence, 4),
            "turn": one.turn,
        }
        for one in found.faces
    ]
    return {"file": list(key), "size": list(found.size), "faces": faces, "reason": found.reason}


def _read(record: Mapping[str, Any]) -> tuple[Key, Finding]:
    path, size, time = record["file"]
    faces = tuple(
        Face(
            np.array(one["box"], np.float64).reshape(4),
            np.array(one["points"], np.float64).reshape(5, 2),
            float(one["confidence"]),
            int(one["turn"]),
        )
        for one in record["faces"]
    )
    width, height = map(int, record["size"])
    key = str(path), int(size), int(time)
    return key, Finding(faces, (width, height), str(record["reason"]))
