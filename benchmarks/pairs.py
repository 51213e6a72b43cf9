"""Round trips of photographs: `clare pairs --kind vae` against a plain batched script.

    python -m benchmarks.pairs

Both load one VAE of Stable Diffusion's size with random weights, read the same JPEGs, send them
through it and back, and write each real and its fake as PNG. Ours also writes masks, makes both
files equally long and durable, and keeps the list and the manifest. ``vae alone`` is the plain
script's batches, held in memory, through a VAE that is loaded: what no script goes below.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main
from clare.models.tiny import write_tiny_diffusion
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.folders import build_manifest
from clare.pipeline.pairing.pairs import pairs
from clare.pipeline.synthetic.toys import draw_faces

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Sizes:
    images: int = 4
    side: int = 96
    channels: int = 128
    batch: int = 4


def parts(sizes: Sizes, folder: Path) -> Parts:
    model, photos = folder / "model", folder / "photos"
    write_tiny_diffusion(model)
    torch.manual_seed(0)
    width = sizes.channels
    vae = diffusers.AutoencoderKL(
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        norm_num_groups=4,
    ).eval()
    vae.save_pretrained(model / "vae")
    files = draw_faces(photos / "real", sizes.images, seed=0, size=sizes.side)
    write_manifest(build_manifest("photos", [photos / "real"], []).manifest, photos / "photos.csv")
    batch = sizes.batch
    held = [read(files[n : n + batch]) for n in range(0, len(files), batch)]
    number = itertools.count()

    def ours() -> None:
        made = pairs(
            "vae",
            None,
            folder / f"ours-{next(number)}",
            manifest=photos / "photos.csv",
            root=photos,
            device="cpu",
            settings={"vae": {"model": str(model)}},
        )
        assert made.pairs == sizes.images

    def plain() -> None:
        script(model, files, folder / f"plain-{next(number)}", batch)

    def alone() -> None:
        for pixels in held:
            round_trip(vae, pixels)

    def differs() -> dict[str, float]:
        """Whether both made the same."""
        (own, *_), (theirs, *_) = (sorted(folder.glob(f"{way}-*")) for way in ("ours", "plain"))
        rows = read_manifest(own / "photos_vae.csv").samples
        fakes = [own / row.path for row in rows if row.label]
        both = (read(fakes), read(sorted((theirs / "fake").iterdir())))
        apart = np.abs(both[0].astype(int) - both[1])
        return {"largest difference of a value, of 255": float(apart.max())}

    yield Race(
        f"{sizes.images} photographs of {sizes.side} x {sizes.side}",
        {"clare pairs": ours, "plain script": plain, "vae alone": alone},
        [Ratio("clare pairs", "plain script", aim=0.9), Ratio("clare pairs", "vae alone")],
        rate=(sizes.images, "images/s"),
        facts=differs,
    )


def script(model: Path, files: list[Path], out: Path, batch: int) -> None:
    """The plain way, batch after batch."""
    vae = diffusers.AutoencoderKL.from_pretrained(model / "vae").eval()
    for kind in ("real", "fake"):
        (out / kind).mkdir(parents=True)
    for start in range(0, len(files), batch):
        some = files[start : start + batch]
        pixels = read(some)
        for file, real, fake in zip(some, pixels, round_trip(vae, pixels), strict=True):
            Image.fromarray(real).save(out / "real" / f"{file.stem}.png")
            Image.fromarray(fake).save(out / "fake" / f"{file.stem}.png")


def read(files: list[Path]) -> Pixels:
    """(B, H, W, 3) of pictures of one size."""
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


@torch.inference_mode()
def round_trip(vae: diffusers.AutoencoderKL, pixels: Pixels) -> Pixels:
    """Through the VAE and back, by the mean of its latents."""
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    made = vae.decode(vae.encode(values).latent_dist.mode()).sample
    rounded = ((made + 1) * 127.5).clamp(0, 255).round().byte()
    found: Pixels = rounded.permute(0, 2, 3, 1).contiguous().numpy()
    return found


SCRIPT = Script("pairs", __doc__, parts, Sizes(), toy=Sizes(3, 64, 8), full=Sizes(16, 256))

if __name__ == "__main__":
    main(SCRIPT)
