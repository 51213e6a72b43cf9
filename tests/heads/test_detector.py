"""A detector over stored fields: what it reads, standardises, trains, saves and refuses."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from clare.errors import InputError
from clare.heads import classifiers, fusion
from clare.heads.config import DetectorConfig
from clare.heads.detector import (
    Detector,
    load_detector,
    needs_text,
    read_detector_config,
    save_detector,
)
from clare.heads.text.tower import TextTower
from clare.plugins import list_parts

SPECS = {
    "clip_cls": (24,),
    "clip_cls_pre": (16,),
    "clip_tokens": (16, 20),
    "clip_tokens_3": (16, 20),
    "face_parts": (5, 4),
    "lare": (2, 3, 4, 8, 8),
}
PAIRS = [(f, c) for f in list_parts(fusion) for c in list_parts(classifiers)]


@pytest.fixture(scope="module")
def text(plain_text) -> TextTower:
    return TextTower.load(plain_text.file)


def draw_batch(size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    batch = {
        name: torch.randn(size, *shape, generator=generator) * 3 + 2
        for name, shape in SPECS.items()
    }
    stored_as_half = ("clip_tokens", "clip_tokens_3", "lare")
    return {n: v.half() if n in stored_as_half else v for n, v in batch.items()}


def make(name="cls", decision="linear", *, text=None, seed=0, **config):
    torch.manual_seed(seed)
    return Detector(DetectorConfig(name, decision, **config), SPECS, text)


@pytest.mark.parametrize(("name", "decision"), PAIRS)
def test_every_pair_scores_and_comes_back_from_its_file(name, decision, text, tmp_path):
    detector, batch = make(name, decision, text=text).eval(), draw_batch()
    detector.fit_statistics([batch])
    labels = torch.tensor([0, 1] * 3)
    with torch.no_grad():
        detector.classifier.fit(detector.vectors(batch), labels)
        logits = detector(batch)
        assert logits.shape == (6, 2)
        path = tmp_path / "best.safetensors"
        save_detector(detector, path)
        again = load_detector(path, text)
        assert torch.equal(again(batch), logits)
        assert torch.equal(again.margins(batch), logits[:, 1].double() - logits[:, 0].double())
        torch.testing.assert_close(again({n: v[:1] for n, v in batch.items()}), logits[:1])
    assert not again.training
    assert read_detector_config(path) == detector.config
    of_the_tower = tuple(name for name, _ in text.named_buffers())
    assert not any(name.endswith(of_the_tower) for name in safetensors.torch.load_file(path))


@pytest.mark.parametrize(("name", "decision"), PAIRS)
def test_what_trains_are_the_heads_own_parameters(name, decision, text):
    detector, batch = make(name, decision, text=text), draw_batch()
    learning = detector.parameters_to_train("full")
    assert all(
        parameter is dict(detector.named_parameters())[n] for n, parameter in learning.items()
    )
    still = name in ("cls", "pooled", "pooled_lare", "side_by_side") and detector.is_fitted
    assert bool(learning) != still
    if learning and not detector.is_fitted:
        torch.nn.functional.cross_entropy(detector(batch), torch.tensor([0, 1] * 3)).backward()
        assert [
            n for n, p in learning.items() if p.grad is None or not p.grad.isfinite().all()
        ] == []


def test_as_published_trains_the_prompts_alone(text):
    detector = make("cross_attn", "cocoop", text=text)
    names = set(detector.parameters_to_train("as-published"))
    assert names and all(name.startswith("classifier.prompts.") for name in names)
    assert names < set(detector.parameters_to_train("full"))
    with pytest.raises(InputError, match="no prompts"):
        make().parameters_to_train("as-published")


def test_it_reads_the_fields_of_its_roles():
    assert make("cls").fields == ("clip_cls",)
    assert make("esa").fields == ("clip_cls", "clip_tokens", "lare")
    other = make("esa", fields={"cls": "clip_cls_pre", "tokens": "clip_tokens_3"})
    assert other.fields == ("clip_cls_pre", "clip_tokens_3", "lare")
    batch = draw_batch()
    inputs = other.inputs(batch)
    assert torch.equal(inputs["cls"], batch["clip_cls_pre"])
    assert torch.equal(inputs["tokens"], batch["clip_tokens_3"].float())


@pytest.mark.parametrize(("timestep", "draws"), [(0, None), (1, None), (1, 2), (0, 1)])
def test_lare_is_one_step_averaged_over_draws(timestep, draws):
    detector = make("lare", timestep=timestep, draws=draws, standardize=False)
    batch = draw_batch()
    expected = batch["lare"][:, timestep, :draws].double().mean(1)
    torch.testing.assert_close(detector.inputs(batch)["lare"].double(), expected)
    assert detector.inputs(batch)["lare"].dtype == torch.float32


def test_statistics_are_those_of_all_batches_by_channel():
    detector = make("esa")
    batches = [draw_batch(size, seed) for size, seed in ((5, 1), (1, 2), (8, 3))]
    detector.fit_statistics(batches)
    whole = {name: torch.cat([b[name] for b in batches]) for name in SPECS}
    inputs = detector.inputs(whole)
    for role, axes in (("tokens", (0, 1)), ("lare", (0, 2, 3))):
        deviation, mean = torch.std_mean(inputs[role].double(), axes, correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
        torch.testing.assert_close(deviation, torch.ones_like(deviation), atol=1e-5, rtol=0)
    assert torch.equal(inputs["cls"], whole["clip_cls"])  # CLIP's own space


def test_given_statistics_are_used_and_a_constant_channel_is_only_centred():
    detector, batch = make("esa"), draw_batch()
    mean, deviation = torch.arange(4.0), torch.tensor([1.0, 2.0, 0.0, 4.0])
    detector.set_statistics({"lare": (mean, deviation)})
    plain = batch["lare"][:, 0].float().mean(1)
    divisor = torch.tensor([1.0, 2.0, 1.0, 4.0])
    expected = (plain - mean[:, None, None]) / divisor[:, None, None]
    torch.testing.assert_close(detector.inputs(batch)["lare"], expected)
    assert torch.equal(detector.inputs(batch)["tokens"], batch["clip_tokens"].float())


def test_as_published_nothing_is_standardised_and_the_batch_stays_as_it_was():
    detector, batch = make("esa", standardize=False), draw_batch()
    before = {name: values.clone() for name, values in batch.items()}
    detector.fit_statistics([batch])
    assert torch.equal(detector.inputs(batch)["tokens"], batch["clip_tokens"].float())
    make("esa").inputs(batch)
    assert all(torch.equal(batch[name], before[name]) for name in batch)


def test_a_seed_decides_a_detector(text):
    one, same, other = (make("esa", "coop", text=text, seed=s).eval() for s in (0, 0, 1))
    batch = draw_batch()
    assert torch.equal(one(batch), same(batch))
    assert not torch.equal(one(batch), other(batch))


def test_autocast_leaves_scores_close(text):
    for decision in ("linear", "cocoop"):
        detector, batch = make("esa", decision, text=text).eval(), draw_batch()
        detector.fit_statistics([batch])
        exact = detector(batch)
        with torch.autocast("cpu", torch.bfloat16):
            rough = detector(batch)
        torch.testing.assert_close(rough.float(), exact, atol=0.2, rtol=0.05)


def test_runs_of_one_shape_can_be_stacked():
    detectors = [make("esa", seed=seed).eval() for seed in range(2)]
    batch = draw_batch()
    for detector in detectors:
        detector.fit_statistics([batch])
    parameters, buffers = torch.func.stack_module_state(detectors)

    def run(weights, other):
        return torch.func.functional_call(detectors[0], (weights, other), (batch,))

    stacked = torch.func.vmap(run)(parameters, buffers)
    torch.testing.assert_close(stacked, torch.stack([detector(batch) for detector in detectors]))


def test_attention_passes_through():
    batch = draw_batch()
    shares = make("esa").eval().attention(batch)
    assert shares is not None and shares.shape == (6, 16)
    assert make("cls").attention(batch) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"fusion": "film"}, "no fusion 'film': there are cls"),
        ({"classifier": "svm"}, "no classifier 'svm'"),
        ({"fusion": "esa", "fields": {"tokens": "clip_tokens_9"}}, "'clip_tokens_9' as tokens"),
        ({"fusion": "esa", "fields": {"tokens": "clip_cls"}}, "2 axes"),
        ({"fields": {"token": "clip_tokens"}}, "no role 'token'"),
        ({"fusion": "lare", "timestep": 2}, "timestep 2: the store has 2"),
        ({"fusion": "lare", "timestep": -1}, "timestep -1"),
        ({"fusion": "lare", "draws": 4}, "4 LaRE draws"),
        ({"fusion": "lare", "draws": 0}, "0 LaRE draws"),
        ({"fusion": "esa", "fusion_settings": {"head": 3}}, "esa has no setting 'head'"),
        ({"fusion": "esa", "fusion_settings": {"dropout": "much"}}, "it is a number"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(config, message):
    with pytest.raises(InputError, match=message) as caught:
        Detector(DetectorConfig(**{"fusion": "cls", "classifier": "linear", **config}), SPECS)
    assert "\n" not in str(caught.value)


def test_a_classifier_says_whether_it_needs_text():
    assert needs_text(DetectorConfig("cls", "cocoop"))
    assert not needs_text(DetectorConfig("cls", "linear"))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "noise").write_bytes(b"\0" * 40)
    safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    for name, message in (
        ("noise", "can't be read"),
        ("absent", "is missing"),
        ("other.safetensors", "not a detector"),
    ):
        with pytest.raises(InputError, match=message):
            load_detector(tmp_path / name)


@pytest.mark.parametrize("classifier", ["linear", "knn"])
def test_weights_that_do_not_fit_their_detector_are_refused(tmp_path, classifier):
    config = DetectorConfig("esa", classifier)
    detector = Detector(config, SPECS)
    detector.classifier.fit(torch.randn(8, detector.fusion.width), torch.arange(8) % 2)
    path = tmp_path / "best.safetensors"
    save_detector(detector, path)
    with safetensors.safe_open(path, "pt") as opened:
        header = opened.metadata()
    whole = safetensors.torch.load_file(path)
    assert load_detector(path).state_dict().keys() == whole.keys()
    for name, value in whole.items():
        for change in (None, value[..., :0], value[..., None].clone(), value.int()):
            spoilt = {n: v for n, v in whole.items() if n != name}
            if change is not None:
                spoilt[name] = change.contiguous()
            safetensors.torch.save_file(spoilt, path, header)
            with pytest.raises(InputError) as raised:
                load_detector(path)
            assert name in str(raised.value) and "\n" not in str(raised.value)
    safetensors.torch.save_file({**whole, "more": torch.ones(1)}, path, header)
    with pytest.raises(InputError, match="it has more, which"):
        load_detector(path)
