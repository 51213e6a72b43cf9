"""Write the trained models in half precision, in the layouts in which users have theirs."""

from __future__ import annotations

import argparse
import json
import math
import shutil
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file
from train_clip import CONFIG
from train_diffusion import KINDS, create_scheduler, create_text_encoder, create_unet

MOST_BYTES = 16_000_000

FOLDERS = {"seen": "diffusion", "unseen": "unseen"}


def main() -> None:
    """Write the folders diffusion, unseen and clip, from the latest checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="scratch folder of the other scripts")
    parser.add_argument("out", type=Path, help="folder that gets the models")
    options = parser.parse_args()
    diffusion = options.out / FOLDERS["seen"]
    vae = diffusers.AutoencoderKL.from_pretrained(options.folder / "autoencoder")
    vae.half().save_pretrained(diffusion / "vae")
    shutil.copytree(options.folder / "tokenizer", diffusion / "tokenizer", dirs_exist_ok=True)
    index = {"_class_name": "StableDiffusionPipeline", "_clare_mini": True}
    (diffusion / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    for kind, name in FOLDERS.items():
        if (options.folder / f"diffusion_{kind}_run").is_dir():
            export_diffusion(options.folder, kind, options.out / name)
    if (options.folder / "clip_run").is_dir():
        export_clip(options.folder, options.out / "clip")
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(f"{size / 1e6:.1f} MB in {options.out}")
    if size > MOST_BYTES:
        raise SystemExit(f"more than {MOST_BYTES / 1e6:.0f} MB")


def export_diffusion(folder: Path, kind: str, out: Path) -> None:
    """UNet, text encoder and scheduler of one model."""
    state, step = read_average(folder / f"diffusion_{kind}_run")
    vocabulary = json.loads((folder / "tokenizer" / "vocab.json").read_text(encoding="utf-8"))
    for part, model in (
        ("unet", create_unet(KINDS[kind])),
        ("text", create_text_encoder(len(vocabulary))),
    ):
        start = f"{part}."
        model.load_state_dict(
            {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
        )
        model.half().save_pretrained(out / {"unet": "unet", "text": "text_encoder"}[part])
    create_scheduler(KINDS[kind].prediction).save_pretrained(out / "scheduler")
    print(f"{kind}: step {step}")


def export_clip(folder: Path, out: Path) -> None:
    """The CLIP in open_clip's format, with all rows of its vocabulary."""
    state, step = read_average(folder / "clip_run")
    state = {name.removeprefix("clip."): value.contiguous() for name, value in state.items()}
    state["logit_scale"].clamp_(max=math.log(100))
    # Words that no caption holds are seeded noise as strong as the others: prompts tell them apart.
    learned = state["token_embedding.weight"]
    words = torch.randn(
        (CONFIG["text_cfg"]["vocab_size"], CONFIG["text_cfg"]["width"]),
        generator=torch.Generator().manual_seed(0),
    )
    words *= learned.std()
    used = json.loads((folder / "clip_run" / "used.json").read_text(encoding="utf-8"))
    words[used] = learned
    state["token_embedding.weight"] = words
    out.mkdir(parents=True, exist_ok=True)
    halves = {
        name: value.half() if value.is_floating_point() else value for name, value in state.items()
    }
    save_file(halves, out / "open_clip_model.safetensors")
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    config = {"model_cfg": CONFIG, "preprocess_cfg": half, "_clare_mini": True}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"clip: step {step}")


def read_average(run: Path) -> tuple[dict[str, torch.Tensor], int]:
    """The averaged weights of a run's latest checkpoint, and how many steps made them."""
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    return state["average"], state["step"]


if __name__ == "__main__":
    main()
