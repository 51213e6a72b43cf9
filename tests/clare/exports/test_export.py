"""Whole detectors as files: they judge an image file as `clare predict` does, or are refused."""

import errno
import io
import json
import os
import re
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image, ImageOps

import clare
from clare.errors import ClareError, DiskSpaceError, InputError, StoreError, WeightsError
from clare.exports import export as exporting
from clare.exports import kinds, programs
from clare.models.tiny import write_tiny_clip
from tests.clare.exports.conftest import run_outside

ROOT = Path(__file__).parents[3]
QUICK = ("torchscript", "safetensors", "folder")
KINDS = [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("onnx", "pt2"))]
NAMES = {"onnx": "a.onnx", "torchscript": "a.pt", "pt2": "a.pt2", "safetensors": "a.safetensors"}
RUNNABLE = [("linear", "torchscript"), ("linear", "folder"), ("map", "torchscript")]
SLOW = [("linear", "onnx"), ("linear", "pt2"), ("map", "folder"), ("map", "onnx")]


RUNS: dict[str, dict] = {
    "linear": {"fusion": "cls", "classifier": "linear"},
    "coop": {"fusion": "cls", "classifier": "coop"},
    "lare": {"fusion": "lare", "classifier": "linear"},
    "map": {"preset": "localize", "decoder": "linear"},
}


def train(place, folder, **parts):
    chosen = {**parts, "train": ["toy"], "reals": ["real"], "lr": 0.1, "epochs": 2}
    return clare.train_head(place / "features.zarr", folder, device="cpu", **chosen)


def export(place, run, out, **how):
    """Export a run of the place, whose tower stands there."""
    return clare.export(place / "runs" / run, out, settings=tower(place), **how)


def tower(place):
    return {"clip": {"model": str(place / "tower")}}


@pytest.fixture(scope="module")
def place(tmp_path_factory, pictures):
    """A store of a tower that stands in a folder, and runs that read it."""
    place = tmp_path_factory.mktemp("exports")
    write_tiny_clip(place / "tower", sizes={"image_size": 32, "layers": 2})
    config = json.loads((place / "tower" / "open_clip_config.json").read_text())
    del config["_clare_tiny"]  # it is found where it stands, as any user's
    (place / "tower" / "open_clip_config.json").write_text(json.dumps(config))
    for folder in ("real", "fake", "masks"):
        (place / folder).mkdir()
    half = Image.new("L", (96, 96))
    half.paste(255, (0, 0, 48, 96))
    for kind in ("real", "fake"):
        for number, path in enumerate(sorted((pictures / kind).iterdir())[:24]):
            shutil.copy(path, place / kind / f"{number}.png")
    for number in range(24):
        half.save(place / "masks" / f"{number}.png")
    clare.extract(
        place / "features.zarr",
        real=place / "real",
        fake={"toy": place / "fake"},
        masks={"toy": place / "masks"},
        features=["clip", "mask", "lare"],
        settings={**tower(place), "lare": {"draws": 1}},
        backbone="tiny",
        resize=80,
        recode="jpeg:95",
    )
    for name, parts in RUNS.items():
        train(place, place / "runs" / name, **parts)
    clare.evaluate(place / "runs" / "linear", subsets=["toy"], reals=["real"], resamples=50)
    return place


@pytest.fixture(scope="module")
def exported(place, outside):
    """Export a run once in a format: (what was told, the file)."""
    known = {}

    def once(run, kind):
        if (run, kind) not in known:
            known[run, kind] = export(place, run, outside.place / run / NAMES.get(kind, "a"))
        return known[run, kind]

    return once


def facts_of(made):
    """What a file says of itself, read without `clare`."""
    path = made.path
    if made.kind == "onnx":
        import onnx

        found = {one.key: one.value for one in onnx.load(path).metadata_props}["clare"]
    elif made.kind == "safetensors":
        with safetensors.safe_open(path, "pt") as file:
            found = file.metadata()["clare"]
    elif made.kind == "folder":
        found = (path / "config.json").read_text()
    else:
        extra = {"clare.json": ""}
        if made.kind == "torchscript":
            warnings.simplefilter("ignore", FutureWarning)  # deprecated, and as documented
            torch.jit.load(path, _extra_files=extra)
        else:
            torch.export.load(path, extra_files=extra)
        found = extra["clare.json"]
        found = found.decode() if isinstance(found, bytes) else found
    return json.loads(found)


