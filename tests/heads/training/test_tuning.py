"""Towers that move: steps beside a plain loop over open_clip's model, and what is kept of them."""

import copy
import json
from dataclasses import replace
from functools import cache
from typing import Any

import open_clip
import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from safetensors.torch import load_file
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from clare.errors import InputError
from clare.heads.config import Machine, create_config
from clare.heads.data.dataset import FeatureDataset
from clare.heads.detector import create_model
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.runs.record import extractor_record, read_record
from clare.heads.runs.run import open_run
from clare.heads.runs.tower import rebuild_tower
from clare.heads.training.learner import Learner
from clare.heads.training.trainer import Observer, train_run, train_runs
from clare.models.normalisations import NORMALISATIONS
from clare.pipeline.images.settings import ImageSettings
from tests.heads.tuned_store import create_tuned, write_tower

LN = create_config(
    {
        "fusion": "cls",
        "classifier": "linear",
        "fields": {"cls": "clip_cls_pre"},
        "classifier_settings": {"normalize": True},
        "tune": "ln",
        "lr": 3e-3,
        "schedule": "constant",
        "warmup_epochs": 0,
        "epochs": 3,
        "batch": 8,
        "clip": None,
        "balance": False,
    }
)
LARE2 = create_config(
    {
        "fusion": "esa",
        "fusion_settings": {"dropout": 0.0},
        "classifier": "linear",
        "tune": "full",
        "standardize": False,
        "optimizer": "adamw",
        "lr": 1e-4,
        "weight_decay": 0.0,
        "clip": 5.0,
        "balance": False,
        "batch": 8,
        "epochs": 2,
    }
)


def places(store):
    """Where the store's tower lies, which is a folder of a user's own."""
    return {name: {"model": str(store.path.with_name("model"))} for name in ("clip", "tower")}


def machine(store, **settings):
    return Machine(settings=places(store), **settings)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A store by the kind of its tower, made once; read alone."""

    @cache
    def make(kind):
        return create_tuned(tmp_path_factory.mktemp(kind) / "features.zarr", kind)

    return make


def plain_visual(store, kind):
    """The image tower as open_clip builds it, with the store's weights, without a projection."""
    folder = store.path.with_name("model")
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    clip = open_clip.CLIP(**config)
    clip.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    if kind == "vit":
        clip.visual.proj = None
    return clip.visual.eval()


def normalised(pixels):
    mean, std = (torch.tensor(values) for values in NORMALISATIONS["clip"])
    return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def fresh(store, config) -> tuple[Any, Any, Any]:
    """A detector, the rows that train it, and their labels."""
    data = FeatureDataset(store, ["pixels", "lare"], subsets=["all"], split="train")
    (key,) = (key for key in store.extractor_keys() if key.startswith(("clip-", "tower-")))
    tower = rebuild_tower(extractor_record(store, key), places(store)[key.split("-")[0]])
    specs = {
        n: spec.shape for k in store.extractor_keys() for n, spec in store.extractor(k)[1].items()
    }
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        detector = create_model(config.detector, specs, None, tower)
    batch = {n: v for n, v in data.read(range(len(data))).items() if n in ("pixels", "lare")}
    return detector, batch, torch.from_numpy(data.labels)


def steps_of(detector, config, batch, labels, count=10, **how):
    """Losses of the learner's steps, each on the next eight rows."""
    learner = Learner([detector], [config], labels, **how)
    losses = []
    for step in range(count):
        picked = (torch.arange(8) + 8 * step) % len(labels)
        inputs = detector.inputs({name: value[picked] for name, value in batch.items()})
        losses.append(learner.step(inputs, labels[None, picked], [config.lr]).item())
    return losses, learner.write_back(0, learner.snapshot(0))


