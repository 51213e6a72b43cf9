"""A browser agrees with what `clare report` wrote."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# No package index has a browser: it is the machine's. What a page holds is tested without one.
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")


def browse(folder: Path, page: Path, *options: str) -> subprocess.CompletedProcess:
    assert CHROMIUM is not None
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND",
             "--disable-extensions", "--disable-gpu")  # fmt: skip
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", f"--user-data-dir={folder / 'profile'}",
         "--enable-logging=stderr", *quiet, *options, page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


def requests_of(log: Path, page: Path) -> set[str]:
    """What a page asked for beside itself, from Chromium's network log."""
    events = json.loads(log.read_text())["events"]
    asked = [event.get("params", {}) for event in events]
    # What the browser wants for itself comes from no origin.
    own = (None, "not an origin")
    urls = {p["url"] for p in asked if "url" in p and p.get("initiator") not in own}
    return {url for url in urls if not url.startswith("data:")} - {page.as_uri()}


@in_browser
@pytest.mark.parametrize("name", ["run.html", "sweep.html"])
def test_a_browser_opens_the_page_without_errors_or_requests(place, tmp_path, name):
    log = tmp_path / "net.json"
    done = browse(tmp_path, place / name, f"--log-net-log={log}", "--dump-dom")
    assert "CONSOLE" not in done.stderr
    assert "Skip to the content" in done.stdout and "</footer>" in done.stdout
    assert requests_of(log, place / name) == set()


@in_browser
def test_the_browser_would_have_told(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("no")</script>')
    log = tmp_path / "net.json"
    done = browse(tmp_path, bad, f"--log-net-log={log}", "--dump-dom")
    assert "CONSOLE" in done.stderr
    assert requests_of(log, bad) == {"http://127.0.0.1:9/x.png"}


def measured(folder: Path, width: int, pages: list[Path], script: str) -> list[str]:
    """What a script finds of pages in frames so wide: it sees `inside`, `scrolls` and `height`."""
    # A window is never narrower than 500 pixels; a frame may be.
    frames = "".join(
        f'<iframe width="{width}" height="800" style="border:0" srcdoc="{html.escape(text)}">'
        "</iframe>"
        for text in (re.sub("<meta http-equiv[^>]*>", "", page.read_text()) for page in pages)
    )
    probe = folder / "probe.html"
    probe.write_text(
        f"""{frames}<script>addEventListener('load', () => {{
          document.title = [...document.querySelectorAll('iframe')].map(frame => {{
            const inside = frame.contentDocument;
            const height = inside.documentElement.scrollHeight;
            inside.querySelectorAll('details').forEach(one => one.open = true);
            const scrolls = [...inside.querySelectorAll('.scroll')];
            {script} }}).join('; '); }});</script>"""
    )
    done = browse(folder, probe, "--dump-dom")
    found = re.search(r"<title>(.*)</title>", done.stdout)
    assert found, done.stdout[:500]
    return found[1].split("; ")


@in_browser
def test_a_phone_scrolls_tables_beside_their_rows_names_and_never_the_page(place, tmp_path):
    script = """
      const {scrollWidth, clientWidth} = inside.documentElement;
      const wide = scrolls.filter(one => one.scrollWidth > one.clientWidth);
      wide.forEach(one => one.scrollLeft = 100);
      const gone = wide.filter(one => [...one.querySelectorAll('tbody th')].some(
        name => name.getBoundingClientRect().left < one.getBoundingClientRect().left));
      return `${scrollWidth} ${clientWidth} ${wide.length} ${gone.length}`;"""
    pages = [place / name for name in ("run.html", "two.html", "sweep.html")]
    for found in measured(tmp_path, 390, pages, script):
        needed, width, wide, gone = map(int, found.split())
        assert 370 <= width <= 390 and needed <= width and wide > 0 and gone == 0


@in_browser
def test_a_desk_cuts_off_nothing_and_reads_several_runs_on_a_page_or_two(place, tmp_path):
    script = """
      const cut = scrolls.filter(one => one.scrollWidth > one.clientWidth).length;
      const tables = [...inside.querySelectorAll('main > section table')];
      const widths = [...tables, ...inside.querySelectorAll('section > p')].map(
        one => Math.round(one.getBoundingClientRect().width));
      const top = widths.filter(one => one > 1000);
      return `${cut} ${height} ${new Set(top).size}`;"""
    pages = [place / name for name in ("run.html", "two.html", "tested.html")]
    found = [[int(part) for part in one.split()] for one in measured(tmp_path, 1400, pages, script)]
    assert [cut for cut, _, _ in found] == [0, 0, 0]
    assert all(widths <= 2 for *_, widths in found), "a folded table is narrower by its frame"
    assert found[1][1] < 2500, "two runs"


@in_browser
def test_the_page_is_dark_where_the_reader_is(place, tmp_path):
    light, dark = (
        corner_of(tmp_path, place / "run.html", f"{scheme}.png", setting)
        for scheme, setting in (("light", 1), ("dark", 0))
    )
    assert min(light) > 200 and max(dark) < 60


def corner_of(folder: Path, page: Path, name: str, scheme: int) -> tuple[int, ...]:
    options = (f"--screenshot={folder / name}", "--window-size=800,600",
               f"--blink-settings=preferredColorScheme={scheme}")  # fmt: skip
    browse(folder, page, *options)
    with Image.open(folder / name) as picture:
        pixel = picture.convert("RGB").getpixel((2, 2))
    assert isinstance(pixel, tuple)
    return pixel
