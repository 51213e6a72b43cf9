"""The LaRE map against a plain float64 reading of the formula, and what it may depend on."""

import json
import shutil
from functools import cache

import diffusers
import numpy as np
import pytest
import torch
import transformers

from clare.errors import InputError
from clare.models.runtime import Runtime
from clare.pipeline.extractors import create_extractor
from clare.pipeline.extractors.lare import LareSettings, seeded_noise
from clare.pipeline.images.settings import ImageSettings

TOLERANCE = 5e-4
STEPS = (20, 200, 800)


def make(folder, runtime=None, **settings):
    settings = {"model": str(folder), "size": 64, **settings}
    return create_extractor("lare", settings, ImageSettings(), runtime or Runtime())


@cache
def load(folder):
    """The folder's parts in float64, as their library reads them."""
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae").double()
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet").double()
    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").double()
    return vae, unet, encoder, transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")


def reading(
    folder, inputs, steps, *, prompt="a photo of a face", absolute=False, fault=None, shift=0
):
    """LaRE of stacked inputs by the formula, in float64: (B, T, D, 4, h, w)."""
    config = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    roots = np.linspace(config["beta_start"] ** 0.5, config["beta_end"] ** 0.5, 1000)
    alpha_bar = np.cumprod(1 - roots**2)
    vae, unet, encoder, tokenizer = load(folder)
    tokens = tokenizer(prompt, padding="max_length", max_length=77, return_tensors="pt").input_ids

    scaling = 0.13025 if fault == "scaling" else 0.18215
    pixels = torch.from_numpy(inputs["pixels"]).double().permute(0, 3, 1, 2) / 255 * 2 - 1
    noise = torch.from_numpy(inputs["noise"]).double()
    maps = torch.zeros_like(noise)
    with torch.no_grad():
        text = encoder(tokens).last_hidden_state
        moments = vae.encode(pixels).latent_dist
        latent = moments.mean
        if "latent_noise" in inputs:
            latent = latent + moments.std * torch.from_numpy(inputs["latent_noise"]).double()
        latent = (latent - shift) * scaling
        for i, step in enumerate(steps):
            a = alpha_bar[step + 60 if fault == "alpha_bar" else step]
            t = torch.tensor(step + 100 if fault == "step" else step)
            for d in range(noise.shape[2]):
                e = noise[:, i, d]
                noisy = a**0.5 * latent + (1 - a) ** 0.5 * e
                hidden = text.expand(len(e), -1, -1)
                out = unet(noisy, t, encoder_hidden_states=hidden).sample
                if config["prediction_type"] == "v_prediction":
                    out = a**0.5 * out + (1 - a) ** 0.5 * noisy  # v to epsilon
                maps[:, i, d] = (out - e).abs() if absolute else (out - e) ** 2
    return maps.numpy()


def stacked(extractor, images):
    rows = [extractor.prepare(image) for image in images]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def difference(found, expected):
    """Largest relative error over the maps of single draws."""
    found, expected = (maps.reshape(*maps.shape[:3], -1) for maps in (found, expected))
    error = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    return error.max()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("error", ["squared", "absolute"])
def test_map_equals_the_formula(diffusion_folders, prepare_images, run, prediction, error):
    folder = diffusion_folders[prediction]
    extractor = make(folder, timesteps=STEPS, draws=2, error=error)
    images = prepare_images(3)
    found = run(extractor, images)["lare"].astype(np.float64)
    inputs = stacked(extractor, images)
    expected = reading(folder, inputs, STEPS, absolute=error == "absolute")
    assert found.shape == (3, 3, 2, 4, 8, 8)
    assert difference(found, expected) < TOLERANCE


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("fault", ["scaling", "alpha_bar", "step"])
def test_planted_faults_do_not_go_unseen(diffusion_folders, prepare_images, run, prediction, fault):
    folder = diffusion_folders[prediction]
    extractor = make(folder, timesteps=(200,), draws=1)
    images = prepare_images(2)
    found = run(extractor, images)["lare"].astype(np.float64)
    wrong = reading(folder, stacked(extractor, images), (200,), fault=fault)
    assert difference(found, wrong) > 20 * TOLERANCE


