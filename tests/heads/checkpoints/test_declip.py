"""DeCLIP's decoders: files with its code's names, as the maps that its code makes."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from clare.errors import InputError, WeightsError
from clare.heads.detector import create_model
from clare.heads.importing import find_format, open_checkpoint
from clare.models.checkpoint import Checkpoint
from tests.heads.checkpoints.published import OPENAI, imported, one_extraction, together

SQUASHED = {"crop": "none"}
RN50_GRIDS = {"layer1": (56, 256), "layer2": (28, 512), "layer3": (14, 1024), "layer4": (7, 2048)}
COPIES = {
    "ViT": {"model.visual.proj": (1024, 768), "model.logit_scale": ()},
    "RN50": {"model.visual.attnpool.c_proj.weight": (1024, 2048), "model.logit_scale": ()},
    "ViT,RN50": {},
}


def plain_decoder(arch, layer, depth):
    """Its flat Sequential: a stage of convolutions, BatchNorm and ReLU, then twice the sides."""
    before = {"ViT": 1024, "RN50": RN50_GRIDS.get(layer, (0, 0))[1], "ViT,RN50": 2048}[arch]
    modules: list[nn.Module] = []
    for stage, width in enumerate((512, 256, 128, 64), 1):
        for _ in range(depth // 4):
            modules += [nn.Conv2d(before, width, 5, padding=2), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        large = (layer == "layer2" and stage == 1) or (layer == "layer1" and stage <= 2)
        if not (large and "RN50" in arch):
            modules += [nn.Upsample(scale_factor=2, mode="bilinear")]
    if "RN50" in arch:
        modules += [nn.Upsample(size=(256, 256), mode="bilinear")]
    return nn.Sequential(*modules, nn.Conv2d(before, 1, 5, padding=2))


def seeded(module):
    """BatchNorms as after a training: as they begin, a wrong name would not show."""
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            for value in (one.weight, one.bias, one.running_mean, one.running_var):
                nn.init.uniform_(value, 0.5, 1.5)  # type: ignore[arg-type]
    return module.eval().requires_grad_(False)


def write(path, modules, arch="ViT", layer="layer20", kind="conv-4"):
    """A file as its training writes it."""
    state = {f"{name}.{k}": v for name, one in modules.items() for k, v in one.state_dict().items()}
    state |= {name: torch.zeros(shape) for name, shape in COPIES[arch].items()}
    whole = {
        "model": state,
        "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": []},
    }
    torch.save({**whole, "total_steps": 3, "feature_layer": layer, "decoder_type": kind}, path)
    return path


def vit(layer=20):
    origin = {"model": "ViT-L-14", "weights": "openai"}
    return one_extraction({f"clip_tokens_{layer}": (256, 1024)}, images=SQUASHED, origin=origin)


def resnet():
    origin = {"model": "RN50", "weights": "openai"}
    specs = {"clip_tokens_layer3": (196, 1024)}
    return one_extraction(specs, {**OPENAI, "layers": ["layer3"]}, SQUASHED, origin)


def draw(shape):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(5))


def as_grid(tokens):
    side = round(tokens.shape[1] ** 0.5)
    return tokens.mT.unflatten(2, (side, side))


def check(run, batch, expected):
    """The run's map is the expected one, and its score the mean of the probabilities."""
    with torch.inference_mode():
        found, margin = run.detector.maps(batch), run.detector.margins(batch)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    mean = expected.double().sigmoid().mean((1, 2))
    torch.testing.assert_close(margin.sigmoid(), mean, atol=1e-5, rtol=0)
    assert run.threshold == 0.0


@pytest.mark.slow
def test_a_vits_decoder_makes_its_codes_maps(tmp_path):
    torch.manual_seed(0)
    decoder = seeded(plain_decoder("ViT", "layer20", 4))
    file = write(tmp_path / "ViT_layer20_conv-4_lama.pth", {"fc": decoder})
    run = imported(file, vit(), tmp_path / "run")
    assert run.record.imported is not None and run.record.imported.format == "declip"
    tokens = draw((256, 1024))
    check(run, {"clip_tokens_20": tokens}, decoder(as_grid(tokens))[:, 0])
    assert any("CLIP's copy" in one for one in run.caveats)
    assert any("bilinearly" in one for one in run.caveats)


