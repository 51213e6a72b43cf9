"""The model card of an exported folder: what a run's own files say of it, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from clare.bootstrap import Figure
from clare.exports.facts import Alignment, Facts, Input
from clare.exports.weights import CONFIG, PROGRAM, WEIGHTS
from clare.heads.evaluation.baseline_names import title_of
from clare.heads.evaluation.record import (
    Baselines,
    EvaluationRecord,
    list_evaluations,
    read_evaluation,
)
from clare.heads.published import ImportRecord
from clare.heads.report.formatting import MASK_NAMES, NAMES, decimal, sentence, span
from clare.heads.runs.run import Run
from clare.wording import counted, listed

VALIDATION = ("iou", "auc", "ap", "eer", "balanced_accuracy")
TEST = ("auc", "ap", "balanced_accuracy", "tpr_at_fpr_5")
MASKS = ("iou", "f1", "ap", "false_area")
"""The figures that are shown, in their order."""

TO_FILL_IN = "**to fill in**"


def write_card(run: Run, facts: Facts) -> str:
    """The card, in Markdown, with the front matter of a model hub.

    Args:
        run: that is exported.
        facts: of the export.
    """
    sections = (
        _front(facts),
        _head(run, facts),
        _use(facts),
        _preparation(facts.inputs),
        _data(run),
        _validation(run),
        _tests(run),
        _limits(run, facts),
        _licence(run, facts),
    )
    blocks = filter(None, map(list, sections))
    return "\n".join(chain.from_iterable((*block, "") for block in blocks))


def _front(facts: Facts) -> Iterator[str]:
    task = "image-segmentation" if facts.kind == "localizer" else "image-classification"
    yield from ("---", "license: unknown", f"pipeline_tag: {task}", "library_name: pytorch")
    yield from ("tags:", "- generated-image-detection", "- clare", "---")


def _head(run: Run, facts: Facts) -> Iterator[str]:
    parts = facts.detector.parts
    made_of = " and ".join(f"{kind} `{name}`" for kind, name in parts.items())
    what = (
        "Says which pixels of an image are fake, and scores the image"
        if facts.kind == "localizer"
        else "Tells fake images from real ones, as far as the figures below go"
    )
    yield from (f"# {facts.run}", "")
    yield f"{what}: {made_of}, over {_origin(facts)}."
    yield from (
        "",
        f"Written by `clare export` (CLaRE {facts.clare}) from the files of a training run.",
    )
    yield f"What they do not say is marked {TO_FILL_IN}."
    for remark in facts.remarks:
        yield from ("", f"> {sentence(remark)}.")
    if run.record.remainder:
        yield from ("", f"> {sentence(run.record.remainder)}.")


def _origin(facts: Facts) -> str:
    towers = {one.extractor for one in facts.inputs if one.extractor}
    told = [
        f"{name} ({', '.join(map(str, one.origin.values())) or 'no weights'})"
        for name, one in facts.extractors.items()
        if name in towers or not towers
    ]
    return f"{'pixels, by' if towers else 'features of'} {listed(told)}"


def _use(facts: Facts) -> Iterator[str]:
    names = [one.name for one in facts.outputs]
    yield from ("## Use", "", "torch and safetensors are enough:", "", "```python")
    yield from _imports(facts.inputs)
    yield f'weights = dict(sorted(load_file("{WEIGHTS}").items()))'
    yield f'model = torch.export.load("{PROGRAM}").module()'
    yield from _example(facts.inputs)
    given = ", ".join(one.name for one in facts.inputs)
    yield "with torch.no_grad():"
    yield f"    {', '.join(names)} = model(weights, {given})"
    yield f"is_fake = margin >= {facts.threshold!r}"
    yield from ("```", "", "| output | shape | what it is |", "|---|---|---|")
    for one in facts.outputs:
        yield f"| `{one.name}` | {_shape(one.shape)} | {one.meaning} |"
    yield ""
    yield f"The threshold: {facts.threshold_from}."
    yield f"`{CONFIG}` holds all of this, and the settings and fingerprints of the features."


def _imports(inputs: Sequence[Input]) -> Iterator[str]:
    """What the lines of the example need, as `_example` makes its inputs."""
    pictures = len(inputs) == 1 and inputs[0].pixels is not None
    if pictures and inputs[0].pixels is not None and inputs[0].pixels.images.get("recode"):
        yield from ("import io", "")
    yield from (["import numpy as np"] if pictures else [])
    yield "import torch"
    yield from (["from PIL import Image, ImageOps"] if pictures else [])
    yield from ("from safetensors.torch import load_file", "")


def _example(inputs: Sequence[Input]) -> Iterator[str]:
    """Lines that make the inputs: of a picture where that needs no more than squashing it."""
    (one, *others) = inputs
    if one.pixels is None or others:
        for each in inputs:
            sizes = ", ".join(map(str, each.shape[1:]))
            comment = "made as below" if each.pixels else each.meaning
            yield f"{each.name} = torch.randn(1, {sizes})  # {comment}"
        return
    made, images = one.pixels, one.pixels.images
    yield ""
    cut = "" if images["crop"] == "none" else "  # cut out as below"
    yield 'image = ImageOps.exif_transpose(Image.open("face.jpg")).convert("RGB")' + (
        "" if made.alignment else cut
    )
    if made.alignment is not None:
        yield from _aligned(made.alignment, cut)
    if images.get("resize"):
        yield _resized(images["resize"])
    if images.get("recode"):
        container, _, quality = images["recode"].partition(":")
        how = 'subsampling="4:2:0"' if container == "jpeg" else "method=4"
        yield "coded = io.BytesIO()"
        yield f'image.save(coded, "{container.upper()}", quality={quality}, {how})'
        yield 'image = Image.open(coded).convert("RGB")'
    yield _resized(made.size)
    yield f"values = (np.asarray(image) / 255 - {list(made.mean)}) / {list(made.std)}"
    yield f"{one.name} = torch.from_numpy(values).float().permute(2, 0, 1)[None]"


def _aligned(alignment: Alignment, cut: str) -> Iterator[str]:
    """Lines that bring the face of an image into a square, points being complex numbers x + iy."""
    detector, template = next(iter(alignment.templates.items()))
    yield f"# x and y of each point of the face, as {detector} finds them: {alignment.points}"
    yield 'points = np.loadtxt("points.txt").reshape(5, 2) @ [1, 1j]'
    onto = ", ".join(f"[{x:.4f}, {y:.4f}]" for x, y in template)
    yield f"template = np.array([{onto}]) @ [1, 1j]"
    yield "off = points - points.mean()"
    yield "turn = np.vdot(off, template - template.mean()) / np.vdot(off, off).real"
    # Pillow counts from the edge of a pixel, and asks where one of the square comes from.
    yield "shift = template.mean() - turn * points.mean() + 0.5 + 0.5j"
    yield "back, start = 1 / turn, 0.5 + 0.5j - shift / turn"
    yield "inverse = (back.real, -back.imag, start.real, back.imag, back.real, start.imag)"
    yield f"square, bilinear = ({alignment.side}, {alignment.side}), Image.Resampling.BILINEAR"
    yield f"image = image.transform(square, Image.Transform.AFFINE, inverse, bilinear){cut}"


def _resized(side: int) -> str:
    return f"image = image.resize(({side}, {side}), Image.Resampling.BICUBIC)"


def _preparation(inputs: Sequence[Input]) -> Iterator[str]:
    for one in inputs:
        if one.pixels is None:
            continue
        yield from (f"## How `{one.name}` are made", "", f"Shape {_shape(one.shape)}, float32.", "")
        yield from (f"{n}. {step}" for n, step in enumerate(one.pixels.steps, start=1))
        yield from ("", f"mean {list(one.pixels.mean)}, std {list(one.pixels.std)}", "")
        yield "Scores hold for images that are prepared like this; other steps give other scores."
    if all(one.pixels is None for one in inputs):
        yield from ("## Inputs", "", "| input | shape | what it is |", "|---|---|---|")
        yield from (f"| `{one.name}` | {_shape(one.shape)} | {one.meaning} |" for one in inputs)


def _data(run: Run) -> Iterator[str]:
    record = run.record
    yield from ("## Training data", "")
    if record.imported is not None:
        yield "Not trained here."
        yield from _whence(record.imported)
        return
    yield from ("| split | real images | fake images |", "|---|---|---|")
    for split, rows in record.rows.items():
        yield f"| {split} | {rows['real']:,} | {rows['fake']:,} |"
    origin = record.published
    theirs = {origin.about.trained_on} if origin else set()
    fakes = [name for name in record.trained_on if name not in theirs]
    yield from ("", f"Fakes of {listed(f'`{name}`' for name in fakes)}.")
    others = [name for name in record.all_subsets if name not in record.trained_on]
    if others:
        yield f"Reals beside them of {listed(f'`{name}`' for name in others)}."
    if record.config.protocol:
        yield f"Protocol: {Path(record.config.protocol).stem}."
    yield f"How faces were cropped: {record.cropping or 'not recorded'}."
    if record.parent:
        but = ", but for those of published weights" if origin else ""
        began = f"It began from the run {Path(record.parent.run).name}"
        yield f"{began}, whose data are among these{but}."
    if origin is not None:
        yield from _whence(origin)
    yield f"What these sets are, who is in them, and under which terms: {TO_FILL_IN}."


def _whence(origin: ImportRecord) -> Iterator[str]:
    """Where published weights come from, and what their authors say of them."""
    about = origin.about
    yield f"Published weights of {about.title} ({about.url}), which their authors trained on"
    yield f"{about.trained_on}. The file was `{origin.file}`, sha256 {origin.sha256}."
    if about.figure:
        yield f"What they say of it: {about.figure}."


def _validation(run: Run) -> Iterator[str]:
    found = run.validation
    if not found.metrics:
        return
    yield from ("## Validation", "")
    yield f"The checkpoint (epoch {found.epoch}) and the threshold were chosen on these images,"
    yield "which favours the figures."
    yield from ("", "| figure | value | 95 % interval | images |", "|---|---|---|---|")
    names = {**NAMES, "iou": MASK_NAMES["iou"]}
    for name in VALIDATION:
        if (figure := found.metrics.get(name)) is not None and figure.value is not None:
            yield f"| {names[name]} | {decimal(figure.value)} | {span(figure)} | {figure.n:,} |"


def _tests(run: Run) -> Iterator[str]:
    unlisted = run.record.published is not None
    yield from ("## Tests" if unlisted else "## Tests on images that it has never seen", "")
    folders = list_evaluations(run.path)
    if not folders:
        yield "None: nothing is known of how it does on other images than validation's."
    elif unlisted:
        yield "Whether published weights were trained on some of these images is not known."
    for folder in folders:
        record = read_evaluation(folder)
        asked = f"Protocol {Path(record.protocol).stem}, split" if record.protocol else "Split"
        yield f"{asked} {record.split}, at the threshold {run.validation.threshold_source}:"
        if record.detects:
            yield from _table(
                ("subset", "real", "fake", *(NAMES[name] for name in TEST), "hardest baseline"),
                [
                    (
                        name,
                        f"{one.real:,}",
                        f"{one.fake:,}",
                        *(_figure(one.frame.get(figure)) for figure in TEST),
                        _hardest(record.baselines, name),
                    )
                    for name, one in record.subsets.items()
                ],
            )
        if record.masks is not None:
            yield from _table(
                ("subset", "images", *(MASK_NAMES[name] for name in MASKS), "hardest baseline"),
                [
                    (
                        name,
                        f"{one.figures['iou'].n:,}" if "iou" in one.figures else "",
                        *(_figure(one.figures.get(figure)) for figure in MASKS),
                        _hardest(record.mask_baselines, name),
                    )
                    for name, one in record.masks.subsets.items()
                ],
            )
        yield from _remarks(record)
    if folders:
        yield "In brackets 95 % intervals, over videos or people where they are known. A baseline"
        yield "needs no training, as the size of the file; what it tells, a detector must beat."


def _remarks(record: EvaluationRecord) -> Iterator[str]:
    told = [
        *([record.control] if record.control else []),
        *(f"{counted(n, 'image')} of {name} had no features" for name, n in record.skipped.items()),
        *(f"{name} was not tested: {why}" for name, why in record.absent.items()),
        *record.notes,
    ]
    if told:
        yield from (*(f"- {sentence(one)}" for one in told), "")


def _shape(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _figure(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    return f"{decimal(figure.value)} ({span(figure)})" if span(figure) else decimal(figure.value)


def _hardest(baselines: Baselines | None, subset: str) -> str:
    name = None if baselines is None else baselines.hardest(subset)
    if baselines is None or name is None:
        return "not measured"
    value = baselines.known(subset)[name]
    beaten: Mapping[str, str] = {"yes": "beaten", "no": "not beaten", "not clearly": "not clearly"}
    told = beaten.get(baselines.verdict(subset, name), "lead not measured")
    return f"{title_of(name)} {decimal(value)}: {told}"


def _limits(run: Run, facts: Facts) -> Iterator[str]:
    yield from ("## Limits", "")
    yield "- It learned from the fakes named above. Of other generators, manipulations, cameras and"
    yield "  compressions nothing is known but what a test above says."
    yield "- An output is no proof of what an image is, and none of who made it."
    yield "- `p_fake` is the sigmoid of the margin: it puts images in order, and how often it is"
    yield "  right on other data is not known."
    yield "- Nothing was measured by people's age, sex or skin colour."
    dtypes = {one.fingerprint["settings"].get("dtype") for one in facts.extractors.values()}
    if dtypes - {None, "float32"}:
        yield "- Its features were extracted in half precision, and the towers run in float32 here:"
        yield "  values differ by about a percent."


def _licence(run: Run, facts: Facts) -> Iterator[str]:
    yield from ("## Licence", "")
    whole = any(one.pixels for one in facts.inputs)
    bound = "the towers inside and the training data" if whole else "the training data"
    if (origin := run.record.published) is not None:
        began = "The head's weights" if run.record.imported else "The weights that it began from"
        yield f"{began} and their code, {origin.about.title}, as published: {origin.about.licence}."
        yield ""
    yield f"Licence of these weights: {TO_FILL_IN}, here and in the first lines. It is bound by the"
    yield f"terms of {bound}, which the run does not record."
    yield from ("", f"How to cite: {TO_FILL_IN}. Contact: {TO_FILL_IN}.")
