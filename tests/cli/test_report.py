"""`clare report`: what the page says, and that it is whole in itself."""

import base64
import csv
import html
import io
import itertools
import json
import os
import re
import shlex
import shutil

import numpy as np
import pytest
import typer
from matplotlib import colormaps
from PIL import Image

from clare.cli.app import app
from clare.cli.command import commands_below
from clare.errors import ClareError
from clare.heads.evaluation.df40 import PUBLISHED, UNLIKE, WRONG
from clare.heads.evaluation.published import published_by
from clare.heads.metrics.plots import ABOVE, BELOW, COLOURS, TINT, auc_colours
from clare.heads.report.blocks import Folded, Items, Table
from clare.heads.report.run_results import read_findings
from clare.heads.report.sections.overview import overview, pairs
from clare.store.index import load_index
from tests.cli.pages import read, rows_of, run

HOSTILE = '<script>alert("x")</script> & <b>co</b>'
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
        (
            (0.9, 0.85, 0.95),
            (0.3, 0.2, 0.4),
            ("better than chance", "It clearly beats each of the 7 base"),
        ),
        ((0.9, 0.85, 0.95), (0.3, -0.1, 0.4), ("better than chance", "but not clearly")),
        ((0.6, 0.4, 0.8), (-0.1, -0.2, 0.1), ("not told from chance", " it does not beat ")),
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


def test_a_page_of_several_begins_with_all_figures_and_says_who_is_better(place):
    page = read(place / "two.html")
    overview = page.text.rpartition(" Overview ")[2].partition(" Who is better ")[0]
    runs = {"run": place / "run", "cls_linear_seed-0": place / "tested" / "cls_linear_seed-0"}
    for name, folder in runs.items():
        frame = json.loads((folder / "test_metrics.json").read_text())["subsets"]["toy"]["frame"]
        auc = frame["auc"]
        said = f"{auc['value']:.3f} {auc['low']:.2f} to {auc['high']:.2f} accuracy "
        assert f"{said}{frame['accuracy']['value']:.3f}" in overview
        assert f"{name} on toy" in overview
        told = overview.split(f"{name}: ")[1:]
        assert len(told) == (name == "run"), "the other was tested without baselines"
        assert all(one.startswith(("of the ", "it clearly beats")) for one in told)
    compared = run("compare", *runs.values(), "--resamples", 200)
    (verdict,) = (line for line in compared.splitlines() if line.startswith("By the AUC of"))
    assert "nobody leads" in page.text and verdict in page.text
    # The two were tested with 200 and with 1,000 resamples.
    assert page.text.count("from 200 or 1,000 resamples of whole videos") == 1
    assert page.text.count("resamples of whole videos") == 1
    # A run's own figures are folded away, and nothing is folded twice or open from the start.
    assert sum(attrs.get("class") == "section" for attrs in page.all("details")) > 4
    assert not any("open" in attrs for attrs in page.all("details"))


def test_runs_of_one_name_are_told_apart(place, tmp_path):
    again = shutil.copytree(place / "run", tmp_path / "again" / "run")
    findings = read_findings([place / "run", again])
    (table, _, beaten) = overview(findings).blocks
    assert isinstance(table, Table) and isinstance(beaten, Items)
    names = [str(place / "run"), str(again)]
    assert [line[0].text for line in table.rows] == names
    assert [str(text).partition(": ")[0] for text in beaten.texts] == names
    (section,) = pairs(findings)
    assert f"AUC of {again} less {place / 'run'}, neither is clearly better" in str(section)