def plain_steps(vectors, head, tower, optimizer, batch, labels, clip=None, count=10):
    """The same in torch alone."""
    moving = [p for group in optimizer.param_groups for p in group["params"]]
    losses = []
    for step in range(count):
        picked = (torch.arange(8) + 8 * step) % len(labels)
        logits = head(vectors(tower, {name: value[picked] for name, value in batch.items()}))
        loss = functional.cross_entropy(logits, labels[picked])
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(moving, clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_ten_steps_of_ln_tuning_are_those_of_a_plain_loop(stores):
    store = stores("vit")
    detector, batch, labels = fresh(store, LN)
    head = torch.nn.Linear(32, 2)
    head.load_state_dict(detector.classifier.layer.state_dict())
    tower = plain_visual(store, "vit").requires_grad_(False)
    norms = [one for one in tower.modules() if isinstance(one, torch.nn.LayerNorm)]
    moving = [p.requires_grad_() for norm in norms for p in norm.parameters()]
    assert len(norms) == 6
    optimizer = torch.optim.AdamW([*moving, *head.parameters()], 3e-3, weight_decay=0.01)

    def vectors(tower, batch):
        return functional.normalize(tower(normalised(batch["pixels"])), dim=1)

    expected = plain_steps(vectors, head, tower, optimizer, batch, labels)
    found, learnt = steps_of(detector, LN, batch, labels)
    assert found == pytest.approx(expected, abs=1e-6)
    # What it learnt, put into the plain model, gives what it gives.
    with torch.no_grad():
        own = learnt.fusion.tower.visual.state_dict()
        plain = plain_visual(store, "vit")
        plain.load_state_dict(own)
        outputs = plain(normalised(batch["pixels"]))
        torch.testing.assert_close(learnt.eval().vectors(batch), outputs, atol=1e-5, rtol=0)
        untuned = plain_visual(store, "vit")(normalised(batch["pixels"]))
    assert (outputs - untuned).abs().max() > 0.01


@pytest.mark.parametrize(("mode", "bound"), [("eval", 1e-6), ("train", 1e-4)])
def test_ten_steps_of_lare2_are_those_of_a_plain_loop(stores, mode, bound):
    store = stores("rn50")
    detector = replace(LARE2.detector, tune_settings={"batchnorm": mode})
    config = replace(LARE2, detector=detector)
    detector, batch, labels = fresh(store, config)
    inner = copy.deepcopy(detector.fusion.inner)
    head = torch.nn.Linear(inner.width, 2)
    head.load_state_dict(detector.classifier.layer.state_dict())
    tower = plain_visual(store, "rn50").train(mode == "train")
    assert isinstance(tower, ModifiedResNet)
    optimizer = torch.optim.Adam(
        [*tower.parameters(), *inner.parameters(), *head.parameters()], 1e-4
    )

    def vectors(tower, batch):
        x = tower.layer2(tower.layer1(tower.stem(normalised(batch["pixels"]))))
        tokens = tower.layer3(x)
        cls = tower.attnpool(tower.layer4(tokens))
        lare = batch["lare"][:, 0].float().mean(1)
        return inner({"cls": cls, "tokens": tokens.flatten(2).mT, "lare": lare})

    expected = plain_steps(vectors, head, tower, optimizer, batch, labels, clip=5.0)
    found, learnt = steps_of(detector, config, batch, labels)
    assert found == pytest.approx(expected, abs=bound)
    moved = learnt.fusion.tower.visual.bn1.running_mean
    came = plain_visual(store, "rn50").bn1.running_mean
    assert torch.equal(moved, came) == (mode == "eval")
    torch.testing.assert_close(moved, tower.bn1.running_mean, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "way", "settings", "count"),
    [
        ("vit", "ln", {}, 12),
        ("pe", "ln", {}, 2 * (3 * 2 + 3)),
        ("rn50", "full", {}, None),
        ("rn50", "full", {"batchnorm": "train"}, None),
    ],
)
def test_a_run_keeps_what_moved_and_is_opened_with_the_rest(
    stores, tmp_path, kind, way, settings, count
):
    store = stores(kind)
    fields = {"cls": "tower_pooled" if kind == "pe" else "clip_cls"}
    detector = replace(LN.detector, fields=fields, tune=way, tune_settings=settings)
    train_run(replace(LN, detector=detector, epochs=2), store, tmp_path / "run", machine(store))
    kept = load_file(tmp_path / "run" / "best.safetensors")
    tower = {name for name in kept if name.startswith("fusion.tower.")}
    statistics = {name for name in tower if "running" in name or "num_batches" in name}
    assert bool(statistics) == (settings != {})
    if count:
        assert len(tower) == count and all(kept[name].ndim == 1 for name in tower)
    assert read_record(tmp_path / "run").tower == ("tower" if kind == "pe" else "clip")
    run = open_run(tmp_path / "run", places=places(store))
    found = evaluate(tmp_path / "run", resamples=0, settings=places(store))
    data = FeatureDataset(store, ["pixels"], subsets=["all"], split="test")
    with torch.no_grad():
        margins = run.detector.margins(data.read(range(len(data))))
    assert found.predictions.margin == pytest.approx(margins.numpy(), abs=1e-5)


class Stopping(Observer):
    """Breaks off after an epoch."""

    def __init__(self, after):
        self.after = after

    def epoch(self, run, record):
        if record["epoch"] == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("kind", "config"), [("vit", LN), ("rn50", LARE2)])