@pytest.mark.slow
def test_vit_and_resnet_are_two_fingerprints_stacked_over_the_vits_grid(tmp_path):
    torch.manual_seed(0)
    decoder = seeded(plain_decoder("ViT,RN50", "layer20", 4))
    file = write(tmp_path / "both.pth", {"fc": decoder}, "ViT,RN50")
    run = imported(file, together(vit(), resnet()), tmp_path / "run")
    assert sorted(run.record.fingerprints) == ["clip", "clip_2"]
    batch = {"clip_tokens_20": draw((256, 1024)), "clip_tokens_layer3": draw((196, 1024))}
    first, second = map(as_grid, batch.values())
    second = functional.interpolate(second, (16, 16), mode="bilinear", align_corners=False)
    check(run, batch, decoder(torch.cat([first, second], 1))[:, 0])
    assert not any("CLIP's copy" in one for one in run.caveats)


def test_a_linear_decoder_is_a_logit_a_patch(tmp_path):
    torch.manual_seed(0)
    layer = nn.Linear(1024, 1).requires_grad_(False)
    file = write(tmp_path / "a.pth", {"fc.0": layer}, layer="layer7", kind="linear")
    run = imported(file, vit(7), tmp_path / "run")
    tokens = draw((256, 1024))
    grid = layer(tokens)[..., 0].view(1, 1, 16, 16)
    expected = functional.interpolate(grid, size=(256, 256), mode="bicubic")[:, 0]
    check(run, {"clip_tokens_7": tokens}, expected)


@pytest.mark.slow
def test_an_attention_decoder_sees_patches_alone_and_says_so(tmp_path):
    from open_clip.transformer import LayerNorm, QuickGELU, ResidualAttentionBlock

    torch.manual_seed(0)
    how = {"act_layer": QuickGELU, "norm_layer": LayerNorm}
    blocks = [ResidualAttentionBlock(1024, 16, **how).requires_grad_(False) for _ in range(2)]
    last = nn.Linear(1024, 1).requires_grad_(False)
    parts = {"att1": blocks[0], "att2": blocks[1], "fc.0": last}
    run = imported(write(tmp_path / "a.pth", parts, kind="attention"), vit(), tmp_path / "run")
    tokens = found = draw((256, 1024))
    mask = torch.full((256, 256), -torch.inf).triu(1)
    for block in blocks:
        found = block(found, attn_mask=mask)
    grid = last(found)[..., 0].view(1, 1, 16, 16)
    expected = functional.interpolate(grid, size=(256, 256), mode="bicubic")[:, 0]
    check(run, {"clip_tokens_20": tokens}, expected)
    assert any("class token" in one for one in run.caveats)


def blank(modules, arch, **facts):
    """A checkpoint in memory whose tensors take none."""
    state = {f"{name}.{k}": v for name, one in modules.items() for k, v in one.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in state.items()} | COPIES[arch]
    tensors = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    return Checkpoint(Path("a.pth"), "", tensors, facts)


@pytest.mark.parametrize(
    ("arch", "layer", "depth", "last", "millions"),
    [
        ("ViT", "layer20", 12, 40, 34.826_241),
        ("ViT", "layer20", 20, 64, 52.240_001),
        ("ViT", "layer3", 4, 16, 17.412_481),
        ("RN50", "layer1", 4, 15, 7.58),
        ("RN50", "layer1", 12, 39, 25.00),
        ("RN50", "layer1", 20, 63, 42.41),
        ("RN50", "layer2", 20, 64, 45.69),
        ("RN50", "layer3", 20, 65, 52.240_001),
        ("RN50", "layer4", 4, 17, 30.519_681),
        ("ViT,RN50", "layer20", 4, 17, 30.519_681),
        ("ViT,RN50", "layer20", 12, 41, 47.933_441),
        ("ViT,RN50", "layer20", 20, 65, 65.347_201),
    ],
)
def test_every_size_fits_a_decoder_of_ours(arch, layer, depth, last, millions):
    with torch.device("meta"):
        decoder = plain_decoder(arch, layer, depth)
    assert isinstance(decoder[-1], nn.Conv2d) and len(decoder) - 1 == last
    assert sum(p.numel() for p in decoder.parameters()) / 1e6 == pytest.approx(millions, abs=6e-3)
    file = blank({"fc": decoder}, arch, feature_layer=layer, decoder_type=f"conv-{depth}")
    head = find_format("declip").read(file)
    with torch.device("meta"):
        ours = create_model(head.config, head.specs).state_dict()
    shapes = {n: v.shape for n, v in ours.items() if not n.endswith("num_batches_tracked")}
    assert {name: value.shape for name, value in head.tensors.items()} == shapes
    assert any("BatchNorm statistics of RN50" in one for one in head.remarks) == (arch == "RN50")


