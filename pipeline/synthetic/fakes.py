"""Fakes of several kinds, and the photographs that they are held against.

A photograph is a drawn face that a camera took. Fakes are made from photographs, or by models that
were trained on them. Then all go through `finish` once more, the same for real and fake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clare.models.hub import quiet, read_json
from clare.models.mini import find_model
from clare.models.weights import read_tensors
from clare.pipeline.models.diffusion_files import STEMS
from clare.pipeline.models.diffusion_parts import build_part, load_tokenizer
from clare.pipeline.synthetic.camera import develop, finish
from clare.pipeline.synthetic.faces import Faces, list_faces, write_captions
from clare.pipeline.synthetic.painting import paint

STEPS = 25
"""Of the sampler (DDIM)."""

GUIDANCE = 2.0
"""How far the caption is followed beyond what the model was trained for."""

BATCH = 64

_STARTS = 3_000_000
"""First of the people that sampling starts from."""

_FITTED = 2_000_000
"""First of the people that the generator without diffusion is fitted to."""


@dataclass(frozen=True)
class Drawn:
    """Finished pictures of one kind.

    Args:
        files: JPEG files.
        others: identity that each picture was also made from, or None.
        masks: bool (N, H, W) of the exchanged region, or None.
        paired: whether each was made from the photograph of the same face.
        seen: the faces that are where they were painted; None where a model drew them.
    """

    files: list[bytes]
    others: np.ndarray | None = None
    masks: np.ndarray | None = None
    paired: bool = False
    seen: Faces | None = None


def take_photographs(faces: Faces, seed: int = 0) -> np.ndarray:
    """Pictures (N, 32, 32, 3) uint8 of faces as a camera saw them."""
    return develop(finish(paint(faces), (10, seed)))


def draw_reals(faces: Faces, seed: int = 0) -> Drawn:
    """The photographs themselves."""
    return Drawn(finish(take_photographs(faces, seed), (11, seed)), seen=faces)


class Diffusion:
    """A latent diffusion model, to sample from.

    Args:
        folder: in the layout of diffusers.
        vae: folder that holds the folders vae and tokenizer; None means the same.
    """

    def __init__(self, folder: Path, vae: Path | None = None) -> None:
        import diffusers
        import transformers

        shared = vae or folder
        with quiet(diffusers, transformers):
            self._vae, self._unet, self._text = (
                build_part(
                    part,
                    read_json(place / part / "config.json"),
                    read_tensors(place / part / f"{STEMS[part]}.safetensors"),
                    place.name,
                )
                for part, place in (("vae", shared), ("unet", folder), ("text_encoder", folder))
            )
            self._tokenizer = load_tokenizer(shared / "tokenizer")
            config = read_json(folder / "scheduler/scheduler_config.json")
            self._scheduler = diffusers.DDIMScheduler.from_config(config, clip_sample=False)

    def sample(
        self,
        captions: Sequence[str],
        pictures: np.ndarray,
        strength: float,
        seed: int,
    ) -> np.ndarray:
        """Pictures (N, 32, 32, 3) uint8, by DDIM without further noise.

        Args:
            captions: (N,) what to show.
            pictures: photographs to start from, like the result.
            strength: how much of the way they are noised, 0 to 1.
            seed: of the noise.
        """
        import torch

        found = []
        for start in range(0, len(captions), BATCH):
            words = captions[start : start + BATCH]
            noise = torch.from_numpy(
                np.random.default_rng([12, seed, start]).standard_normal(
                    (len(words), *self._shape), np.float32
                )
            )
            with torch.inference_mode():
                text = torch.cat([self._read([""] * len(words)), self._read(words)])
                self._scheduler.set_timesteps(STEPS)
                times = self._scheduler.timesteps[STEPS - max(1, round(STEPS * strength)) :]
                clean = self._encode(pictures[start : start + BATCH])
                latents = self._scheduler.add_noise(clean, noise, times[:1].expand(len(words)))
                for time in times:
                    both = torch.cat([latents, latents])
                    without, with_ = self._unet(
                        both, time, encoder_hidden_states=text
                    ).sample.chunk(2)
                    guided = without + GUIDANCE * (with_ - without)
                    latents = self._scheduler.step(guided, time, latents).prev_sample
                found.append(self._decode(latents))
        return np.concatenate(found)

    def round_trip(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures through the autoencoder and back, like the argument."""
        import torch

        with torch.inference_mode():
            parts = [
                self._decode(self._encode(pictures[start : start + BATCH]))
                for start in range(0, len(pictures), BATCH)
            ]
        return np.concatenate(parts)

    @property
    def _shape(self) -> tuple[int, int, int]:
        side = self._unet.config.sample_size
        return self._unet.config.in_channels, side, side

    def _read(self, captions: Sequence[str]) -> Any:
        import torch

        length = self._text.config.max_position_embeddings
        tokens = self._tokenizer(
            list(captions), padding="max_length", max_length=length, truncation=True
        ).input_ids
        return self._text(torch.tensor(tokens))[0]

    def _encode(self, pictures: np.ndarray) -> Any:
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2) / 127.5 - 1
        return self._vae.encode(pixels).latent_dist.mean * self._vae.config.scaling_factor

    def _decode(self, latents: Any) -> np.ndarray:
        pixels = self._vae.decode(latents / self._vae.config.scaling_factor).sample
        grey = ((pixels + 1) * 127.5).round().clamp(0, 255).byte()
        found: np.ndarray = grey.permute(0, 2, 3, 1).numpy()
        return found