def test_killed_and_resumed_is_as_undisturbed(stores, tmp_path, kind, config):
    if kind == "rn50":
        moving = replace(config.detector, tune_settings={"batchnorm": "train"})
        config = replace(config, detector=moving, epochs=3)
    store = stores(kind)
    often = machine(store, checkpoint_seconds=0)
    train_run(config, store, tmp_path / "whole", often)
    with pytest.raises(KeyboardInterrupt):
        train_run(config, store, tmp_path / "cut", often, Stopping(2))
    train_run(config, store, tmp_path / "cut", often)
    for name in ("best.safetensors", "val_predictions.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_runs_of_one_process_share_what_does_not_move(stores):
    store = stores("vit")
    detector, *_ = fresh(store, LN)
    other: Any = create_model(LN.detector, detector.specs, None, detector.base)
    for name, value in detector.fusion.tower.named_parameters():
        twin = other.fusion.tower.get_parameter(name)
        assert (twin is value) == (not value.requires_grad)
        assert value.requires_grad == (".ln_" in name)
    learner = Learner([detector], [LN], torch.tensor([0, 1]))
    learning = sum(p.numel() for p in detector.parameters() if p.requires_grad)
    assert learner.values.shape == (1, learning)
    assert learner._constants.numel() == 0


def test_runs_side_by_side_are_as_alone(stores, tmp_path):
    store = stores("vit")
    configs = [replace(LN, seed=seed) for seed in (0, 1)]
    train_runs(configs, store, [tmp_path / "a", tmp_path / "b"], machine(store))
    train_run(configs[1], store, tmp_path / "alone", machine(store))
    one, other = (load_file(tmp_path / name / "best.safetensors") for name in ("b", "alone"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_recomputed_blocks_change_nothing(stores):
    store = stores("vit")
    (plain, batch, labels), (again, *_) = (fresh(store, LN) for _ in range(2))
    again.fusion.recompute()
    expected, _ = steps_of(plain, LN, batch, labels)
    found, _ = steps_of(again, LN, batch, labels)
    assert found == pytest.approx(expected, abs=1e-7)


def test_norms_and_the_residual_stream_are_float32_under_bfloat16(stores):
    detector, batch, _ = fresh(stores("vit"), LN)
    seen: set[torch.dtype] = set()
    for module in detector.fusion.tower.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_hook(lambda m, i, o: seen.update((i[0].dtype, o.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        assert detector.vectors(batch).dtype == torch.float32
    assert seen == {torch.float32}


def test_a_head_that_was_trained_on_cached_features_goes_on_with_the_tower(stores, tmp_path):
    store = stores("vit")
    probe = replace(LN, detector=replace(LN.detector, tune="none"))
    train_run(probe, store, tmp_path / "probe")
    begun = replace(LN, init_from=str(tmp_path / "probe"), epochs=1)
    train_run(begun, store, tmp_path / "ln", machine(store))
    log = (tmp_path / "ln" / "run.log").read_text()
    assert "begins with 66 of 450 parameters" in log


def test_what_another_run_tuned_goes_on_in_the_same_tower_alone(stores, tmp_path):
    store = stores("vit")
    short = replace(LN, epochs=1)
    train_run(short, store, tmp_path / "first", machine(store))
    begun = replace(short, init_from=str(tmp_path / "first"))
    train_run(begun, store, tmp_path / "next", machine(store))
    assert "begins with 450 of 450 parameters" in (tmp_path / "next" / "run.log").read_text()
    cached = replace(begun, detector=replace(LN.detector, tune="none"))
    train_run(cached, store, tmp_path / "head")
    log = (tmp_path / "head" / "run.log").read_text()
    assert "66 of 66 parameters" in log and "its tower was tuned and stays behind" in log
    other = create_tuned(tmp_path / "other" / "features.zarr", "vit", seed=3)
    with pytest.raises(InputError, match="tuned a tower of other weights"):
        train_run(begun, other, tmp_path / "no", machine(other))


def test_a_batch_that_does_not_fit_is_told_with_one_that_does(stores):
    detector, batch, labels = fresh(stores("vit"), LN)
    inner = detector.fusion.inner
    taken = inner.forward

    def full(inputs):
        if len(inputs["cls"]) > 3:
            raise torch.OutOfMemoryError("no memory left")
        return taken(inputs)

    inner.forward = full
    with pytest.raises(InputError, match=r"a step on 8 rows: .*batch=2"):
        steps_of(detector, LN, batch, labels)


def test_other_weights_are_refused(tmp_path):
    store = create_tuned(tmp_path / "features.zarr", "vit")
    train_run(replace(LN, epochs=1), store, tmp_path / "run", machine(store))
    write_tower(tmp_path / "model", "vit", seed=7)
    with pytest.raises(InputError, match=r"weights found for clip .* are not those"):
        open_run(tmp_path / "run", places=places(store))
    with pytest.raises(InputError, match=r"weights found for clip .* are not those"):
        train_run(LN, store, tmp_path / "other", machine(store))
    write_tower(tmp_path / "elsewhere", "vit")
    there = {"clip": {"model": str(tmp_path / "elsewhere")}}
    assert open_run(tmp_path / "run", places=there).detector.base is not None


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("rn50", {"fields": {"cls": "clip_cls"}}, "has no LayerNorm that could be tuned"),
        ("vit", {"fusion": "lare", "fields": {}}, "fusion lare takes nothing of an image tower"),
        ("vit", {"classifier": "knn", "classifier_settings": {}}, "knn takes no steps"),
        ("vit", {"fields": {"cls": "clip_cls_pre", "pixels": "photos"}}, "the store has no photos"),
        ("vit", {"tune": "ln-all"}, "no tuning 'ln_all'"),
    ],
)
def test_what_can_not_be_tuned_is_said(stores, tmp_path, kind, given, said):
    config = create_config(given, LN)
    with pytest.raises(InputError, match=said):
        train_run(config, stores(kind), tmp_path / "run", machine(stores(kind)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"side": 48}, "pixels are of 48 x 48, and the tower takes 32 x 32"),
        ({"images": ImageSettings(crop="centre")}, "were cut out of the images differently"),
    ],
)
def test_pixels_that_the_tower_did_not_see_are_refused(tmp_path, how, said):
    store = create_tuned(tmp_path / "features.zarr", "vit", **how)
    with pytest.raises(InputError, match=said):
        train_run(LN, store, tmp_path / "run")


def test_a_decoder_tunes_no_tower():
    with pytest.raises(InputError, match="not under a decoder"):
        create_config({"decoder": "linear", "tune": "ln"})


@pytest.mark.parametrize("kind", ["vit", "pe"])
def test_attention_is_fused_and_gives_what_plain_attention_gives(stores, monkeypatch, kind):
    field = "clip_cls_pre" if kind == "vit" else "tower_pooled"
    detector, batch, _ = fresh(stores(kind), create_config({"fields": {"cls": field}}, LN))
    moving = list(detector.parameters_to_train().values())

    def step():
        logits = detector.train()(batch)
        gradients = torch.autograd.grad(logits.square().sum(), moving)
        return logits.detach(), torch.cat([one.flatten() for one in gradients])

    found, blocks = step(), []

    def plain(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **how):
        assert (attn_mask, dropout_p, is_causal) == (None, 0.0, False)
        blocks.append(query.shape)
        return (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1) @ value

    monkeypatch.setattr(functional, "scaled_dot_product_attention", plain)
    expected = step()
    assert len(blocks) >= len(detector.fusion.tower.blocks)
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


class Products(TorchDispatchMode):
    """Notes how many matrices each product of several has."""

    def __init__(self):
        super().__init__()
        self.counts = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.bmm.default:
            self.counts.append(len(args[0]))
        return func(*args, **(kwargs or {}))


def test_attention_multiplies_by_weights_that_stay_once_for_all_tokens(stores):
    detector, batch, _ = fresh(stores("vit"), LN)
    moving = list(detector.parameters_to_train().values())
    with Products() as products:
        torch.autograd.grad(detector.train()(batch).sum(), moving)
    tokens = 1 + (32 // 8) ** 2
    assert tokens not in products.counts


@pytest.mark.parametrize("config", [LN, LARE2], ids=["ln", "lare2"])
def test_a_compiled_step_is_that_of_one_that_is_not(stores, monkeypatch, config):
    store = stores("vit")
    (plain, batch, labels), (again, *_) = (fresh(store, config) for _ in range(2))
    expected, _ = steps_of(plain, config, batch, labels, 3)
    compiled = torch.compile  # with its own backend it would take a C++ compiler, and a minute
    monkeypatch.setattr(torch, "compile", lambda one: compiled(one, backend="aot_eager"))
    found, _ = steps_of(again, config, batch, labels, 3, compile=True)
    assert found == pytest.approx(expected, abs=1e-5)


def test_waiting_for_batches_is_told_before_each_step(stores, tmp_path):
    told = []

    class Watching(Observer):
        def waited(self, seconds):
            told.append(seconds >= 0)

        def trained(self, done, total):
            told.append((done, total))

    store = stores("vit")
    config = replace(LN, epochs=1)
    train_run(config, store.path, tmp_path / "run", machine(store), Watching())
    assert told == [True, (8, 24), True, (16, 24), True, (24, 24)]
