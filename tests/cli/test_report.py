"""`clare report`: what the page says, that it is whole in itself, and that a browser agrees."""

import csv
import html
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from clare.cli.app import app
from clare.cli.command import commands_below
from clare.errors import ClareError
from clare.heads.evaluation.df40 import PUBLISHED, UNLIKE, WRONG
from clare.heads.evaluation.published import published_by
from clare.store.index import load_index

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# No package index has a browser: it is the machine's. What a page holds is tested without one.
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")
HOSTILE = '<script>alert("x")</script> & <b>co</b>'
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


@pytest.fixture(scope="module")
def place(tmp_path_factory, pictures):
    """A store, a tested run, a sweep of twenty and a tested one of four, and their pages."""
    place = tmp_path_factory.mktemp("report")
    store = place / "features.zarr"
    real, fake = pictures / "real", pictures / "fake"
    images = ("--real", real, "--fake", f"toy={fake}", "--resize", 64, "--recode", "jpeg:95")
    run("extract", *images, "--backbone", "tiny", "--store", store)
    data = ("--store", store, "--train", "toy", "--reals", "real")
    run("train-head", *data, "--fusion", "lare", "--classifier", "linear", "--epochs", 2,
        "--out", place / "run")  # fmt: skip
    run("evaluate", place / "run", "--baselines", "--resamples", 200)
    sweep = ("sweep", *data, "--fusion", "cls,lare", "--classifier", "linear", "--epochs", 1)
    run(*sweep, "--seeds", "0-9", "--out", place / "sweep")
    run(*sweep, "--seeds", "0-1", "--out", place / "tested", "--evaluate", "toy")
    run("report", place / "run", "--out", place / "run.html")
    run("report", place / "sweep", "--out", place / "sweep.html")
    run("report", place / "tested", "--out", place / "tested.html")
    other = place / "tested" / "cls_linear_seed-0"
    run("report", place / "run", other, "--out", place / "two.html")
    return place


PAGES = ("run.html", "two.html", "sweep.html", "tested.html")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_needs_nothing_beside_itself(place, name):
    page = read(place / name)
    assert not page.all("script")
    for tag, attrs in page.elements:
        for key, value in attrs.items():
            if key in ("src", "href", "xlink:href", "data", "poster", "action", "srcset"):
                assert value.startswith(("data:", "#")), f"<{tag} {key}={value[:60]}>"
            assert not key.startswith("on"), f"<{tag} {key}>"
    style = " ".join(text for open_, text in page.texts if "style" in open_)
    assert "url(" not in style and "@import" not in style
    (policy,) = (m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_heard_and_walked_through(place, name):
    page = read(place / name)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert all(attrs.get("alt", "").strip() for attrs in page.all("img"))
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in page.all("svg"))
    assert all(attrs["scope"] in ("col", "row") for attrs in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) > 3
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"][1:] for attrs in page.all("a")}
    assert targets <= set(ids) and "main" in targets
    assert page.all("html")[0]["lang"] == "en"
    scrolled = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolled)


def test_the_answer_says_interval_rows_and_shortcuts_and_that_tiny_means_nothing(place):
    page = read(place / "run.html")
    report = json.loads((place / "run" / "test_metrics.json").read_text())
    auc = report["subsets"]["toy"]["frame"]["auc"]
    before = page.text.partition("Results on unseen rows")[0]
    assert f"AUC {auc['value']:.3f} (95 % interval {auc['low']:.2f} to {auc['high']:.2f})" in before
    toy = report["subsets"]["toy"]
    assert f"{toy['real']} real and {toy['fake']} fake rows of toy" in before
    assert "baseline" in before
    assert "small random models" in before and "says nothing about detecting" in before


