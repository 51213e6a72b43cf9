"""Verdicts as rows of a file that grows while they are given, and is gone on with after a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from clare.advice import Name
from clare.errors import InputError
from clare.files import remove_durably
from clare.inference.stability import Labels
from clare.inference.verdict import Level, Verdict
from clare.parquet import SUFFIX, read_rows, require_parquet, write_rows
from clare.row_file import LINES, RowFile
from clare.wording import counted

if TYPE_CHECKING:
    from clare.inference.predictor import Predictor
    from clare.inference.redelivery import Redelivery

ENDINGS = (".csv", LINES, SUFFIX)
"""What a file of scores may end with."""

_DIGITS = 12
"""Of a detector's sha256 that a row has."""


@dataclass(frozen=True)
class Score:
    """A row: what a run says of an image, and what that hangs on, wherever the file goes.

    Args:
        path: the file.
        level: what it is of: an image, a frame of a video, or the whole video, below its frames.
        frame: of a frame, its place in the video, from 0.
        seconds: of a frame, since the first one.
        frames: of a video, how many were judged.
        score: p(fake); of a video the mean of its frames'.
        margin: logit of fake less logit of real; of a localiser the score of its map.
        verdict: fake from the threshold on; unsure where it does not survive delivery, if that was
            asked for; None where the image could not be judged.
        failure: why it could not; empty where it could.
        fake_area: of a localiser, the share of the pixels above 0.5.
        seen: whether the run was trained or chosen on this very file; None where nobody can tell.
        faces: how many faces the image has; None where none was looked for.
        deliveries: of the image, how many were judged; None where none was asked for.
        agree: share of them whose verdict is that on the image itself.
        score_low: the lowest p(fake) of them.
        score_high: the highest.
        labels: the image's conformal set: real, fake, both or neither; None where that was not
            asked for, or the run has no scores of validation.
        threshold: margin from which on the verdict is fake.
        run: folder of the run.
        detector: beginning of the sha256 of its parameters.
        settings: what else decides a score.
        remarks: what there is to know before a verdict is trusted.
    """

    path: str
    level: Level = "image"
    frame: int | None = None
    seconds: float | None = None
    frames: int | None = None
    score: float | None = None
    margin: float | None = None
    verdict: Literal["real", "fake", "unsure"] | None = None
    failure: str = ""
    fake_area: float | None = None
    seen: bool | None = None
    faces: int | None = None
    deliveries: int | None = None
    agree: float | None = None
    score_low: float | None = None
    score_high: float | None = None
    labels: Labels | None = None
    threshold: float = 0.0
    run: str = ""
    detector: str = ""
    settings: str = ""
    remarks: str = ""


@dataclass(frozen=True)
class Basis:
    """What every score of a command hangs on: the columns of `Score` that are equal in all rows.

    Args:
        run: folder of the run.
        detector: beginning of the sha256 of its parameters.
        threshold: margin from which on a verdict is fake.
        settings: what else decides a score.
        remarks: what there is to know of the run, a sentence each.
    """

    run: str
    detector: str
    threshold: float
    settings: str
    remarks: tuple[str, ...]

    @classmethod
    def of(
        cls,
        predictor: Predictor,
        remarks: Sequence[str],
        frames: int,
        again: Redelivery | None = None,
    ) -> Basis:
        """That of a predictor that is given so many frames of a video.

        Args:
            predictor: that judges.
            remarks: see the class.
            frames: of each video at most.
            again: how each image is delivered and judged again, if it is.
        """
        from clare.heads.runs.record import BEST
        from clare.models.hub import file_sha256

        run = predictor.run
        sha256 = run.validation.sha256 or file_sha256(run.path / BEST)
        settings = f"{predictor.runtime.dtype}, {counted(frames, 'frame')} a video"
        if predictor.preparation:
            settings = f"{settings}, {predictor.preparation}"
        if again is not None:
            settings = f"{settings}, {again}"
        return cls(_text(run.path), sha256[:_DIGITS], run.threshold, settings, tuple(remarks))

    def row(self, verdict: Verdict) -> Score:
        """A verdict with what it hangs on."""
        stable = verdict.stability
        low, high = (None if stable is None else stable.spread) or (None, None)
        return Score(
            path=_text(verdict.path),
            level=verdict.level,
            frame=verdict.frame,
            seconds=verdict.seconds,
            frames=_judged(verdict),
            score=verdict.p_fake,
            margin=verdict.margin,
            verdict=verdict.outcome,
            failure=verdict.failure,
            fake_area=verdict.fake_area,
            seen=verdict.seen,
            faces=verdict.faces,
            deliveries=None if stable is None else stable.judged,
            agree=None if stable is None else stable.agree,
            score_low=low,
            score_high=high,
            labels=None if stable is None else stable.labels,
            threshold=self.threshold,
            run=self.run,
            detector=self.detector,
            settings=self.settings,
            remarks="; ".join([*self.remarks, *verdict.remarks]),
        )

    def refuse_others(self, row: Score, path: Path) -> None:
        """Refuse to mix scores of two runs, or of two settings, in one file.

        Raises:
            InputError: the row is not of this run and these settings.
        """
        if (row.detector, row.threshold) != (self.detector, self.threshold):
            kept = f"{path} holds scores of another run, {row.run} ({row.detector})"
        elif row.settings != self.settings:
            kept = f"{path} holds scores of other settings: {row.settings}, not {self.settings}"
        else:
            return
        raise InputError(kept, Name("another file", "out"))