def prepare(file, pixels):
    """An image as the facts say that it is prepared, (3, S, S)."""
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    assert pixels["images"]["crop"] == "none" and pixels["images"]["recode"] == "jpeg:95"
    image = image.resize((pixels["images"]["resize"],) * 2, Image.Resampling.BICUBIC)
    coded = io.BytesIO()
    image.save(coded, "JPEG", quality=95, subsampling="4:2:0")
    image = Image.open(coded).resize((pixels["size"],) * 2, Image.Resampling.BICUBIC)
    values = (np.asarray(image) / 255 - pixels["mean"]) / pixels["std"]
    return torch.from_numpy(values).float().permute(2, 0, 1)


@pytest.mark.parametrize(
    "cases", [RUNNABLE, pytest.param(SLOW, marks=pytest.mark.slow)], ids=["quick", "slow"]
)
def test_image_files_are_judged_as_predict_judges_them(cases, place, exported, outside):
    """One process runs all files: to start it takes longer than to judge."""
    pytest.importorskip("onnxruntime")
    files = sorted((place / "fake").iterdir())[:3]
    outside.cases.clear()
    for run, kind in cases:
        made = exported(run, kind)
        assert made.kind == kind and 0 <= made.difference < 1e-4
        facts = facts_of(made)
        (pixels,) = (prepare_all(files, one["pixels"]) for one in facts["inputs"])
        names = ([one["name"] for one in facts[side]] for side in ("inputs", "outputs"))
        described = SimpleNamespace(**dict(zip(("inputs", "outputs"), names, strict=True)))
        for count in (1, 3):
            name = str(made.path.relative_to(outside.place))
            outside.add(name, kind, described, [pixels[:count]], f"{run}-{kind}-{count}")
    outside.run()
    verdicts = {
        run: clare.predict(place / "runs" / run, files, device="cpu", settings=tower(place))
        for run in {run for run, _ in cases}
    }
    for run, kind in cases:
        facts = facts_of(exported(run, kind))
        for count in (1, 3):
            outputs = outside.outputs(f"{run}-{kind}-{count}")
            require_verdicts(outputs, verdicts[run][:count], facts)
            assert len(outputs) == 2 + (run == "map"), (run, kind)


def require_verdicts(outputs, verdicts, facts):
    """What an exported file gives of some images is what `predict` said of them."""
    margin, p_fake, *maps = outputs
    ours = torch.tensor([one.margin for one in verdicts])
    torch.testing.assert_close(margin, ours, atol=1e-4, rtol=0)
    probabilities = torch.tensor([one.p_fake for one in verdicts])
    torch.testing.assert_close(p_fake, probabilities, atol=1e-4, rtol=0)
    labels = [facts["labels"][m >= facts["threshold"]] for m in margin.tolist()]
    assert labels == [one.label for one in verdicts]
    for found in maps:
        squashed = np.stack([np.asarray(one.squashed) for one in verdicts])
        torch.testing.assert_close(found, torch.from_numpy(squashed), atol=1e-4, rtol=0)


def prepare_all(files, pixels):
    return torch.stack([prepare(file, pixels) for file in files])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_says_what_it_is_and_not_where_it_was_made(kind, place, exported):
    pytest.importorskip("onnxruntime")
    made = exported("linear", kind)
    facts = facts_of(made)
    run = clare.open_run(place / "runs" / "linear")
    assert (facts["clare"], facts["kind"]) == (clare.__version__, "detector")
    assert facts["labels"] == ["real", "fake"] and facts["threshold"] == run.threshold
    (pixels,) = facts["inputs"]
    assert pixels["shape"] == ["batch", 3, 32, 32]
    assert facts["extractors"]["clip"]["key"] == run.record.fingerprints["clip"]
    assert facts["extractors"]["clip"]["origin"]["model"] == "tower"
    files = [made.path] if made.path.is_file() else sorted(made.path.iterdir())
    assert made.size == sum(file.stat().st_size for file in files)
    private = [place, ROOT, Path(torch.__file__).parents[1], Path.home()]
    for file in files:
        data = file.read_bytes()
        assert [path for path in private if os.fsencode(path) in data and path != Path("/")] == []


def test_a_card_holds_the_runs_own_figures_and_no_others(place, exported, tmp_path):
    card = (exported("linear", "folder").path / "README.md").read_text("utf-8")
    run = clare.open_run(place / "runs" / "linear")
    auc = run.validation.auc
    assert auc.value is not None and auc.low is not None
    assert f"| AUC | {auc.value:.3f} | {auc.low:.2f} to {auc.high:.2f} | {auc.n} |" in card
    tested = json.loads((run.path / "test_metrics.json").read_text())["subsets"]["toy"]
    assert (
        f"| toy | {tested['real']} | {tested['fake']} | {tested['frame']['auc']['value']:.3f}"
        in card
    )
    rows = run.record.rows["train"]
    assert f"| train | {rows['real']} | {rows['fake']} |" in card
    assert f"margin >= {run.threshold!r}" in card
    assert "license: unknown" in card
    export(place, "lare", tmp_path / "lare", head_only=True)
    untested = (tmp_path / "lare" / "README.md").read_text("utf-8")
    assert "None: nothing is known of how it does" in untested and "random models" in untested


