"""Pairs: fakes that lie on their reals, alike in everything but what was done to them."""

import json
from dataclasses import replace
from operator import attrgetter
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from clare.advice import Notice
from clare.errors import InputError, ManifestError
from clare.file_facts import JPEG_SIZE, LAPLACIAN
from clare.models.runtime import Runtime
from clare.models.tiny import write_tiny_diffusion
from clare.pipeline.checks.audit import audit
from clare.pipeline.extract import extract
from clare.pipeline.extractors.lare import LareExtractor, LareSettings
from clare.pipeline.images.decode import decode_mask, decode_rgb, read_content
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.folders import build_manifest
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.splits import assign_splits
from clare.pipeline.manifests.validation import validate
from clare.pipeline.pair import Photo
from clare.pipeline.pairing.pairs import pairs
from clare.pipeline.pairing.plan import find_partners
from clare.pipeline.pairs.inpaint import Inpaint, InpaintSettings
from clare.pipeline.synthetic.dataset import write_miniature
from clare.pipeline.synthetic.toys import draw_faces
from clare.store.feature_store import open_store
from clare.store.row import Row

KINDS = ("blend", "inpaint", "sbi", "vae")
TINY: dict[str, Any] = {"backbone": "tiny"}
HOW: dict[str, dict[str, Any]] = {
    "blend": {},
    "inpaint": {**TINY, "settings": {"inpaint": {"steps": 2}}},
    "sbi": {},
    "vae": TINY,
}
COUNT, SIDE = 24, 84
FACE = "20 18 62 72"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Toy faces as JPEG whose sides are no multiples of 8, with a box each, in a manifest."""
    folder = tmp_path_factory.mktemp("photos")
    draw_faces(folder / "real", COUNT, seed=4, size=SIDE)
    built = build_manifest("toys", [folder / "real"], []).manifest
    samples = tuple(replace(s, boxes=FACE, source_ids=s.path) for s in built.samples)
    write_manifest(Manifest("toys", samples), folder / "toys.csv")
    return folder


def with_rows(photos, tmp_path, *ids, **columns):
    """A manifest of some of these rows, with other columns."""
    samples = read_manifest(photos / "toys.csv").samples
    kept = [s for n, s in enumerate(samples) if not ids or n in ids]
    path = tmp_path / "toys.csv"
    write_manifest(Manifest("toys", tuple(replace(s, **columns) for s in kept)), path)
    return path


def members(folder, manifest=None):
    """Real and fake rows by ``pair_id``."""
    rows = read_manifest(next(folder.glob("*.csv"))).samples
    found: dict[str, Any] = {row.pair_id: {} for row in rows}
    for row in rows:
        found[row.pair_id][row.label] = row
    return {name: (both[0], both[1]) for name, both in found.items()}


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*.*")
        if path.suffix in (".png", ".jpg", ".csv")
    }


def pixels(folder, path):
    return np.asarray(decode_rgb(read_content(folder / path))).astype(int)


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):
    """Pairs of each kind."""
    folder = tmp_path_factory.mktemp("made")
    for kind, how in HOW.items():
        pairs(kind, None, folder / kind, manifest=photos / "toys.csv", root=photos, **how)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_members_differ_in_nothing_but_their_pixels(made, photos, kind):
    sources = {s.sample_id: s for s in read_manifest(photos / "toys.csv").samples}
    found = members(made / kind)
    assert found.keys() == sources.keys()
    for name, (real, fake) in found.items():
        assert real.split == fake.split == sources[name].split != ""
        assert real.pair_kind == fake.pair_kind == kind
        for fact in ("width", "height", "format", "bytes", "boxes"):
            assert getattr(real, fact) == getattr(fake, fact), fact
        for row in (real, fake):
            assert (made / kind / row.path).stat().st_size == row.bytes
            with Image.open(made / kind / row.path) as image:
                assert image.size == (row.width, row.height)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_mask_leaves_is_the_real_member(made, kind):
    for real, fake in members(made / kind).values():
        folder = made / kind
        mask = np.asarray(decode_mask(read_content(folder / fake.mask_path)))
        change = np.abs(pixels(folder, real.path) - pixels(folder, fake.path)).max(-1)
        assert mask.shape == change.shape and not change[mask == 0].any()
        assert change[mask > 128].mean() > 0.5
        people = real.source_ids.split("|"), fake.source_ids.split("|")
        assert people[1][0] == people[0][0] and len(people[1]) == (2 if kind == "blend" else 1)


def test_a_round_trip_keeps_the_photograph_as_it_is_but_for_what_no_block_holds(made, photos):
    for name, (real, _) in members(made / "vae").items():
        source = pixels(photos, f"real/{name.rpartition('/')[2]}")
        assert (real.width, real.height) == (80, 80)
        assert (pixels(made / "vae", real.path) == source[:80, :80]).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "blend"])
def test_an_image_gives_the_same_pair_whatever_stands_beside_it(made, photos, tmp_path, kind):
    alone = with_rows(photos, tmp_path, 5)
    pairs(kind, None, tmp_path / "out", manifest=alone, root=photos, **HOW[kind])
    one, all_of = content(tmp_path / "out"), content(made / kind)
    pictures = [name for name in one if not name.endswith(".csv")]
    assert len(pictures) == 3
    assert all(one[name] == all_of[name] for name in pictures)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_stopped_goes_on_and_gives_what_an_undisturbed_one_gives(
    made, photos, tmp_path, kind
):
    how = {"manifest": photos / "toys.csv", "root": photos, **HOW[kind]}

    def stop(what, done, total):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pairs(kind, None, tmp_path, **how, progress=stop)
    assert not list(tmp_path.glob("*.csv"))
    report = pairs(kind, None, tmp_path, **how)
    assert report.known == 7 and report.pairs == COUNT
    assert content(tmp_path) == content(made / kind)
    next((tmp_path / "fake").rglob("*.png")).unlink()
    assert pairs(kind, None, tmp_path, **how).known == COUNT - 1
    assert content(tmp_path) == content(made / kind)


def test_another_file_in_a_photographs_place_is_another_pair(photos, tmp_path):
    other = tmp_path / "photos"
    draw_faces(other / "real", 2, seed=9, size=SIDE)
    path = with_rows(photos, tmp_path, 0, 1)
    pairs("sbi", None, tmp_path / "out", manifest=path, root=photos)
    before = content(tmp_path / "out")
    assert pairs("sbi", None, tmp_path / "out", manifest=path, root=other).known == 0
    after = content(tmp_path / "out")
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)


PIXELS = (LAPLACIAN.name, JPEG_SIZE.name)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Round trips of what the autoencoder of the mini models was trained for."""
    folder = tmp_path_factory.mktemp("drawn")
    write_miniature(folder, 60, kinds=[])
    reals = folder / "manifests" / "reals.csv"
    pairs("vae", None, folder / "vae", manifest=reals, root=folder, backbone="mini")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_an_audit_finds_no_shortcut(made, drawn, kind):
    folder = (drawn if kind == "vae" else made) / kind
    manifest = read_manifest(next(folder.glob("*.csv")))
    found = audit([(manifest, Roots(folder, {}))], resamples=200)
    for name, shortcut in found.shortcuts.items():
        if name in PIXELS and kind in ("blend", "inpaint"):
            continue  # toy faces do not lie in their boxes, and the tiny models draw noise
        value, low, high = attrgetter("value", "low", "high")(shortcut.before)
        assert low <= 0.5 <= high and abs(value - 0.5) < 0.15, name


