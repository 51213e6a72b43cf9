"""Stage two rehearsed for a GPU: steps and judgements of every head, their tensors on one device.

The gradient alone is not computed: that needs a device. Of `knn`, which rows it keeps hangs on
values, so that it is left out.
"""

from __future__ import annotations

import pytest
import torch

from clare.heads import classifiers, decoders, fusion
from clare.heads.config import create_config
from clare.heads.detector import create_model, needs_text
from clare.heads.layers.tower import BaseTower
from clare.heads.text.tower import TextTower
from clare.heads.training.learner import Learner
from clare.models.runtime import Runtime
from clare.models.towers import TOWERS, load_image_tower
from clare.models.tuning import list_tunings
from clare.plugins import list_parts
from clare.settings import build_settings
from clare.store.spec import Fingerprint
from tests.fake_gpu import DEVICE, fake_gpu, move
from tests.heads.tuned_store import write_tower

SPECS = {
    "clip_cls": (24,),
    "clip_tokens": (16, 20),
    "lare": (2, 3, 4, 8, 8),
    "face_parts": (5, 4),
    "mask": (32, 32),
}
STORED_AS = {"clip_cls": torch.float32, "face_parts": torch.float32, "mask": torch.uint8}
ROWS = 24
FUSIONS, CLASSIFIERS = list_parts(fusion), list_parts(classifiers)
HEADS = [
    *({"fusion": name, "classifier": "linear"} for name in FUSIONS),
    *({"fusion": "cross_attn", "classifier": name} for name in CLASSIFIERS if name != "knn"),
    {"fusion": "cls", "classifier": "coop"},
    {"fusion": "esa", "classifier": "linear", "standardize": False},
    {"fusion": "esa", "classifier": "linear", "precision": "bfloat16"},
    {"fusion": "cross_attn", "classifier": "cocoop", "precision": "bfloat16"},
    {"fusion": "lare", "classifier": "linear", "timestep": 1, "draws": 2, "optimizer": "sgd"},
    {"fusion": "concat", "classifier": "linear", "alignment": 0.1, "uniformity": 0.5},
    {"fusion": "cls", "classifier": "coop", "slerp": True, "label_smoothing": 0.1},
    {"fusion": "cls", "classifier": "cocoop", "pair_loss": 0.5, "precision": "bfloat16"},
]
DECODERS = [
    *({"decoder": name} for name in list_parts(decoders) if name not in ("conv_12", "conv_20")),
    {"decoder": "conv_4", "precision": "bfloat16", "empty_masks": True},
    {"decoder": "linear", "fields": {"tokens": "clip_tokens", "lare": "lare"}, "score": "top"},
    {"decoder": "linear", "supervision": "image", "select": "auc"},
]


BLOCK = {"block_tokens": "clip_tokens_0", "block_cls": "clip_cls_0"}
WAYS = [
    {"tune": "blocks:1", "fields": BLOCK} if way == "blocks" else {"tune": way}
    for way in list_tunings()
]


def rehearse(settings, plain_text, runs=1, masks=False):
    """One step and one judgement of runs side by side, as (losses, judged)."""
    config = create_config(settings)
    text = TextTower.load(plain_text.file) if needs_text(config.detector) else None
    models = [create_model(config.detector, SPECS, text) for _ in range(runs)]
    with fake_gpu() as mode:
        for model in [*models, *([] if text is None else [text])]:
            move(model, mode)
        fields = [*models[0].fields, *(["mask"] if masks else [])]
        batch = {
            name: torch.zeros(
                ROWS, *SPECS[name], dtype=STORED_AS.get(name, torch.float16), device=DEVICE
            )
            for name in fields
        }
        models[0].fit_statistics([batch])
        labels = torch.zeros(ROWS, dtype=torch.int64)
        # As training has them: labels of all rows on the device, one row a run.
        learner = Learner(models, [config] * runs, labels)
        inputs = models[0].inputs(batch)
        taken = labels.to(DEVICE).expand(runs, -1)
        groups = labels.to(DEVICE) if config.pair_loss else None
        learns = learner.values.numel()
        losses = learner.step(inputs, taken, [1e-3] * runs, groups) if learns else None
        judged = learner.judge(inputs)
        assert judged.device.type == DEVICE and judged.shape[:2] == (runs, ROWS)
        if losses is not None:
            assert losses.device.type == DEVICE and losses.shape == (runs,)
        margins = models[0].margins(batch)
        assert margins.device.type == DEVICE and margins.shape == (ROWS,)


