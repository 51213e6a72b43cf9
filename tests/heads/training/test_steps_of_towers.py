"""Steps that move a tower, beside a plain loop over open_clip's model, and what they compute."""

import copy
import json
from dataclasses import replace

import open_clip
import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from safetensors.torch import load_file
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from clare.errors import InputError
from clare.heads.config import create_config
from clare.models.normalisations import NORMALISATIONS
from tests.heads.tuned_runs import LARE2, LN, fresh, steps_of


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


def test_norms_and_the_residual_stream_are_float32_under_bfloat16(stores):
    detector, batch, _ = fresh(stores("vit"), LN)
    seen: set[torch.dtype] = set()
    for module in detector.fusion.tower.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_hook(lambda m, i, o: seen.update((i[0].dtype, o.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        assert detector.vectors(batch).dtype == torch.float32
    assert seen == {torch.float32}


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


@pytest.mark.slow
@pytest.mark.parametrize("config", [LN, LARE2], ids=["ln", "lare2"])
def test_a_compiled_step_is_that_of_one_that_is_not(stores, monkeypatch, config):
    store = stores("vit")
    (plain, batch, labels), (again, *_) = (fresh(store, config) for _ in range(2))
    expected, _ = steps_of(plain, config, batch, labels, 3)
    compiled = torch.compile  # with its own backend it would take a C++ compiler, and a minute
    monkeypatch.setattr(torch, "compile", lambda one: compiled(one, backend="aot_eager"))
    found, _ = steps_of(again, config, batch, labels, 3, compile=True)
    assert found == pytest.approx(expected, abs=1e-5)