def test_both_members_are_coded_as_the_photographs_own_file(photos, tmp_path):
    some = with_rows(photos, tmp_path, *range(6))
    how = {"manifest": some, "root": photos, "coding": "jpeg"}
    out = tmp_path / "out"
    pairs("vae", None, out, **how, backbone="tiny")
    for name, rows in members(out).items():
        with Image.open(photos / "real" / name.rpartition("/")[2]) as source:
            for row in rows:
                assert row.format == "jpeg"
                begin = (out / row.path).read_bytes()[:11]
                assert begin[2:4] == b"\xff\xe0" and begin[6:] == b"JFIF\0", "APP0 follows at once"
                with Image.open(out / row.path) as image:
                    assert vars(image)["quantization"] == vars(source)["quantization"]
        assert rows[0].bytes == rows[1].bytes


def test_a_part_of_the_image_is_replaced(photos, tmp_path):
    where: Any = {"manifest": with_rows(photos, tmp_path, *range(8)), "root": photos, **TINY}
    for region in ("face", "rectangle"):
        folder, how = tmp_path / region, {"vae": {"region": region, "latent": "sample"}}
        pairs("vae", None, folder, **where, settings=how)
        for real, fake in members(folder).values():
            mask = np.asarray(decode_mask(read_content(folder / fake.mask_path)))
            assert 0.03 < (mask > 128).mean() < 0.6
            change = np.abs(pixels(folder, real.path) - pixels(folder, fake.path))
            assert not change[mask == 0].any() and change[mask > 128].any()