def test_many_subsets_turn_the_tables_and_are_counted_in_the_sentence(place, tmp_path):
    names = [f"toy{number}" for number in range(9)]
    runs = [tmp_path / "one", tmp_path / "other"]
    for folder, whole in zip(runs, ("run", "tested/cls_linear_seed-0"), strict=True):
        shutil.copytree(place / whole, folder)
        report = json.loads((folder / "test_metrics.json").read_text())
        report["subsets"] = dict.fromkeys(names, report["subsets"]["toy"])
        report["baselines"] = None
        (folder / "test_metrics.json").write_text(json.dumps(report))
        rows = rows_of(folder / "test_predictions.csv")
        with (folder / "test_predictions.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in rows:
                fake = row["subset"] == "toy"
                writer.writerows(row | {"subset": name} for name in names if fake)
                writer.writerows([] if fake else [row])
    # Its blocks alone: to draw nine histograms of each takes longer than all of this.
    findings = read_findings(runs)
    (section,) = pairs(findings)
    said, _, folded = section.blocks
    assert isinstance(said, Items) and isinstance(folded, Folded)
    assert "on 9 of 9 subsets; in the mean over 9 subsets" in said.texts[0]
    for found in (overview(findings).blocks[0], folded.blocks[0]):
        assert isinstance(found, Table)
        assert [line[0].text for line in found.rows][:9] == names, "a line a subset"


def test_a_page_and_a_picture_colour_an_auc_alike(place):
    style = " ".join(text for open_, text in read(place / "run.html").texts if "style" in open_)
    assert f"--s{ABOVE}: {COLOURS[ABOVE]}; --s{BELOW}: {COLOURS[BELOW]};" in style
    assert f"--above: var(--s{ABOVE}); --below: var(--s{BELOW})" in style
    low, chance, high = (auc_colours()(value) for value in (0.0, 0.5, 1.0))
    assert high[2] > high[0] and low[0] > low[2] and min(chance) > 0.99


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


def test_every_setting_and_fingerprint_is_there(place):
    page = read(place / "run.html")
    record = json.loads((place / "run" / "config.json").read_text())
    # Those of a part that the run has not are left out.
    names = [name for name in record["config"] if not name.startswith("decoder")]
    assert all(name in page.text for name in names) and "decoder_settings" not in page.text
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

    def load(folder, subset, *more):
        reads.append(subset)
        return load_index(folder, subset, *more)

    monkeypatch.setattr("clare.store.index.load_index", load)
    run("report", place / "tested", "--out", tmp_path / "page.html")
    assert sorted(reads) == ["real", "toy"]


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


def test_no_single_square_decides_what_is_dark_or_bright_on_maps(place):
    page = read(place / "run.html")
    uris = [a["src"] for a in page.all("img") if a["alt"].startswith("Mean LaRE map")]
    pictures = [Image.open(io.BytesIO(base64.b64decode(u.partition(",")[2]))) for u in uris]
    squares = np.concatenate([np.asarray(one.convert("RGB")).reshape(-1, 3) for one in pictures])
    for end in (0.0, 1.0):
        colour = colormaps["magma"](end, bytes=True)[:3]
        share = (squares == colour).all(1).mean()
        assert 0.04 < share < 0.08, "a twentieth of the squares is at either end"
    assert "between the 5th and the 95th percentile" in page.text


def test_names_are_text_whatever_they_hold(place, tmp_path, drawn):
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
    same = ("--resize", 64, "--recode", "jpeg:95", "--backbone", "tiny", "--draws", 1)
    run("extract", *images, *same, "--store", other)
    (folder / "seen.json").write_text('{"trained": {"image": ["0123456789abcdef"]}, "chosen": {}}')
    run("evaluate", folder, "--store", other, "--resamples", 50)
    run("report", folder, "--out", tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert "Images in features.zarr" in page.text and "Images in other.zarr" in page.text
    alts = [attrs["alt"] for attrs in page.all("img")]
    assert any(alt.startswith("fake image") and "swapped" in alt for alt in alts)
    assert not any(alt.startswith("No picture") for alt in alts)
    assert shlex.join(["--store", str(other)]) in page.text


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
    for end in (ABOVE, BELOW):
        assert contrast(colours["ink"], mixed(colours[f"s{end}"], colours["ground"])) >= 4.5


def mixed(colour: str, ground: str) -> str:
    """A cell's colour at an AUC of 0 or 1."""
    pairs = ((int(c[k : k + 2], 16) for c in (colour, ground)) for k in (1, 3, 5))
    return "#" + "".join(f"{round(TINT * a + (1 - TINT) * b):02x}" for a, b in pairs)


def contrast(first: str, second: str) -> float:
    """WCAG 2's ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)