def test_no_shift_of_a_name_hides_among_equal_shapes():
    """Of twenty convolutions many have one shape: each is to lie where it lay."""
    facts = {"feature_layer": "layer20", "decoder_type": "conv-20"}
    with torch.device("meta"):
        decoder = plain_decoder("ViT,RN50", "layer20", 20)
    file = blank({"fc": decoder}, "ViT,RN50", **facts)
    places = {f"fc.{name}": float(n) for n, (name, _) in enumerate(decoder.named_parameters())}
    numbered = {
        name: torch.tensor(places.get(name, 0.0)).expand(value.shape)
        for name, value in file.tensors.items()
    }
    head = find_format("declip").read(Checkpoint(Path("a.pth"), "", numbered, facts))
    with torch.device("meta"):
        model = create_model(head.config, head.specs)
    found = [head.tensors[name].flatten()[0].item() for name, _ in model.named_parameters()]
    assert found == list(range(len(places)))


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"feature_layer": "layer20"}, "lacks decoder_type"),
        ({"decoder_type": "linear"}, "lacks feature_layer"),
        ({"feature_layer": "layer20", "decoder_type": "conv-8"}, "its decoder is 'conv-8'"),
        ({"feature_layer": "layer24", "decoder_type": "linear"}, "layer0 to layer23"),
        ({"feature_layer": "layer20", "decoder_type": "attention"}, "it lacks att1"),
    ],
)
def test_what_a_file_does_not_tell_is_refused(facts, told):
    file = blank({"fc.0": nn.Linear(1024, 1)}, "ViT", **facts)
    with pytest.raises((InputError, WeightsError), match=told):
        find_format("declip").read(file)


@pytest.mark.parametrize(
    ("arch", "layer", "told"),
    [
        ("ViT,RN50", "layer1", "no conv-4 of layer1 is known"),
        ("RN50", "layer20", "RN50's layers are layer1"),
    ],
)
def test_what_its_code_does_not_run_is_refused(arch, layer, told):
    with torch.device("meta"):
        decoder = plain_decoder(arch, "layer4", 4)
    file = blank({"fc": decoder}, arch, feature_layer=layer, decoder_type="conv-4")
    with pytest.raises(InputError, match=told):
        find_format("declip").read(file)


def test_missing_wrong_and_left_over_tensors_are_named(tmp_path):
    facts = {"feature_layer": "layer20", "decoder_type": "linear"}
    whole = blank({"fc.0": nn.Linear(1024, 1)}, "ViT", **facts).tensors
    for change, told in (
        ({"fc.3.weight": torch.zeros(2)}, r"it has fc\.3\.weight"),
        ({"fc.0.weight": torch.zeros(1, 784)}, r"fc\.0\.weight is float32 \(1, 784\)"),
        ({"model.visual.proj": torch.zeros(768, 512)}, r"model\.visual\.proj"),
    ):
        with pytest.raises(WeightsError, match=told):
            find_format("declip").read(Checkpoint(Path("a.pth"), "", {**whole, **change}, facts))


def test_a_file_of_another_format_or_cut_off_is_refused(tmp_path):
    torch.save(nn.Linear(768, 1).state_dict(), tmp_path / "fc.pth")
    with pytest.raises(InputError, match=r"no checkpoint of declip.*look like univfd"):
        open_checkpoint(tmp_path / "fc.pth", "declip")
    file = write(tmp_path / "a.pth", {"fc.0": nn.Linear(1024, 1)}, kind="linear")
    with pytest.raises(InputError, match=r"no checkpoint of univfd.*look like declip"):
        open_checkpoint(file, "univfd")
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(WeightsError, match=r"a\.pth"):
        open_checkpoint(file, None)
