"""DF40 from the unpacked archives to a protocol's figures, with tiny models."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from clare.pipeline.manifests.csv_io import read_manifest
from clare.protocol import read_protocol
from tests.pipeline.df40_tree import make_tree

PROTOCOL = """
title: two generators, then what nobody knows
train: {fakes: [pixart, vqgan], reals: [ffpp_real], domains: [ff], frames: 8}
test: p3-unknown
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("df40"))


@pytest.mark.slow
def test_from_archives_to_a_protocol(clare, tree, tmp_path):
    Path("mine.yaml").write_text(PROTOCOL)
    code, _, err = clare("manifest", "build", "--dataset", "df40", *tree.options)
    assert code == 0, err

    extract = ("extract", "--protocol", "mine.yaml", *tree.options, "--backbone", "tiny")
    code, out, err = clare(*extract, "--max-failures", "10%", "--device", "cpu")
    assert code == 0 and "failed" in out, err
    code, out, _ = clare("store", "info", "--json")
    stored = {name: one["rows"] for name, one in json.loads(out)["subsets"].items()}
    rows = {name: wanted_rows(name) for name in read_protocol("mine.yaml").needs()}
    assert stored == {name: len(found) for name, found in rows.items()}
    # Celeb-DF's rows of PixArt are no part of it; all of e4e's that are tested are.
    assert {row.domain for row in rows["pixart"]} == {"ff"}
    assert {row.domain for row in rows["e4e"]} == {"cdf"}

    train = ("train-head", "--protocol", "mine.yaml", "--fusion", "cross_attn", "--epochs", "1")
    code, out, err = clare(*train, "--device", "cpu", "--out", "run")
    assert code == 0 and "next: clare evaluate run --protocol mine.yaml" in err
    record = json.loads(Path("run/config.json").read_text())
    assert record["subsets"] == ["ffpp_real", "pixart", "vqgan"]
    trained = Counter(r.split for n in record["subsets"] for r in rows[n] if r.status == "ok")
    assert {split: sum(found.values()) for split, found in record["rows"].items()} == {
        split: trained[split] for split in ("train", "val")
    }

    code, out, err = clare("evaluate", "run", "--protocol", "p3-unknown", "--device", "cpu")
    assert code == 0, err
    assert "collabdiff has no reals in split test" in out
    report = json.loads(Path("run/test_metrics.json").read_text())
    tested = {target.name: target.fakes for target in read_protocol("p3-unknown").targets}
    assert {*report["subsets"], *report["absent"]} == set(tested)
    skipped = report["skipped"]
    assert skipped == {"midjourney": 1, "starganv2": 1}
    for name, found in report["subsets"].items():
        fakes = [row for row in rows[tested[name]] if row.label]
        real = [row for row in rows[tested[name]] if not row.label] or rows["celebdf_v2_real"]
        assert found["fake"] + found["real"] + skipped.get(name, 0) == len(fakes) + len(real)
        assert found["beside"] == (["celebdf_v2_real_cdf"] if name == "e4e_cdf" else [])
    with Path("run/test_predictions.csv").open() as file:
        scored = Counter(row["subset"] for row in csv.DictReader(file))
    assert scored.total() == sum(
        len(found)
        for name, found in rows.items()
        if name not in (*record["subsets"], "collabdiff", "celebdf_v2_real")
    ) + len(rows["celebdf_v2_real"]) - sum(skipped.values())

    code, out, err = clare("evaluate", "run", "--compat", "df40", "--device", "cpu")
    assert code == 0 and "What is wrong with them" in out, err
    assert "trained by protocol mine.yaml" in " ".join(out.split()) and "0.942" not in out
    code, _, err = clare("report", "run")
    assert code == 0, err
    page = Path("report.html").read_text()
    assert "trained by protocol mine.yaml" in page and "0.942" not in page
    assert "clare evaluate run --compat df40" in page
    code, out, err = clare("evaluate", "run", "--protocol", "p3-unknown", "--frames", "1")
    assert code == 0, err
    report = json.loads(Path("run/test_metrics.json").read_text())
    assert report["subsets"]["heygen"]["fake"] == report["subsets"]["heygen"]["real"] == 1


def wanted_rows(name):
    """The rows of a manifest that the protocol reads."""
    needed = read_protocol("mine.yaml").needs()[name]
    return [
        row
        for row in read_manifest(Path("data_manifests") / f"{name}.csv").samples
        if row.status != "duplicate"
        and ((row.domain, row.split) in needed or ("", row.split) in needed)
    ]


def test_what_a_protocol_lacks_is_said(clare, tree):
    extract = ("extract", "--protocol", "ffpp-cross", *tree.options)
    code, _, err = clare(*extract, "--features", "clip", "--backbone", "tiny", "--device", "cpu")
    assert code == 0
    said = " ".join(err.split())
    assert "goes on without ffpp_face2face, ffpp_faceshifter, ffpp_faceswap: nothing of" in said
    train = ("train-head", "--fusion", "cls", "--classifier", "linear", "--epochs", "1")
    code, _, err = clare(*train, "--protocol", "clare-41k")
    assert code == 1 and "`clare extract --protocol clare-41k` adds it" in err
    code, _, err = clare(*train, "--protocol", "ffpp-cross")
    assert code == 1 and "ffpp-cross/neuraltextures" in err
    code, _, err = clare(*train, "--protocol", "clare-41k", "--reals", "ffpp_real")
    assert code == 1 and "--reals" in err
    names = "ffpp-cross/deepfakes,ffpp-cross/neuraltextures"
    sweep = ("sweep", "--fusion", "cls", "--classifier", "linear", "--epochs", "1", "--out", "s")
    code, _, err = clare(*sweep, "--protocol", names, "--device", "cpu")
    assert code == 0, err
    runs = sorted(path.parent for path in Path("s").glob("*/config.json"))
    assert len(runs) == 2
    runs[1] = runs[1].rename(Path("elsewhere"))
    code, out, err = clare("evaluate", *runs, "--protocol", "ffpp-cross", "--device", "cpu")
    assert code == 0 and "ffpp_faceswap is not in the store" in out, err
    assert "in no mean: ffpp_deepfakes_ff" in out and "in no mean: ffpp_neuraltextures_ff" in out
    assert Path("s/matrix.png").is_file() and not Path("matrix.png").exists()
    code, _, err = clare("extract", "--protocol", "clare-test17", "--root", "df40_test=.")
    assert code == 1 and "nothing of protocol clare-test17 is there" in err


def test_protocols_are_listed_and_shown(clare):
    code, out, _ = clare("manifest", "protocols")
    assert code == 0 and "clare-test17" in out and "/fs /fr /efs" in out
    code, out, _ = clare("manifest", "protocols", "clare-test17")
    assert code == 0 and "in no mean: deepfacelab" in out and "8 frames a video, even" in out
    code, _, err = clare("manifest", "protocols", "p9")
    assert code == 1 and "no protocol 'p9'" in err and "p3-unknown" in err