class ScoreFile:
    """A file of scores that is gone on with; a context, at whose good end the file is whole.

    A CSV or a file of JSON Lines grows as verdicts come. Parquet can't: its rows are kept as JSON
    Lines beside it until the end.

    Args:
        path: it ends with one of `ENDINGS`.
        basis: of all its rows.

    Attributes:
        verdicts: how many rows there are of images and videos, by verdict; None of failed ones.

    Raises:
        InputError: on entry, the file holds something else, or scores of another run or of other
            settings, or another process writes it.
    """

    def __init__(self, path: Path, basis: Basis) -> None:
        self.path, self._basis = path, basis
        self._packed = path.suffix == SUFFIX
        growing = path.with_name(f"{path.name}.rows{LINES}") if self._packed else path
        self._rows = RowFile(growing, Score, lambda row: row.level != "frame")
        self._waiting: list[Score] = []
        self._judged: set[str] = set()
        self.verdicts: Counter[str | None] = Counter()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.enter_context(self._rows)
            for row in self._rows.rows():
                self._note(row)
            if self._packed and not self._judged and self.path.exists():
                for row in read_rows(self.path, Score):
                    self._note(row)
                    self._rows.add([row])
            self._opened = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._opened:
            if self._packed and kind is None:
                write_rows(self.path, Score, self._rows.rows())
                remove_durably(self._rows.path)

    def holds(self, path: Path) -> bool:
        """Whether a file was judged before."""
        return _text(path) in self._judged

    def add(self, verdict: Verdict) -> None:
        """Write a verdict; those on the frames of a video are written with that on the video.

        Raises:
            DiskSpaceError: the disk is full; what was written before is kept.
        """
        row = self._basis.row(verdict)
        self._waiting.append(row)
        if row.level != "frame":
            self._rows.add(self._waiting)
            self._waiting = []
            self.verdicts[row.verdict] += 1

    def _note(self, row: Score) -> None:
        self._basis.refuse_others(row, self.path)
        if row.level != "frame":
            self._judged.add(row.path)
            self.verdicts[row.verdict] += 1


def _judged(verdict: Verdict) -> int | None:
    """How many frames a video's verdict is made of."""
    if verdict.level != "video":
        return None
    return sum(one.margin is not None for one in verdict.frames)


def require_format(path: Path) -> None:
    """See that scores can be written in the format that a file's ending names.

    Raises:
        InputError: there is no such format, or its package is not installed.
    """
    if path.suffix not in ENDINGS:
        *first, last = ENDINGS
        raise InputError(
            f"{path} names no format of scores",
            Name(f"a file ending in {', '.join(first)} or {last}", "out"),
        )
    if path.suffix == SUFFIX:
        require_parquet()


def _text(path: Path) -> str:
    """A path as a file holds it: of a name that is not UTF-8, odd bytes are shown as escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")