def test_a_model_whose_latents_are_shifted(diffusion_folders, prepare_images, run, tmp_path):
    folder = shutil.copytree(diffusion_folders["epsilon"], tmp_path / "model")
    config = json.loads((folder / "vae/config.json").read_text())
    (folder / "vae/config.json").write_text(json.dumps({**config, "shift_factor": 0.5}))
    extractor, images = make(folder), prepare_images(2)
    found = run(extractor, images)["lare"].astype(np.float64)
    inputs = stacked(extractor, images)
    assert difference(found, reading(folder, inputs, (200,), shift=0.5)) < TOLERANCE
    assert difference(found, reading(folder, inputs, (200,))) > 20 * TOLERANCE


def test_prompt_reaches_the_unet_and_is_part_of_the_fingerprint(
    diffusion_folders, prepare_images, run
):
    folder, images = diffusion_folders["epsilon"], prepare_images(2)
    plain, other = make(folder), make(folder, prompt="zebra crossing")
    found = run(other, images)["lare"].astype(np.float64)
    inputs = stacked(other, images)
    assert difference(found, reading(folder, inputs, (200,), prompt="zebra crossing")) < TOLERANCE
    assert difference(found, reading(folder, inputs, (200,))) > 20 * TOLERANCE
    assert plain.fingerprint != other.fingerprint


def test_sampled_latent_uses_its_own_seeded_noise(diffusion_folders, prepare_images, run):
    folder, images = diffusion_folders["epsilon"], prepare_images(2)
    extractor = make(folder, latent="sample")
    inputs = stacked(extractor, images)
    found = run(extractor, images)["lare"].astype(np.float64)
    assert difference(found, reading(folder, inputs, (200,))) < TOLERANCE
    assert not np.array_equal(inputs["latent_noise"], inputs["noise"][:, 0, 0])
    again = extractor.prepare(images[1])["latent_noise"]
    assert np.array_equal(inputs["latent_noise"][1], again)


def test_a_map_does_not_depend_on_its_batch(diffusion_folders, prepare_images, run):
    extractor, images = make(diffusion_folders["epsilon"]), prepare_images(6)
    whole = run(extractor, images)["lare"]
    turned = run(extractor, images[::-1])["lare"][::-1]
    padded = run(extractor, [*images[:2], *[images[1]] * 4])["lare"][:2]
    assert np.array_equal(whole, turned)
    assert np.array_equal(whole[:2], padded)
    for size in (1, 4):
        parts = [run(extractor, images[i : i + size])["lare"] for i in range(0, 6, size)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-3, atol=1e-3)


def test_noise_depends_on_content_view_seed_step_and_draw_alone(diffusion_folders, prepare_images):
    folder = diffusion_folders["epsilon"]
    first, second = prepare_images(2)
    view0, view1 = prepare_images(1, views=(0, 1))
    extractor = make(folder, timesteps=(100, 200), draws=2)
    noise = extractor.prepare(first)["noise"]
    assert noise.shape == (2, 2, 4, 8, 8) and noise.dtype == np.float32
    others = [
        extractor.prepare(second)["noise"][0, 0],
        extractor.prepare(view1)["noise"][0, 0],
        make(folder, timesteps=(100,), seed=1).prepare(first)["noise"][0, 0],
        noise[0, 1],
        noise[1, 0],
        noise[1, 1],
    ]
    for other in others:
        assert abs(np.corrcoef(noise[0, 0].ravel(), other.ravel())[0, 1]) < 0.3
    # A step's and a draw's noise stay the same whatever else is asked for beside them.
    alone = make(folder, timesteps=(200,), draws=4).prepare(view0)["noise"]
    assert np.array_equal(alone[0, :2], noise[1])


def test_shared_noise_is_the_same_for_every_image(diffusion_folders, prepare_images):
    folder = diffusion_folders["epsilon"]
    first, second = prepare_images(2)
    shared = make(folder, timesteps=(100, 200), draws=2, noise="shared", latent="sample")
    one, other = shared.prepare(first), shared.prepare(second)
    assert np.array_equal(one["noise"], other["noise"])
    assert not np.array_equal(one["latent_noise"], other["latent_noise"])
    assert not np.array_equal(one["noise"][:, 0], one["noise"][:, 1])
    own = make(folder, timesteps=(100, 200), draws=2, latent="sample")
    assert own.fingerprint != shared.fingerprint
    assert "noise" not in own.fingerprint.settings  # as in stores from before there was a choice