@pytest.mark.parametrize(
    ("auc", "lead", "said"),
    [
        ((0.9, 0.85, 0.95), (0.3, 0.2, 0.4), ("better than chance", "It clearly beats every base")),
        ((0.9, 0.85, 0.95), (0.3, -0.1, 0.4), ("better than chance", "but not clearly")),
        ((0.6, 0.4, 0.8), (-0.1, -0.2, 0.1), ("not told from chance", "It does not beat ")),
        ((0.2, 0.1, 0.3), None, ("worse than chance", "was not measured")),
        ((0.9, None, None), None, ("settles nothing", "was not measured")),
    ],
)
def test_the_answer_claims_no_more_than_the_figures(place, tmp_path, auc, lead, said):
    folder = shutil.copytree(place / "run", tmp_path / "run")
    report = json.loads((folder / "test_metrics.json").read_text())
    frame = report["subsets"]["toy"]["frame"]
    frame["auc"] |= dict(zip(("value", "low", "high"), auc, strict=True))
    ahead = report["baselines"]["ahead"]["toy"]
    for name in ahead:
        ahead[name] = dict(zip(("value", "low", "high"), lead, strict=True)) if lead else None
        ahead[name] = lead and ahead[name] | {"n": 12}
    (folder / "test_metrics.json").write_text(json.dumps(report))
    run("report", folder, "--out", tmp_path / "page.html")
    answer = read(tmp_path / "page.html").text.partition("Results on unseen rows")[0]
    assert all(words in answer for words in said)


def test_tables_hold_the_numbers_of_the_evaluation(place):
    page = read(place / "run.html")
    report = json.loads((place / "run" / "test_metrics.json").read_text())
    figures = report["subsets"]["toy"]["frame"].values()
    baselines = report["baselines"]["subsets"]["toy"]
    assert baselines["mean_lare"] and baselines["real_centroid"]
    known = (*figures, *baselines.values())
    wanted = {one["value"] for one in known if one and one["value"] is not None}
    assert len(wanted) > 5 and wanted <= page.numbers


@pytest.mark.parametrize(("name", "count"), [("sweep", 20), ("tested", 4)])
def test_a_sweeps_tables_hold_the_numbers_of_its_files(place, name, count):
    page = read(place / f"{name}.html")
    lines = rows_of(place / name / "results.csv")
    board = rows_of(place / name / "leaderboard.csv")
    assert len(lines) == count
    assert all(line["run"] in page.text for line in lines)
    for split in ("val", "test") if name == "tested" else ("val",):
        for figure in ("auc", "ap", "balanced_accuracy", "eer", "accuracy", "f1", "ece"):
            assert {float(line[f"{split}_{figure}"]) for line in lines} <= page.numbers
        assert {float(line[f"{split}_auc"]) for line in board} <= page.numbers
    assert f"± {float(board[0]['val_auc_spread']):.3f}" in page.text
    cls, lare = (
        [float(line["val_auc"]) for line in lines if line["fusion"] == fusion]
        for fusion in ("cls", "lare")
    )
    paired = sum(b - a for a, b in zip(cls, lare, strict=True)) / len(cls)
    assert any(abs(number - paired) < 1e-12 for number in page.numbers)


