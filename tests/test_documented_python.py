"""The Python that the pages show runs as it stands, offline, in their order."""

import re
from pathlib import Path

import pytest

from clare.pipeline.synthetic.toys import draw_faces

ROOT = Path(__file__).parent.parent


def run_blocks(page: Path) -> dict[str, object]:
    """Run a page's blocks of Python in one namespace, each line under its number in the page."""
    text = page.read_text("utf-8")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        above = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(above + block[1], page, "exec"), namespace)
    return namespace


@pytest.mark.slow
def test_the_page_of_the_python_api(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_blocks(ROOT / "docs" / "python.md")
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] in ("real", "fake")


def test_the_first_lines_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw_faces(Path("photos"), 20, seed=6, kind="real", size=64)
    for folder in ("stylegan3", "pixart"):
        draw_faces(Path(folder), 20, seed=len(folder), kind="fake", size=64)
    run_blocks(ROOT / "README.md")
    assert len(capsys.readouterr().out.splitlines()) >= 20