def test_noise_is_standard_normal_and_never_changes():
    noise = seeded_noise(b"content", 0, "200 0", (400_000,))
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
    assert abs((noise**4).mean() - 3) < 0.05
    # Kept values: stored features would no longer match if the generator ever changed.
    kept = [float(value) for value in seeded_noise(b"content", 0, "200 0", (3,))]
    assert kept == pytest.approx([1.3464354, 0.0180409, 0.7182588], abs=1e-6)


def test_the_settings_that_stored_features_were_made_with_stay_the_defaults(diffusion_folders):
    settings = LareSettings()
    assert (settings.size, settings.timesteps, settings.draws, settings.seed) == (256, (200,), 4, 0)
    widest = make(diffusion_folders["epsilon"], size=8, timesteps=(0, 999), draws=1)
    assert widest.fields[0].shape == (2, 1, 4, 1, 1)


def test_models_are_compiled_for_one_size_of_batch_where_that_is_asked(
    diffusion_folders, monkeypatch
):
    compiled = []

    def note(model, **options):
        compiled.append((type(model).__name__, options))
        return model

    monkeypatch.setattr(torch, "compile", note)
    make(diffusion_folders["epsilon"])
    assert compiled == []
    make(diffusion_folders["epsilon"], Runtime(compile=True))
    once = {"dynamic": False}
    assert compiled == [("UNet2DConditionModel", once), ("Encoder", once)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lower_precision_stays_near(diffusion_folders, prepare_images, run, dtype):
    folder, images = diffusion_folders["v_prediction"], prepare_images(3)
    full, low = make(folder), make(folder, Runtime(dtype=dtype))
    assert low.fingerprint != full.fingerprint
    expected = run(full, images)["lare"].astype(np.float64)
    assert difference(run(low, images)["lare"].astype(np.float64), expected) < 0.05


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 60}, "multiple of 8"),
        ({"size": 0}, "multiple of 8"),
        ({"timesteps": (1000,)}, "0 to 999"),
        ({"timesteps": (-1,)}, "0 to 999"),
        ({"timesteps": ()}, "at least one"),
        ({"timesteps": (5, 5)}, "twice"),
        ({"draws": 0}, "at least 1"),
        ({"prompt": "a photo of a {label}"}, "constant prompt"),
        ({"prompt": "word " * 80}, "too long"),
        ({"error": "cubed"}, "squared"),
        ({"latent": "mode"}, "mean"),
        ({"guidance": 7}, "no setting"),
    ],
)
def test_unusable_settings_are_one_sentence(diffusion_folders, settings, words):
    with pytest.raises(InputError, match=words) as raised:
        make(diffusion_folders["epsilon"], **settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "predicts"),
        ("unet/config.json", {"in_channels": 9}, "9 channels"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "more than"),
    ],
)
def test_other_kinds_of_models_are_refused(diffusion_folders, tmp_path, file, changes, words):
    folder = shutil.copytree(diffusion_folders["epsilon"], tmp_path / "model")
    record = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**record, **changes}))
    with pytest.raises(InputError, match=words):
        make(folder)


def test_spec_and_fingerprint(diffusion_folders, tmp_path):
    folder = diffusion_folders["epsilon"]
    (spec,) = make(folder, timesteps=(100, 200), draws=3).fields
    assert (spec.field, spec.shape, spec.dtype) == ("lare", (2, 3, 4, 8, 8), "float16")
    assert spec.channel_axis == -3
    plain = make(folder).fingerprint
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    assert make(copy).fingerprint == plain
    assert plain.settings["backbone"] == "tiny"
    assert make(folder, seed=1).fingerprint != plain
    velocity = make(diffusion_folders["v_prediction"]).fingerprint
    assert velocity.weights == plain.weights
    assert velocity != plain  # equal weights, other configuration