@pytest.mark.parametrize("settings", HEADS, ids=str)
def test_detectors(plain_text, settings):
    rehearse(settings, plain_text)


@pytest.mark.parametrize("settings", DECODERS, ids=str)
def test_localisers(plain_text, settings):
    by_mask = settings.get("supervision") != "image"
    rehearse({"select": "iou", **settings}, plain_text, masks=by_mask)


@pytest.mark.parametrize(("classifier", "weight"), [("linear", 0.5), ("coop", 0.0)])
def test_runs_side_by_side(plain_text, classifier, weight):
    settings = {"fusion": "cls", "classifier": classifier, "pair_loss": weight}
    rehearse(settings, plain_text, runs=3)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("vit", {"fusion": "cls", "tune": "ln", "slerp": True, "precision": "bfloat16"}),
        ("vit", {"fusion": "cls", "tune": "ln", "pair_loss": 0.5, "precision": "bfloat16"}),
        *(("vit", {"fusion": "esa", **way}) for way in WAYS),
        ("rn50", {"fusion": "esa", "tune": "full", "tune_settings": {"batchnorm": "train"}}),
    ],
)
def test_towers_that_are_tuned(tmp_path, kind, settings):
    config = create_config({"classifier": "linear", **settings})
    normalised = {"normalize": True} if config.slerp else {}
    config = create_config({"classifier_settings": normalised}, config)
    name = write_tower(tmp_path / "model", kind)
    layers = {"layers": (0,), "class_layers": True} if kind == "vit" else {}
    given = build_settings(name, TOWERS[name], {"model": str(tmp_path / "model"), **layers})
    base = BaseTower(Fingerprint(name, 1, "aa"), load_image_tower(given, Runtime()))
    side = base.loaded.size
    with torch.no_grad():
        fields = base.loaded.module(torch.zeros(1, 3, side, side))
    specs = {"pixels": (side, side, 3), "lare": SPECS["lare"]}
    specs |= {name: tuple(value.shape[1:]) for name, value in fields.items()}
    model = create_model(config.detector, specs, None, base)
    with fake_gpu() as mode:
        move(model, mode)
        batch = {
            name: torch.zeros(
                8, *specs[name], dtype=torch.uint8 if name == "pixels" else None, device=DEVICE
            )
            for name in model.fields
        }
        model.fit_statistics([batch])
        learner = Learner([model], [config], torch.zeros(8, dtype=torch.int64))
        inputs = model.inputs(batch)
        labels = torch.zeros(1, 8, dtype=torch.int64, device=DEVICE)
        groups = labels[0] if config.pair_loss else None
        assert learner.step(inputs, labels, [1e-3], groups).device.type == DEVICE
        assert learner.judge(inputs).device.type == DEVICE
        assert model.margins(batch).device.type == DEVICE


def test_a_tensor_left_on_the_cpu_is_found(plain_text):
    config = create_config({"fusion": "esa", "classifier": "linear"})
    model = create_model(config.detector, SPECS)
    with fake_gpu() as mode:
        move(model, mode)
        batch = {name: torch.zeros(ROWS, *SPECS[name], device=DEVICE) for name in model.fields}
        model.fit_statistics([batch])
        next(iter(model.standardizations.values())).cpu()
        with pytest.raises(RuntimeError, match="device"):
            model.margins(batch)


@pytest.mark.parametrize("classifier", [name for name in CLASSIFIERS if name != "knn"])
def test_a_finished_run_is_brought_there_with_its_text_tower(plain_text, classifier):
    config = create_config({"fusion": "cross_attn", "classifier": classifier})
    text = TextTower.load(plain_text.file) if needs_text(config.detector) else None
    model = create_model(config.detector, SPECS, text).eval()
    with fake_gpu() as mode:
        move(model, mode)
        batch = {name: torch.zeros(ROWS, *SPECS[name], device=DEVICE) for name in model.fields}
        assert model.margins(batch).device.type == DEVICE