def test_what_df40s_code_measures_stands_beside_its_table_and_what_is_wrong(place, tmp_path):
    folder = shutil.copytree(place / "run", tmp_path / "run")
    assert "DF40" not in read(place / "run.html").text
    measured = {"real": 32, "fake": 48, "frame_auc": 0.8125, "video_auc": 0.75, "groups": 4,
                "mixed": 3, "pool": True, "sets": ["blend_cdf"]}  # fmt: skip
    alone = measured | {"pool": False, "frame_auc": 0.625, "video_auc": 0.5}
    known = published_by(PUBLISHED, "list", "frame_auc")
    report = {
        "run": "run", "control": None, "store": "s", "protocol": "joint", "unknown": 0.6875,
        "absent": {"heygen": "no rows"}, "lists": {"FSAll_cdf": measured, "sd21_cdf": alone},
        "wrong": WRONG, "unlike": UNLIKE, "published": known, "unpublished": "not of all",
    }  # fmt: skip
    (folder / "df40_metrics.json").write_text(json.dumps(report))
    run("report", folder, "--out", tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    theirs = {known[system][name] for system in known for name in ("FSAll_cdf", "unknown")}
    assert theirs | {0.8125, 0.75, 0.625, 0.6875} <= page.numbers
    for words in (*WRONG, *UNLIKE, "mean of 1 unknown", "Not tested, heygen: no rows."):
        assert words in page.text
    assert "Not figures to report as your own" in page.text and "Not of all." in page.text
    lists = '{"x": {}}', '{"x": null}', '["x"]', json.dumps({"x": measured | {"groups": "4"}})
    for text in ("{}", *(json.dumps(report | {"lists": json.loads(one)}) for one in lists)):
        (folder / "df40_metrics.json").write_text(text)
        with pytest.raises(ClareError, match=r"df40_metrics\.json"):
            run("report", folder, "--out", tmp_path / "page.html")


@pytest.mark.parametrize(
    ("cls", "lare", "beaten", "said"),
    [
        (-0.1, -0.1, "0 of 2", "On toy these do not beat every baseline: lare cls "),
        (0.1, -0.1, "0 of 2", "every baseline: lare On toy these are not clearly above "
         "every baseline: cls "),
        (0.3, 0.1, "1 of 2", "On toy these are not clearly above every baseline: lare "),
        (0.3, None, "1 of 1", "On toy it was not measured of these: lare "),
    ],
)  # fmt: skip
def test_a_sweep_says_which_test_figures_beat_no_baseline(place, tmp_path, cls, lare, beaten, said):
    folder = shutil.copytree(place / "tested", tmp_path / "sweep")
    before = read(place / "tested.html").text
    assert "What a test AUC must beat" not in before and "was not measured" in before
    for path in folder.glob("*/test_metrics.json"):
        report = json.loads(path.read_text())
        lead = {"cls": cls, "lare": lare}[path.parent.name.partition("_")[0]]
        if lead is not None:
            found = {"bytes": {"value": 0.625, "low": 0.5, "high": 0.9, "n": 12}, "size": None}
            ahead = {"value": lead, "low": lead - 0.2, "high": lead + 0.2, "n": 12}
            report["baselines"] = {
                "subsets": {"toy": found},
                "ahead": {"toy": {"bytes": ahead}},
                "pixels_from": None,
            }
        path.write_text(json.dumps(report))
    run("report", folder, "--out", tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    table = page.text.partition("What a test AUC must beat")[2].partition("A baseline needs no")[0]
    assert "bytes of the file" in table and beaten in table and said in table
    assert 0.625 in page.numbers
    assert ("whose evaluation measured them" in page.text) == (lare is None)


def test_every_setting_and_fingerprint_is_there(place):
    page = read(place / "run.html")
    record = json.loads((place / "run" / "config.json").read_text())
    assert all(name in page.text for name in record["config"])
    assert all(key in page.text for key in record["fingerprints"].values())
    for made in record["extractors"].values():
        assert made["fingerprint"]["weights"] in page.text
    assert all(version in page.text for version in record["versions"].values())


@pytest.mark.parametrize(
    ("page", "order"),
    [
        ("run.html", ["extract", "train-head", "evaluate", "report"]),
        ("two.html", ["extract", "train-head", "sweep", "evaluate", "report"]),
        ("tested.html", ["extract", "sweep", "report"]),
    ],
)
def test_the_commands_that_made_it_are_shown_in_order_as_typed(place, page, order):
    lines = re.findall(r"<pre><code>(.*?)</code></pre>", (place / page).read_text())
    commands = [shlex.split(html.unescape(line)) for line in lines]
    assert [words[:2] for words in commands] == [["clare", name] for name in order]
    assert commands[-1][-1] == str(place / page)
    known = dict(commands_below(typer.main.get_command(app)))
    for _, name, *words in commands:
        # Each is read as a command line is: all of it is known, and nothing is missing.
        known[name,].make_context(name, words)


def test_a_store_is_read_once_for_all_runs_and_sections(place, tmp_path, monkeypatch):
    reads = []

    def load(folder, subset):
        reads.append(subset)
        return load_index(folder, subset)

    monkeypatch.setattr("clare.store.index.load_index", load)
    run("report", place / "tested", "--out", tmp_path / "page.html")
    assert sorted(reads) == ["real", "toy"]


def test_twenty_runs_fit_into_ten_megabytes(place):
    assert (place / "sweep.html").stat().st_size < 10e6


def test_images_maps_and_mistakes_are_shown(place):
    page = read(place / "run.html")
    alts = [attrs["alt"] for attrs in page.all("img")]
    assert any(alt.startswith("real image") for alt in alts)
    assert any(alt.startswith("fake image") for alt in alts)
    assert any("LaRE map of the real image" in alt for alt in alts)
    assert any("LaRE map of the fake image" in alt for alt in alts)
    rows = rows_of(place / "run" / "test_predictions.csv")
    threshold = json.loads((place / "run" / "test_metrics.json").read_text())["threshold"]
    for label, side, what in (("0", 1, "Reals called fake"), ("1", -1, "Fakes called real")):
        mine = [float(r["margin"]) - threshold for r in rows if r["label"] == label]
        wrong = sum(side * far > 0 for far in mine)
        count = f"{wrong} of {len(mine)}" if wrong else f"none of {len(mine)}"
        assert f"{what}: {count}" in page.text


def test_names_are_text_whatever_they_hold(place, tmp_path):
    folder = shutil.copytree(place / "run", tmp_path / "<b>&amp;run")
    for name in ("test_metrics.json", "test_predictions.csv"):
        path = folder / name
        if name.endswith("json"):
            report = json.loads(path.read_text())
            measured = report["baselines"]
            for found in (report["subsets"], measured["subsets"], measured["ahead"]):
                found[HOSTILE] = found.pop("toy")
            report["notes"] = [f"a note on `{HOSTILE}`"]
            path.write_text(json.dumps(report))
            continue
        rows = rows_of(path)
        with path.open("w") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in rows:
                row["sample_id"] += HOSTILE
                row["subset"] = HOSTILE if row["subset"] == "toy" else row["subset"]
                writer.writerow(row)
    run("report", folder, "--out", tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert not page.all("script") and not page.all("b")
    assert HOSTILE in page.text and "<b>&amp;run" in page.text
    assert any(HOSTILE in attrs["alt"] for attrs in page.all("img"))


def test_what_is_missing_is_said_in_words(place, tmp_path):
    folder = shutil.copytree(place / "run", tmp_path / "moved")
    config = json.loads((folder / "config.json").read_text())
    config["store"] = str(tmp_path / "gone.zarr")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "test_predictions.csv").unlink()
    told = run("report", folder, "--out", tmp_path / "page.html")
    assert "--store" in told and "could not be opened" in " ".join(told.split())
    text = read(tmp_path / "page.html").text
    assert "The store could not be opened" in text and "test_predictions.csv is missing" in text
    (folder / "test_metrics.json").unlink()
    run("report", folder, "--store", place / "features.zarr", "--out", tmp_path / "page.html")
    text = read(tmp_path / "page.html").text
    assert "not tested on unseen rows" in text and "LaRE map" in text


def test_damage_to_the_pictures_is_said_and_costs_no_figures(place, tmp_path):
    store = shutil.copytree(place / "features.zarr", tmp_path / "features.zarr")
    for path in (store / "thumbnails").rglob("*.thumbs"):
        path.write_bytes(path.read_bytes()[:-7])
    run("report", place / "run", "--store", store, "--out", tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert "The store can't be read" in page.text
    whole = read(place / "run.html")
    auc = json.loads((place / "run" / "test_metrics.json").read_text())["subsets"]["toy"]["frame"]
    assert auc["auc"]["value"] in page.numbers and "Files as they were found" in page.text
    assert len(page.all("table")) >= len(whole.all("table")) - 1


@pytest.mark.parametrize(("later", "span"), [(1000, "16 min 40 s"), (0, "–")])
def test_the_time_of_extraction_is_that_between_shards(place, tmp_path, later, span):
    store = shutil.copytree(place / "features.zarr", tmp_path / "features.zarr")
    for path in (store / "journal").rglob("*.json"):
        # Of each extractor a shard of either subset.
        when = 1_000_000_000 + (later if "toy" in path.parts else 0)
        os.utime(path, (when, when))
    run("report", place / "run", "--store", store, "--out", tmp_path / "page.html")
    cost = read(tmp_path / "page.html").text.partition("Extraction into")[2]
    assert len(re.findall(rf"{span} (?:from|at) 2001-09-0\d", cost)) == 2
    assert "pauses included" in cost


def test_test_rows_may_lie_in_another_store(place, pictures, tmp_path):
    folder = shutil.copytree(place / "run", tmp_path / "run")
    other = tmp_path / "other.zarr"
    images = ("--real", pictures / "fake", "--fake", f"swapped={pictures / 'real'}")
    same = ("--resize", 64, "--recode", "jpeg:95", "--backbone", "tiny")
    run("extract", *images, *same, "--store", other)
    (folder / "seen.json").write_text('{"trained": {}, "chosen": {}}')
    run("evaluate", folder, "--store", other, "--resamples", 50)
    run("report", folder, "--out", tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert "Images in features.zarr" in page.text and "Images in other.zarr" in page.text
    alts = [attrs["alt"] for attrs in page.all("img")]
    assert any(alt.startswith("fake image") and "swapped" in alt for alt in alts)
    assert not any(alt.startswith("No picture") for alt in alts)
    assert shlex.join(["--store", str(other)]) in page.text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("run,", "name,", "is not what a sweep writes"),
        ("val_auc,", "val_auk,", "is not what a sweep writes"),
        (",cls,", ",cls,cls,", "is not what a sweep writes"),
        (r"(?<=,)0\.\d+", "many", "is 'many', not a number"),
        (r"(?<=,)0\.\d+", "nan", "is 'nan', not a number"),
        (r"(?<=,)0\.\d+", "-inf", "is '-inf', not a number"),
    ],
)
def test_a_damaged_results_file_is_refused_in_a_sentence(place, tmp_path, old, new, message):
    folder = shutil.copytree(place / "tested", tmp_path / "sweep")
    path = folder / "results.csv"
    path.write_text(re.sub(old, new, path.read_text(), count=1))
    with pytest.raises(ClareError, match=message):
        run("report", folder, "--out", tmp_path / "page.html")


def test_a_sweep_whose_runs_all_failed_has_no_page(place, tmp_path):
    folder = shutil.copytree(place / "tested", tmp_path / "sweep")
    lines = rows_of(folder / "results.csv")
    table = "".join(f"{line['run']},{line['fusion']},no memory\n" for line in lines)
    (folder / "results.csv").write_text(f"run,fusion,failure\n{table}")
    with pytest.raises(ClareError, match="has finished"):
        run("report", folder, "--out", tmp_path / "page.html")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "there is no run at"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "val_metrics.json").unlink(), "is not finished"),
        (lambda folder: (folder / "test_metrics.json").write_text("{"), "can't be read"),
        (lambda folder: (folder / "test_metrics.json").write_text("{}"), "is damaged"),
    ],
)
def test_what_is_no_run_is_refused_in_a_sentence(place, tmp_path, spoil, message):
    folder = shutil.copytree(place / "run", tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(ClareError, match=message):
        run("report", folder, "--out", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_sweep_has_a_page_of_its_own(place, tmp_path):
    with pytest.raises(ClareError, match="is a sweep: give it a page of its own"):
        run("report", place / "sweep", place / "run", "--out", tmp_path / "page.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(place, scheme):
    style = " ".join(t for o, t in read(place / "run.html").texts if "style" in o)
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6});", part))
                   for part in style.split("prefers-color-scheme: dark", 1))  # fmt: skip
    colours = light if scheme == "light" else light | dark
    pairs = [(ink, ground) for ink in ("ink", "quiet", "link") for ground in ("ground", "raised")]
    for ink, ground in [*pairs, ("warn-ink", "warn-ground")]:
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for curve in range(10):
        assert contrast(colours[f"s{curve}"], colours["ground"]) >= 3, curve