def draw_sampled(model: Diffusion, faces: Faces, seed: int = 0) -> Drawn:
    """What a model shows for the captions of these faces.

    Stable Diffusion's noise does not quite hide the large areas of so small a picture, so pure
    noise would start, and end, with too little contrast. Photographs of others are noised instead.
    """
    numbers = np.arange(len(faces))
    starts = take_photographs(list_faces(_STARTS + numbers, 0 * numbers + seed))
    pictures = model.sample(write_captions(faces, seed), starts, 1.0, seed)
    return Drawn(finish(pictures, (13, seed)))


def draw_from_images(model: Diffusion, faces: Faces, strength: float, seed: int = 0) -> Drawn:
    """Photographs that a model changed (SDEdit, Meng et al. 2022)."""
    captions = write_captions(faces, seed)
    pictures = model.sample(captions, take_photographs(faces, seed), strength, seed)
    return Drawn(finish(pictures, (14, round(100 * strength), seed)), paired=True)


def draw_round_trips(model: Diffusion, faces: Faces, seed: int = 0) -> Drawn:
    """Photographs that went through the autoencoder and back."""
    pictures = model.round_trip(take_photographs(faces, seed))
    return Drawn(finish(pictures, (15, seed)), paired=True, seen=faces)


def draw_gaussian(faces: Faces, seed: int = 0, others: int = 1000) -> Drawn:
    """Pictures of a generator without diffusion: a normal distribution over all pixels.

    Its mean and covariance are those of photographs of other people, whose deviations from their
    mean are added up with random weights.

    Args:
        faces: only how many they are counts.
        seed: of the weights.
        others: how many photographs it is fitted to.
    """
    numbers = np.arange(others)
    fitted = take_photographs(list_faces(_FITTED + numbers, 0 * numbers)).astype(np.float32)
    mean = fitted.mean(0)
    weights = np.random.default_rng([16, seed]).standard_normal((len(faces), others), np.float32)
    drawn = mean + np.tensordot(weights / np.sqrt(others), fitted - mean, 1)
    return Drawn(finish(np.clip(drawn + 0.5, 0, 255).astype(np.uint8), (16, seed)))


def draw_swaps(faces: Faces, others: np.ndarray, seed: int = 0) -> Drawn:
    """Faces of other people blended into photographs, with the masks.

    The other face has the pose and the light of the photograph, but was photographed by itself,
    and is blended within a soft oval, its brightness brought to that of the place.

    Args:
        faces: the photographs.
        others: (N,) identities of the faces that are put in.
        seed: of the noise.
    """
    template = list_faces(others, 0 * others)
    given = Faces(others, template.traits, faces.circumstances)
    target = take_photographs(faces, seed).astype(np.float32)
    source = develop(finish(paint(given), (17, seed))).astype(np.float32)
    size = target.shape[1]
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    move = faces.circumstances
    x = axis[None, None, :] - 0.2 * (move[:, 6, None, None] - 0.5)
    y = axis[None, :, None] - 0.07 - 0.14 * (move[:, 7, None, None] - 0.5)
    radius = np.sqrt((x / 0.42) ** 2 + (y / 0.5) ** 2)
    alpha = np.clip((1 - radius) / 0.25 + 0.5, 0, 1)[..., None].astype(np.float32)
    inside = alpha.sum((1, 2), keepdims=True)
    shift = ((target - source) * alpha).sum((1, 2), keepdims=True) / inside
    mixed = target + alpha * (source + 0.7 * shift - target)
    pictures = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return Drawn(finish(pictures, (18, seed)), others, alpha[..., 0] > 0.5, paired=True, seen=given)


