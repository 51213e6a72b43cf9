"""What a page is made of, as plain data: the template alone knows how it looks.

Every text is text, or a notice with advice, which is worded for its reader where the page is
written. The template escapes it; only `Plot.svg` is markup, drawn by us.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from clare.advice import Notice
from clare.errors import StoreError

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """A table's cell.

    Args:
        text: what is read.
        under: smaller lines below it, an interval say.
        value: the number behind the text with all its digits, for machines.
        heat: how far an AUC is from chance, -1 to 1, or an IoU from 0; tints the cell.
        quiet: whether it is set back, as what must not be taken for a result.
    """

    text: str
    under: str = ""
    value: Any = None
    heat: float | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Block:
    """A piece of a section; ``kind`` names the template's macro for it."""

    kind: ClassVar[str]


@dataclass(frozen=True)
class Text(Block):
    """A paragraph.

    Args:
        text: its sentences.
        tone: ``plain``, ``note`` for what is aside, ``warning`` for what must not be overlooked.
    """

    kind = "text"
    text: str | Notice
    tone: str = "plain"


@dataclass(frozen=True)
class Heading(Block):
    """A heading below the section's."""

    kind = "heading"
    text: str


@dataclass(frozen=True)
class Items(Block):
    """A list of sentences."""

    kind = "items"
    texts: Sequence[str]


@dataclass(frozen=True)
class Table(Block):
    """A table whose first column names its rows.

    Args:
        caption: what it shows.
        columns: their headings; a cell has a second line.
        rows: cells by row, as many as columns.
        names: how many columns hold names; the others hold numbers.
    """

    kind = "table"
    caption: str
    columns: Sequence[str | Cell]
    rows: Sequence[Sequence[Cell]]
    names: int = 1


@dataclass(frozen=True)
class Plot:
    """A drawing.

    Args:
        svg: its markup.
        caption: text under it.
        keys: what its colours and strokes mean: class of the swatch, text.
    """

    svg: str
    caption: str
    keys: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Plots(Block):
    """Drawings side by side where there is room."""

    kind = "plots"
    plots: Sequence[Plot]

    @property
    def across(self) -> int:
        """How many stand side by side."""
        return even(len(self.plots), 3)


@dataclass(frozen=True)
class Picture:
    """An image.

    Args:
        uri: its bytes, as a data URI.
        alt: what a screen reader says.
        caption: text under it.
        under: a second line.
        is_map: whether it is a coarse map, whose cells are drawn as squares.
    """

    uri: str
    alt: str
    caption: str
    under: str = ""
    is_map: bool = False


@dataclass(frozen=True)
class Gallery(Block):
    """Images side by side under one title.

    Args:
        title: what they have in common.
        pictures: in reading order.
        look: ``small``, ``large``, or ``pairs``: two squares side by side in each.
    """

    kind = "gallery"
    title: str
    pictures: Sequence[Picture]
    look: str = "small"

    @property
    def across(self) -> tuple[int, int]:
        """How many stand side by side on a wide screen, and on a narrow one."""
        wide, narrow = {"small": (12, 4), "large": (8, 3), "pairs": (6, 2)}[self.look]
        return even(len(self.pictures), wide), even(len(self.pictures), narrow)


@dataclass(frozen=True)
class Strip:
    """Several squares about one image, side by side.

    Args:
        pictures: from left to right; their captions say what each is.
        caption: text under them.
        under: a second line.
    """

    pictures: Sequence[Picture]
    caption: str
    under: str = ""


@dataclass(frozen=True)
class Strips(Block):
    """Strips under one title, two side by side where there is room."""

    kind = "strips"
    title: str
    strips: Sequence[Strip]


@dataclass(frozen=True)
class Legend(Block):
    """What the colours of pictures mean: class of the swatch, text."""

    kind = "legend"
    keys: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code(Block):
    """Commands, a line each."""

    kind = "code"
    lines: Sequence[str]


@dataclass(frozen=True)
class Folded(Block):
    """Blocks that open on demand."""

    kind = "folded"
    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own.

    Args:
        anchor: its id.
        title: its heading.
        blocks: what it holds.
        folded: whether it opens on demand.
    """

    anchor: str
    title: str
    blocks: Sequence[Block]
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        title: its heading.
        warnings: what a reader has to know before any figure.
        question: one sentence.
        answer: in sentences; none where the first section answers.
        facts: figures at a glance: name, value, what is under it.
        sections: in reading order.
        made: by what and when.
    """

    title: str
    warnings: Sequence[str | Notice]
    question: str
    answer: Sequence[str]
    facts: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]
    made: str = field(default="")


def even(count: int, most: int) -> int:
    """Columns in which so many things stand with none alone in the last line, where that can be.

    Args:
        count: how many things.
        most: columns that there is room for.
    """
    if count <= most:
        return count
    return next((n for n in range(most, 1, -1) if count % n != 1), most)


def unreadable(error: StoreError) -> Text:
    """What stands where a store can't be read."""
    return Text(Notice(f"The store can't be read: {error.what}", *error.advice), "warning")


def row(*cells: Any) -> list[Cell]:
    """Cells of texts and numbers."""
    return [cell if isinstance(cell, Cell) else Cell(_text(cell), value=cell) for cell in cells]


def _text(value: Any) -> str:
    if value is None or value == "":
        return MISSING
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