def test_a_vae_whose_latents_are_shifted_makes_the_same_fakes(photos, tmp_path):
    path, found = with_rows(photos, tmp_path, 0, 1), []
    for name, shift in (("plain", 0.0), ("shifted", 5.0)):
        model = tmp_path / f"{name}_model"
        write_tiny_diffusion(model)
        # An encoder whose means lie higher, and a decoder that expects them there.
        weights = load_file(model / "vae" / "diffusion_pytorch_model.safetensors")
        weights["quant_conv.bias"][:4] += shift
        weights["post_quant_conv.bias"] -= shift * weights["post_quant_conv.weight"].sum((1, 2, 3))
        save_file(weights, model / "vae" / "diffusion_pytorch_model.safetensors")
        config = json.loads((model / "vae" / "config.json").read_text())
        text = json.dumps({**config, "shift_factor": shift or None})
        (model / "vae" / "config.json").write_text(text)
        how: Any = {"model": str(model), "region": "whole", "paste": False, "strength": 1.0}
        pairs("inpaint", None, tmp_path / name, manifest=path, root=photos, device="cpu",
              settings={"inpaint": {**how, "steps": 2}})  # fmt: skip
        fakes = [fake for _, fake in members(tmp_path / name).values()]
        found.append([pixels(tmp_path / name, fake.path) for fake in fakes])
    for plain, shifted in zip(*found, strict=True):
        assert plain.std() > 5 and np.abs(plain - shifted).max() <= 1


def test_without_pasting_all_of_an_inpainted_image_is_the_models(photos, tmp_path):
    path = with_rows(photos, tmp_path, 0, 1)
    told: list[Notice] = []
    how: Any = {"manifest": path, "root": photos, "backbone": "tiny", "notice": told.append}
    plain = {"inpaint": {"paste": False, "region": "rectangle", "steps": 2}}
    pairs("inpaint", None, tmp_path / "out", **how, settings=plain)
    for real, fake in members(tmp_path / "out").values():
        mask = np.asarray(decode_mask(read_content(tmp_path / "out" / fake.mask_path)))
        change = np.abs(pixels(tmp_path / "out", real.path) - pixels(tmp_path / "out", fake.path))
        assert (mask == 255).all() and (change.max(-1) > 0).mean() > 0.9
    assert any("by masked denoising in 2 steps" in str(one) for one in told)


@pytest.fixture(scope="module")
def inpainter(tmp_path_factory):
    """A small model for inpainting, in the layout of diffusers, that looks at all of its inputs."""
    folder = tmp_path_factory.mktemp("inpainter")
    write_tiny_diffusion(folder)
    unet = folder / "unet"
    config = json.loads((unet / "config.json").read_text())
    (unet / "config.json").write_text(json.dumps({**config, "in_channels": 9}))
    weights = load_file(unet / "diffusion_pytorch_model.safetensors")
    first = weights["conv_in.weight"]
    more = torch.randn(first.shape[0], 5, 3, 3, generator=torch.Generator().manual_seed(0))
    weights["conv_in.weight"] = torch.cat([first, 0.1 * more], 1)
    save_file(weights, unet / "diffusion_pytorch_model.safetensors")
    return folder


def test_a_model_for_inpainting_is_taken_as_such(inpainter, tmp_path, photos):
    told: list[Notice] = []
    how: Any = {"manifest": with_rows(photos, tmp_path, 0), "root": photos, "notice": told.append}
    settings = {"inpaint": {"model": str(inpainter), "steps": 2}}
    assert pairs("inpaint", None, tmp_path / "out", **how, settings=settings).pairs == 1
    assert not any("masked denoising" in str(one) for one in told)
    with pytest.raises(InputError, match="9 channels"):
        LareExtractor(LareSettings(model=str(inpainter)), ImageSettings(), Runtime())