def draw_local(model: Diffusion, faces: Faces, seed: int = 0, strength: float = 0.0) -> Drawn:
    """Photographs of which one region was made anew, with the masks.

    The region is a soft oval of .3 to .6 of the picture's sides, at a place drawn for each picture.

    Args:
        model: that makes it.
        faces: the photographs.
        seed: of the noise and of the regions.
        strength: how much of the way the picture is noised and denoised again, 0 to 1; at 0 it goes
            through the autoencoder alone.
    """
    target = take_photographs(faces, seed)
    if strength:
        source = model.sample(write_captions(faces, seed), target, strength, seed)
    else:
        source = model.round_trip(target)
    alpha = _ovals(faces, seed, target.shape[1])
    mixed = target + alpha[..., None] * (source.astype(np.float32) - target)
    pictures = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    noise = (20, round(100 * strength), seed)
    return Drawn(finish(pictures, noise), None, alpha > 0.5, paired=True, seen=faces)


def _ovals(faces: Faces, seed: int, size: int) -> np.ndarray:
    """Soft ovals (N, size, size) float32, each by its face's number: 1 inside, 0 outside."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    found = []
    for identity in faces.identity.tolist():
        rng = np.random.default_rng([19, seed, identity])
        across, down = rng.uniform(0.3, 0.6, 2)
        x, y = rng.uniform(across - 1, 1 - across), rng.uniform(down - 1, 1 - down)
        radius = np.hypot((axis[None] - x) / across, (axis[:, None] - y) / down)
        found.append(np.clip((1 - radius) / 0.25 + 0.5, 0, 1))
    return np.stack(found).astype(np.float32)


def _partners(identities: np.ndarray) -> np.ndarray:
    """For each person the next one with the same last digit, the last one's being the first."""
    found = np.empty_like(identities)
    for digit in np.unique(identities % 10):
        rows = np.flatnonzero(identities % 10 == digit)
        found[rows] = np.roll(identities[rows], -1)
    return found


KINDS = (
    "sampled",
    "image30",
    "image60",
    "roundtrip",
    "unseen",
    "gaussian",
    "swap",
    "local",
    "inpaint",
)
"""Kinds of fakes, by their subset's name."""

PAINTED = ("roundtrip", "swap", "local", "inpaint")
"""Kinds whose faces are where they were painted; what a model drew has them nobody knows where."""

Draw = Callable[[Faces, int], Drawn]


def create_kind(kind: str, folder: Path) -> Draw:
    """From a kind's name to what draws it.

    Args:
        kind: one of `KINDS`.
        folder: holds the models, in the folders ``diffusion`` and ``unseen``.

    Raises:
        WeightsError: the kind needs a model that is not there.
    """
    if kind == "gaussian":
        return draw_gaussian
    if kind == "swap":
        # Somebody else of the same split: those are told by the last digit of the number.
        return lambda faces, seed: draw_swaps(faces, _partners(faces.identity), seed)
    model = find_model(folder, "diffusion")
    if kind == "unseen":
        other = Diffusion(find_model(folder, "unseen"), vae=model)
        return lambda faces, seed: draw_sampled(other, faces, seed + 1)
    seen = Diffusion(model)
    if kind == "roundtrip":
        return lambda faces, seed: draw_round_trips(seen, faces, seed)
    if kind in ("local", "inpaint"):
        return lambda faces, seed: draw_local(seen, faces, seed, 0.6 * (kind == "inpaint"))
    if kind.startswith("image"):
        strength = int(kind.removeprefix("image")) / 100
        return lambda faces, seed: draw_from_images(seen, faces, strength, seed)
    return lambda faces, seed: draw_sampled(seen, faces, seed)
