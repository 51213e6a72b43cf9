"""Pages of `clare report` as a reader's machine sees them."""

import csv
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from typer.testing import CliRunner

from clare.cli.app import app
from clare.errors import ClareError

VOID = {"meta", "link", "img", "br", "hr", "input"}


def run(*command):
    result = CliRunner().invoke(app, [str(part) for part in command])
    if isinstance(result.exception, ClareError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def rows_of(path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@dataclass
class Read(HTMLParser):
    """A page as a reader's machine sees it."""

    elements: list[tuple[str, dict]] = field(default_factory=list)
    texts: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        self.texts.append((tuple(self.open), data))

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self):
        shown = [text for open_, text in self.texts if "style" not in open_]
        return re.sub(r"\s+", " ", " ".join(shown))

    @property
    def numbers(self):
        return {float(attrs["value"]) for attrs in self.all("data")}


def read(path) -> Read:
    page = Read()
    page.feed(path.read_text("utf-8"))
    assert page.open == []
    return page