def test_the_card_of_published_weights_says_whose_they_are(place, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(place / "runs" / "linear", run)
    about = {
        "title": "A detector (Somebody et al.)",
        "url": "https://example.org/code",
        "weights": "https://example.org/weights",
        "licence": "MIT",
        "trained_on": "their own fakes",
        "figure": "AP 0.9 on theirs",
        "needs": "clip_cls",
    }
    record = json.loads((run / "config.json").read_text())
    imported = {"format": "univfd", "file": "fc.pth", "sha256": "ab" * 32, "about": about}
    changed = {"imported": imported, "rows": {}, "fakes": [], "subsets": []}
    (run / "config.json").write_text(json.dumps({**record, **changed}))
    found = {"epoch": 0, "threshold": 0.25, "metrics": {}, "imported": True}
    (run / "val_metrics.json").write_text(json.dumps(found))
    made = clare.export(run, tmp_path / "out", head_only=True)
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert (made.facts.threshold, made.facts.threshold_from) == (0.25, "as published")
    for told in about.values():
        assert told in card or told in (about["weights"], about["needs"])
    assert "## Validation" not in card and "| train |" not in card and "ab" * 32 in card
    assert "## Tests\n" in card and "split test, at the threshold as published:" in card.lower()
    assert "never seen" not in card and "validation" not in card

    parent = {"run": "theirs", "sha256": "", "subsets": [], "fakes": ["their own fakes"]}
    heir = {**record, "parent": {**parent, "imported": imported}}
    (run / "config.json").write_text(json.dumps(heir))
    shutil.copy(place / "runs" / "linear" / "val_metrics.json", run)
    clare.export(run, tmp_path / "heir", head_only=True)
    card = (tmp_path / "heir" / "README.md").read_text("utf-8")
    assert "which their authors trained on" in card and "Fakes of `toy`." in card
    licence = card.partition("## Licence")[2]
    assert "A detector (Somebody et al.), as published: MIT" in licence
    assert "never seen" not in card and "at the threshold chosen on validation:" in card


def test_the_code_of_a_card_runs_where_it_stands(exported, place, monkeypatch, capsys):
    folder = exported("linear", "folder").path
    image = sorted((place / "real").iterdir())[0]
    shutil.copy(image, folder / "face.jpg")
    monkeypatch.chdir(folder)
    card = (folder / "README.md").read_text("utf-8")
    code = card.partition("```python\n")[2].partition("```")[0]
    found: dict = {}
    exec(code, found)
    (folder / "face.jpg").unlink()
    run = place / "runs" / "linear"
    (verdict,) = clare.predict(run, image, device="cpu", settings=tower(place))
    assert found["margin"].item() == pytest.approx(verdict.margin, abs=1e-4)
    assert bool(found["is_fake"]) == (verdict.label == "fake")


def test_a_head_alone_needs_no_tower_and_its_text_from_a_store(place, tmp_path):
    gone = tmp_path / "place"
    shutil.copytree(place / "runs", gone / "runs")
    record = json.loads((gone / "runs" / "coop" / "config.json").read_text())
    record["store"] = str(gone / "features.zarr")
    (gone / "runs" / "coop" / "config.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match="store="):
        clare.export(gone / "runs" / "coop", gone / "a.pt", head_only=True)
    store = place / "features.zarr"
    made = clare.export(gone / "runs" / "coop", gone / "a.pt", head_only=True, store=store)
    assert [one.name for one in made.facts.inputs] == ["clip_cls"]
    whole = export(place, "coop", gone / "b.pt")
    assert whole.size > made.size
    made = export(place, "lare", gone / "c.safetensors", head_only=True)
    assert "random models" in made.facts.remarks[0]
    assert [one.shape for one in made.facts.inputs] == [("batch", 1, 1, 4, 8, 8)]


@pytest.mark.parametrize(
    ("run", "out", "how", "told"),
    [
        ("linear", "a.bin", {}, r"ending of a.bin .*\.onnx \(onnx\), \.pt \(torchscript\)"),
        ("linear", "a.onnx", {"to": "pt2"}, "named as onnx"),
        ("linear", "a", {"to": "tflite"}, "'tflite' is not one of"),
        ("linear", "taken.pt", {}, "something stands at"),
        ("linear", "dangling", {}, "something stands at"),
        ("nowhere", "a.pt", {}, "there is no run"),
        ("unfinished", "a.pt", {}, "is not finished"),
        ("lare", "a.pt", {}, "its noise is drawn from the bytes.*head_only=True"),
        ("linear", "/proc/a/b.pt", {}, "can't be made|can't be used"),
        ("linear", "/proc/b.pt", {}, "no file can be made in /proc|/proc can't be used"),
    ],
)
def test_what_can_not_be_exported_is_said_and_nothing_is_written(
    run, out, how, told, place, tmp_path
):
    shutil.copytree(place / "runs" / "linear", tmp_path / "unfinished")
    (tmp_path / "unfinished" / "val_metrics.json").unlink()
    (tmp_path / "taken.pt").write_text("mine")
    (tmp_path / "dangling").symlink_to("nothing")
    before = sorted(tmp_path.iterdir())
    folder = tmp_path / run if run in ("unfinished", "nowhere") else place / "runs" / run
    with pytest.raises(ClareError, match=told):
        clare.export(folder, tmp_path / out, settings=tower(place), **how)
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "taken.pt").read_text() == "mine"


def test_a_missing_package_names_its_extra(place, tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(InputError, match=r"onnxscript is not installed.*clare-features\[onnx\]"):
        export(place, "linear", tmp_path / "a.onnx")


def test_more_weights_than_one_onnx_file_holds_are_refused(place, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(programs, "_ONNX_MOST", 1000)
    with pytest.raises(InputError, match=r"KiB of weights, and one ONNX file.*to='pt2'"):
        export(place, "linear", tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_towers_that_are_gone_are_named(place, tmp_path):
    settings = {"clip": {"model": str(tmp_path / "moved")}}
    with pytest.raises((WeightsError, InputError), match="moved"):
        clare.export(place / "runs" / "linear", tmp_path / "a.pt", settings=settings)
    shutil.copytree(place / "tower", tmp_path / "moved")
    clare.export(place / "runs" / "linear", tmp_path / "a.pt", settings=settings)


FUSION = '''
from clare.heads.base import Fusion


class Odd(Fusion):
    """Batches of two are read otherwise, which a trace of two does not see."""

    roles = ("cls",)

    def __init__(self, settings, shapes):
        super().__init__(settings, shapes)
        (self.width,) = self.shapes["cls"]

    def forward(self, inputs):
        cls = inputs["cls"]
        return -cls if {condition} else cls
'''


@pytest.mark.parametrize(
    ("condition", "out", "told"),
    [
        ("cls.shape[0] == 2", "a.pt", "differs from the run by"),
        ("cls.sum() > 0", "a", "folder can't hold this model"),
    ],
)
def test_what_a_format_can_not_follow_is_refused(condition, out, told, place, tmp_path):
    part = tmp_path / "odd.py"
    part.write_text(FUSION.format(condition=condition))
    run = train(place, tmp_path / "run", fusion=str(part), classifier="linear")
    with pytest.raises(ClareError, match=told):
        clare.export(run.path, tmp_path / "out" / out, head_only=True)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("out", ["a.pt", "a"])
def test_a_full_disk_leaves_nothing(out, place, tmp_path, monkeypatch):
    written = []
    writev = os.writev

    def fill_up(descriptor, buffers):
        written.append(descriptor)
        if len(written) == (1 if out == "a.pt" else 2):
            raise OSError(errno.ENOSPC, "No space left on device")
        return writev(descriptor, buffers)

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", fill_up)
        with pytest.raises(DiskSpaceError):
            export(place, "lare", tmp_path / "out" / out, head_only=True)
    assert written and list((tmp_path / "out").iterdir()) == []


def test_an_interrupted_comparison_leaves_nothing(place, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "largest_difference", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(place, "linear", tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_code_of_the_page_runs_where_there_is_no_clare(exported, place, tmp_path):
    pytest.importorskip("onnxruntime")
    for kind, name in (*NAMES.items(), ("folder", "a")):
        if kind != "safetensors":
            (tmp_path / name.replace("a", "detector")).symlink_to(exported("linear", kind).path)
    shutil.copy(sorted((place / "real").iterdir())[0], tmp_path / "face.jpg")
    page = (ROOT / "docs" / "export.md").read_text("utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    script = f"{code}\nimport sys\nassert 'clare' not in sys.modules"
    shown = run_outside("-W", "ignore", "-c", script, cwd=tmp_path).splitlines()
    assert len(shown) == 4 and {line.split()[0] for line in shown[:2]} <= {"real", "fake"}
    scores = [float(line.split()[-1]) for line in shown]
    assert scores == pytest.approx([scores[0]] * 4, abs=1e-4)