def test_a_model_for_inpainting_makes_what_diffusers_pipeline_makes(inpainter, monkeypatch):
    from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion_inpaint as theirs

    settings = InpaintSettings(model=str(inpainter), region="rectangle", paste=False, steps=5)
    kind = Inpaint(settings, Runtime(), seed=0)
    grey = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    picture = Image.fromarray(grey).resize((64, 64), Image.Resampling.BICUBIC)
    draft = kind.prepare(Photo("ab" * 32, np.asarray(picture), FaceMarks()), None)
    (made,) = kind.forward({name: np.stack([one]) for name, one in draft.inputs.items()})
    assert 0.1 < draft.inputs["mask"].mean() < 0.6

    schedule = json.loads((inpainter / "scheduler/scheduler_config.json").read_text())
    pipeline = theirs.StableDiffusionInpaintPipeline(
        vae=(vae := diffusers.AutoencoderKL.from_pretrained(inpainter / "vae")),
        unet=diffusers.UNet2DConditionModel.from_pretrained(inpainter / "unet"),
        text_encoder=transformers.CLIPTextModel.from_pretrained(inpainter / "text_encoder"),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(inpainter / "tokenizer"),
        scheduler=diffusers.DDIMScheduler.from_config({**schedule, "clip_sample": False}),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.from_numpy(draft.inputs["noise"])[None]
    monkeypatch.setattr(theirs, "randn_tensor", lambda *_, **__: noise)

    def encode(image, generator):  # the mean of its latents, as ours
        return vae.encode(image).latent_dist.mode() * vae.config.scaling_factor

    monkeypatch.setattr(pipeline, "_encode_vae_image", encode)
    region = draft.inputs["mask"][0].repeat(kind.factor, 0).repeat(kind.factor, 1)
    (wanted,) = pipeline(
        prompt=settings.prompt,
        image=picture,
        mask_image=Image.fromarray((255 * region).astype(np.uint8)),
        height=64,
        width=64,
        strength=settings.strength,
        num_inference_steps=settings.steps,
        guidance_scale=1.0,  # our prompt alone, without its opposite
        output_type="np",
    ).images
    assert np.abs(made - (255 * wanted)).max() < 2  # grey in the region's place is 127.5 there
    assert np.abs(made - np.asarray(picture).astype(float)).mean() > 5


def test_a_partner_is_another_person_of_the_same_source_and_split(photos, tmp_path):
    samples = read_manifest(photos / "toys.csv").samples
    rows = [
        replace(
            s, domain="ab"[n % 2], source_ids=f"{n % 6 // 2}", split=("train", "val")[n % 4 // 2]
        )
        for n, s in enumerate(samples)
    ]
    partners = find_partners(rows, 0)
    by_id = {row.sample_id: row for row in rows}
    assert partners.keys() == by_id.keys()
    for name, other in partners.items():
        one = by_id[name]
        assert (one.domain, one.split) == (other.domain, other.split)
        assert one.source_ids != other.source_ids
    assert len({other.sample_id for other in partners.values()}) > 8
    assert find_partners(rows[::-1], 0) == partners
    alone = with_rows(photos, tmp_path, source_ids="ada", split="train")
    refused("no partner: no other person", "blend", tmp_path / "out", manifest=alone, root=photos)


def test_a_face_is_laid_where_the_other_one_is(tmp_path):
    """A small red disc to the side, in green, and a large blue one in the middle, in grey."""
    for name, side, box, colour, ground in (
        ("a", 128, (70, 20, 110, 60), "red", "green"),
        ("b", 128, (32, 32, 96, 96), "blue", "grey"),
    ):
        picture = Image.new("RGB", (side, side), ground)
        ImageDraw.Draw(picture).ellipse(box, fill=colour)
        picture.save(tmp_path / f"{name}.png")
    boxes = {"a": "70 20 110 60", "b": "32 32 96 96"}
    samples = tuple(
        Sample(f"t/{name}", f"{name}.png", 0, "t", split="train", boxes=box, width=128, height=128)
        for name, box in boxes.items()
    )
    write_manifest(Manifest("t", samples), tmp_path / "t.csv")
    how: Any = {"settings": {"blend": {"match_colours": False}}}
    pairs("blend", None, tmp_path / "out", manifest=tmp_path / "t.csv", root=tmp_path, **how)
    found = members(tmp_path / "out")
    for name, (x, y), rgb in (("a", (90, 40), (0, 0, 255)), ("b", (64, 64), (255, 0, 0))):
        real, fake = found[f"t/{name}"]
        shown = pixels(tmp_path / "out", fake.path)
        assert np.abs(shown[y, x] - rgb).max() < 20
        assert (shown[5, 5] == pixels(tmp_path / "out", real.path)[5, 5]).all()


def test_what_lies_beside_the_partner_s_face_is_not_laid_on(tmp_path):
    """A narrow face in green and a wide one in grey: the narrow one is no wider on the other."""
    boxes = {"narrow": "52 16 76 112", "wide": "20 16 108 112"}
    for name, colour, ground in (("narrow", "blue", "lime"), ("wide", "red", "grey")):
        picture = Image.new("RGB", (128, 128), ground)
        box = tuple(map(int, boxes[name].split()))
        ImageDraw.Draw(picture).ellipse(box, fill=colour)
        picture.save(tmp_path / f"{name}.png")
    samples = tuple(
        Sample(f"t/{name}", f"{name}.png", 0, "t", split="train", boxes=box, width=128, height=128)
        for name, box in boxes.items()
    )
    write_manifest(Manifest("t", samples), tmp_path / "t.csv")
    how: Any = {"settings": {"blend": {"match_colours": False}}}
    pairs("blend", None, tmp_path / "out", manifest=tmp_path / "t.csv", root=tmp_path, **how)
    shown = pixels(tmp_path / "out", members(tmp_path / "out")["t/wide"][1].path)
    greenness = shown[..., 1] - np.maximum(shown[..., 0], shown[..., 2])
    assert shown[64, 64, 2] > 100 and greenness.max() < 60


def test_a_partner_is_turned_alike(photos):
    """Half of the faces look to the left, however large they are and however their heads lean."""
    looks = {1: "30 40 70 40 58 60 38 80 62 80", -1: "30 40 70 40 42 60 38 80 62 80"}
    dice, rows = np.random.default_rng(0), []
    for number, row in enumerate(read_manifest(photos / "toys.csv").samples):
        side = 1 if number % 2 else -1
        place = np.array(looks[side].split(), float).view(complex) * dice.uniform(0.5, 2)
        place = place * np.exp(1j * dice.uniform(-1, 1)) + complex(*dice.uniform(0, 99, 2))
        points = " ".join(f"{value:.2f}" for value in place.view(float))
        rows.append(replace(row, split="train", face_points=points, category=str(side)))
    partners = find_partners(rows, 0)
    assert len(partners) == len(rows)
    assert all(partners[row.sample_id].category == row.category for row in rows)
    # Where nobody's points are known it is the next one, as ever.
    bare = [replace(row, face_points="") for row in rows]
    assert len(find_partners(bare, 0)) == len(rows)


def test_large_photographs_are_scaled_down_with_their_faces(tmp_path):
    draw_faces(tmp_path / "real", 2, seed=1, size=200)
    built = build_manifest("toys", [tmp_path / "real"], []).manifest
    samples = tuple(replace(s, boxes="40 40 160 180") for s in built.samples)
    write_manifest(Manifest("toys", samples), tmp_path / "toys.csv")
    out = tmp_path / "out"
    pairs("sbi", None, out, manifest=tmp_path / "toys.csv", root=tmp_path, side=100)
    for real, fake in members(out).values():
        assert (real.width, real.boxes, fake.boxes) == (100, *["20.00 20.00 80.00 90.00"] * 2)


def refused(match, kind, out, **how: Any):
    with pytest.raises(InputError, match=match):
        pairs(kind, None, out, **how)
    assert not out.exists()


def test_what_can_give_no_pair_is_refused_before_anything_is_written(photos, tmp_path):
    out, toys = tmp_path / "out", photos / "toys.csv"
    tiny = {"backbone": "tiny", "root": photos}
    bare = with_rows(photos, tmp_path, boxes="")
    refused("no real image of toys has landmarks", "sbi", out, manifest=bare, root=photos)
    mask = {"settings": {"vae": {"region": "mask"}}}
    refused("names a mask", "vae", out, manifest=toys, **mask, **tiny)
    elsewhere = {"manifest": toys, "root": tmp_path}
    refused("none of the 24 images of toys is there; the first would be", "vae", out, **elsewhere)
    refused("no pair 'vea'", "vea", out, manifest=toys, root=photos)
    refused("no settings of vae", "sbi", out, manifest=toys, root=photos, settings={"vae": {}})
    fakes = with_rows(photos, tmp_path, label=1)
    refused("no usable real images", "sbi", out, manifest=fakes, root=photos)
    draw_faces(tmp_path / "png", 2, seed=1, size=48, format="png")
    built = build_manifest("lossless", [tmp_path / "png"], []).manifest
    write_manifest(built, tmp_path / "lossless.csv")
    how = {"manifest": tmp_path / "lossless.csv", "root": tmp_path, "coding": "jpeg"}
    refused("record no JPEG quality", "vae", out, **how, backbone="tiny")


def test_images_that_give_no_pair_are_named_with_the_reason(photos, tmp_path):
    draw_faces(tmp_path / "real", 3, seed=1, size=64)
    Image.new("RGB", (40, 6)).save(tmp_path / "real" / "0001.jpg")
    Image.new("L", (64, 64)).save(tmp_path / "empty.png")
    built = build_manifest("toys", [tmp_path / "real"], []).manifest
    rows = [replace(s, mask_path="empty.png") for s in built.samples]
    write_manifest(Manifest("toys", tuple(rows)), tmp_path / "toys.csv")
    how = {"manifest": tmp_path / "toys.csv", "root": tmp_path, "backbone": "tiny"}
    bare = Manifest("toys", tuple(replace(s, mask_path="") for s in rows))
    masks = {"settings": {"vae": {"region": "mask"}}}
    refused("gave a pair: .*empty mask: it marks no pixel", "vae", tmp_path / "out", **how, **masks)
    write_manifest(bare, tmp_path / "toys.csv")
    report = pairs("vae", None, tmp_path / "out", **how)
    assert report.pairs == 2
    (reason,) = report.failures.values()
    assert reason == "too small: 40x6 pixels, and the model works on blocks of 8"


def test_a_folder_of_other_pairs_is_left_alone(made, photos, tmp_path):
    before = content(made / "sbi")
    for how in ({"seed": 1}, {"name": "others"}, {"settings": {"sbi": {"shift": False}}}):
        with pytest.raises(InputError, match="holds pairs that differ in"):
            pairs("sbi", None, made / "sbi", manifest=photos / "toys.csv", root=photos, **how)
    assert content(made / "sbi") == before


def test_both_members_get_the_same_augmented_views(made, tmp_path):
    folder = made / "sbi"
    rows = read_manifest(folder / "toys_sbi.csv").samples
    told = {}
    for name, kind in (("aligned", "sbi"), ("other", "")):
        samples = tuple(replace(s, subset=name, pair_kind=kind, split="train") for s in rows)
        write_manifest(Manifest(name, samples), tmp_path / f"{name}.csv")
        how: Any = {"manifest": tmp_path / f"{name}.csv", "root": folder, "features": ["pixels"]}
        extract(tmp_path / f"{name}.zarr", **how, views=2, settings={"pixels": {"size": 32}})
        store = open_store(tmp_path / f"{name}.zarr")
        slots: dict[tuple[str, int, int], int] = {
            (row.columns["pair_id"], row.view, row.columns["label"]): row.slot
            for row in store.rows(name)
        }
        reader = store.feature(name, "pixels").reader("pixels")
        for view in (0, 1):
            both = [
                reader.read(
                    [slot for key, slot in sorted(slots.items()) if key[1:] == (view, label)]
                )
                for label in (0, 1)
            ]
            told[name, view] = np.abs(both[0].astype(float) - both[1]).mean()
    assert told["aligned", 0] == told["other", 0]
    assert told["aligned", 1] < 1.3 * told["aligned", 0] < 0.5 * told["other", 1]


def test_views_of_pairs_are_other_rows_once_the_pair_is_another():
    row = Row(sample_id="s", view=1, content="c", columns={"label": 0, "pair_id": "p"})
    unaligned = row.identity
    assert unaligned == replace(row, columns={"label": 0}).identity
    aligned = replace(row, columns={**row.columns, "pair_kind": "vae"})
    assert aligned.identity != unaligned
    assert replace(aligned, view=0).identity == replace(row, view=0).identity


def test_splits_that_are_dealt_keep_pairs_whole(made):
    rows = read_manifest(made / "sbi" / "toys_sbi.csv").samples
    dealt: dict[str, str] = {}
    for sample in assign_splits([replace(s, split="") for s in rows], seed=7):
        assert dealt.setdefault(sample.pair_id, sample.split) == sample.split
    assert {*dealt.values()} == {"train", "val", "test"}
    leak = [replace(s, split="val" if s.label else "train", source_ids="") for s in rows]
    with pytest.raises(ManifestError, match="one pair in two splits"):
        validate(Manifest("toys_sbi", tuple(leak)))


def test_frames_keep_their_video_and_people_their_names(photos, tmp_path):
    path = with_rows(photos, tmp_path, video_id="v1", source_ids="ada", domain="d", split="train")
    pairs("sbi", None, tmp_path / "out", manifest=path, root=photos)
    rows = read_manifest(tmp_path / "out" / "toys_sbi.csv").samples
    assert {(s.label, s.video_id, s.source_ids) for s in rows} == {
        (0, "v1", "ada"),
        (1, "v1~sbi", "ada"),
    }