def contrast(first: str, second: str) -> float:
    """WCAG 2's ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


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


@in_browser
@pytest.mark.parametrize("name", ["run.html", "sweep.html"])
def test_a_phone_scrolls_tables_and_never_the_page(place, tmp_path, name):
    # A window is never narrower than 500 pixels; a frame may be.
    page = re.sub("<meta http-equiv[^>]*>", "", (place / name).read_text())
    probe = tmp_path / "probe.html"
    probe.write_text(
        f"""<iframe width="390" height="800" srcdoc="{html.escape(page)}"></iframe><script>
        addEventListener('load', () => {{
          const inside = document.querySelector('iframe').contentDocument;
          inside.querySelectorAll('details').forEach(one => one.open = true);
          const {{scrollWidth, clientWidth}} = inside.documentElement;
          const tables = [...inside.querySelectorAll('.scroll')];
          const wide = tables.filter(one => one.scrollWidth > one.clientWidth).length;
          document.title = `${{scrollWidth}} ${{clientWidth}} ${{wide}}`; }});</script>"""
    )
    done = browse(tmp_path, probe, "--dump-dom")
    found = re.search(r"<title>(\d+) (\d+) (\d+)</title>", done.stdout)
    assert found, done.stdout[:500]
    needed, width, wide_tables = map(int, found.groups())
    assert 370 <= width <= 390 and needed <= width and wide_tables > 0


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
