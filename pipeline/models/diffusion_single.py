"""Stable Diffusion in one file, as its makers and most of its users publish it.

The file holds all parts under the names of the makers' own code; diffusers translates them. It says
nothing of configurations: the published ones are known here, or stand in a local folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from clare.advice import Name, Set
from clare.errors import InputError, WeightsError
from clare.models.hub import read_json
from clare.models.tokenizers import open_clip_tokenizers
from clare.models.weights import read_tensors
from clare.pipeline.models.diffusion_parts import tokenize

if TYPE_CHECKING:
    import torch

Configs = Mapping[str, dict[str, Any]]
Tensors = dict[str, "torch.Tensor"]

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")

PARTS = {
    "unet": ("model.diffusion_model.",),
    "vae": ("first_stage_model.",),
    "text_encoder": ("cond_stage_model.transformer.", "cond_stage_model.model."),
}
"""Component -> how its names begin; the text encoder's in versions 1 and 2."""

OTHERS = {
    "conditioner.": "Stable Diffusion XL",
    "model.diffusion_model.joint_blocks.": "Stable Diffusion 3",
    "joint_blocks.": "Stable Diffusion 3",
    "double_blocks.": "Flux",
    "model.diffusion_model.double_blocks.": "Flux",
    "control_model.": "a ControlNet",
    "lora_": "a LoRA",
    "down_blocks.": "one part of a model in the diffusers layout",
}
"""How names begin in files of something else."""

_UNET = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}
_UNET_2 = {
    **_UNET,
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
_VAE = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "scaling_factor": 0.18215,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
_TEXT = {
    "model_type": "clip_text_model",
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
}
_TEXT_1 = {
    **_TEXT,
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
}
_TEXT_2 = {
    **_TEXT,
    "hidden_act": "gelu",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 23,
}
_SCHEDULER = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}

KNOWN: Mapping[str, Configs] = {
    "sd1.5": {
        "unet": {**_UNET, "attention_head_dim": 8, "cross_attention_dim": 768},
        "vae": _VAE,
        "text_encoder": _TEXT_1,
        "scheduler": _SCHEDULER,
    },
    "sd2.1-base": {
        "unet": _UNET_2,
        "vae": _VAE,
        "text_encoder": _TEXT_2,
        "scheduler": _SCHEDULER,
    },
    "sd2.1": {
        "unet": {**_UNET_2, "sample_size": 96, "upcast_attention": True},
        "vae": {**_VAE, "sample_size": 768},
        "text_encoder": _TEXT_2,
        "scheduler": {**_SCHEDULER, "prediction_type": "v_prediction"},
    },
}
"""The published configurations, as far as they decide a value."""

PADDING = {"sd1.5": 49407, "sd2.1-base": 0, "sd2.1": 0}
"""The token that fills a prompt up: the end of text, and the exclamation mark."""


def is_single_file(path: Path) -> bool:
    """Whether a path is that of a model in one file."""
    return path.suffix in SUFFIXES and path.is_file()


class SingleFile:
    """A model in one file.

    Args:
        path: the file.
        like: a short name of `KNOWN`, or a folder with the configurations and the tokenizer in the
            diffusers layout; None leaves it to the file, which tells version 1 alone.

    Attributes:
        configs: by component.
        like: what decided them.

    Raises:
        InputError: the file is of another kind of model, or does not tell of which.
        WeightsError: the file is damaged.
    """

    def __init__(self, path: Path, like: str | None) -> None:
        self.path = path
        self._tensors = cache(partial(read_tensors, path))
        self.like = like or self._recognise()
        folder = Path(self.like).expanduser()
        if self.like in KNOWN:
            self.configs: Configs = KNOWN[self.like]
        elif folder.is_dir():
            self.configs = {
                **{part: read_json(folder / part / "config.json") for part in PARTS},
                "scheduler": read_json(folder / "scheduler/scheduler_config.json"),
            }
        else:
            raise InputError(
                f"lare's model_config {self.like!r} is neither a folder nor one of "
                f"{', '.join(KNOWN)}"
            )

    def read(self, part: str) -> Tensors:
        """A component's tensors, under diffusers' names."""
        from diffusers.loaders import single_file_utils as library

        beginnings = PARTS[part]
        own = {n: v for n, v in self._tensors().items() if n.startswith(beginnings)}
        if not own:
            raise WeightsError(
                f"{self.path} has no tensors of the {part}: none begins with {beginnings[0]}"
            )
        config: Any = self.configs[part]
        try:
            if part == "unet":
                found = library.convert_ldm_unet_checkpoint(own, config)
            elif part == "vae":
                found = _plain_attention(library.convert_ldm_vae_checkpoint(own, config))
            elif any(name.startswith(beginnings[1]) for name in own):
                like = SimpleNamespace(config=SimpleNamespace(**config))
                found = library.convert_open_clip_checkpoint(like, own, prefix=beginnings[1])
            else:
                found = library.convert_ldm_clip_checkpoint(own)
        except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"the {part} in {self.path} is not laid out as Stable Diffusion's"
            ) from error
        if part != "text_encoder" and len(found) != len(own):
            raise WeightsError(
                f"the {part} in {self.path} has {len(own)} tensors, of which {len(found)} are "
                "Stable Diffusion's"
            )
        return dict(found)

    def tokenize(self, prompt: str, length: int) -> list[int]:
        """Token ids of a prompt, filled up to a length."""
        if self.like not in KNOWN:
            return tokenize(Path(self.like).expanduser() / "tokenizer", prompt, length)
        words = open_clip_tokenizers().SimpleTokenizer()
        ids = [words.sot_token_id, *words.encode(prompt), words.eot_token_id]
        return ids + [PADDING[self.like]] * (length - len(ids))

    def _recognise(self) -> str:
        names = self._tensors()
        first, second = PARTS["text_encoder"]
        if not any(name.startswith(PARTS["unet"]) for name in names) or any(
            name.startswith(tuple(OTHERS)) for name in names
        ):
            kinds = (k for b, k in OTHERS.items() if any(name.startswith(b) for name in names))
            kind = next(kinds, "something else")
            raise WeightsError(
                f"{self.path} is {kind}, not Stable Diffusion 1 or 2 in one file",
                Name("a folder in the diffusers layout", "lare.model"),
            )
        if any(name.startswith(second) for name in names):
            raise InputError(
                f"{self.path} is of Stable Diffusion 2 and does not say whether it predicts noise",
                Set("lare.model_config", "sd2.1-base", "for models of 512 pixels, which do"),
                Set("lare.model_config", "sd2.1", "for models of 768 pixels, which predict v"),
            )
        if any(name.startswith(first) for name in names):
            return "sd1.5"
        raise WeightsError(f"{self.path} has no text encoder")


def _plain_attention(tensors: Tensors) -> Tensors:
    """The autoencoder's attention as matrices; in the makers' code it is convolutions of 1 x 1."""
    return {
        name: value.flatten(1) if ".attentions." in name and value.ndim > 2 else value
        for name, value in tensors.items()
    }
