"""The parts of a Stable Diffusion model, built from their configurations and filled strictly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clare.errors import InputError, WeightsError
from clare.models.runtime import is_out_of_memory
from clare.models.weights import fill
from clare.wording import listed

if TYPE_CHECKING:
    import torch

CLASSES = {
    "unet": ("_class_name", "UNet2DConditionModel"),
    "vae": ("_class_name", "AutoencoderKL"),
    "text_encoder": ("model_type", "clip_text_model"),
}
"""Component -> the key that names its class in a configuration, and what it has to say."""

NEEDED = {
    "unet": (
        *("act_fn", "attention_head_dim", "block_out_channels", "cross_attention_dim"),
        *("flip_sin_to_cos", "freq_shift", "norm_eps", "norm_num_groups"),
    ),
    "vae": ("act_fn", "block_out_channels", "latent_channels", "norm_num_groups"),
    "text_encoder": ("hidden_act", "hidden_size", "layer_norm_eps", "num_attention_heads"),
    "scheduler": ("beta_end", "beta_schedule", "beta_start", "num_train_timesteps"),
}
"""What a configuration has to say: the libraries' defaults are of other models, and most of these
values show in no shape."""

FORMER_NAMES = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}
"""Names that attention has in older files of diffusers, such as those of SD's autoencoders."""

TEXT = "text_model."
"""What stands before the names of a text encoder, or does not, by the version that wrote it."""


def build_part(
    part: str, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], model: str
) -> Any:
    """A component with its weights, in float32, on the CPU.

    Args:
        part: ``unet``, ``vae`` or ``text_encoder``.
        config: its configuration.
        tensors: its weights by name.
        model: whose it is, for messages.

    Raises:
        InputError: the configuration is not that of such a component.
        WeightsError: the weights do not fit it.
    """
    import diffusers
    import transformers

    from clare.models.undrawn import Undrawn

    _check_config(part, config, model)
    makers: dict[str, Callable[[], Any]] = {
        "unet": lambda: diffusers.UNet2DConditionModel.from_config(config),
        "vae": lambda: diffusers.AutoencoderKL.from_config(config),
        "text_encoder": lambda: transformers.CLIPTextModel(transformers.CLIPTextConfig(**config)),
    }
    try:
        with Undrawn():
            built = makers[part]()
    except Exception as error:  # whatever the libraries raise for values that make no sense
        if is_out_of_memory(error):
            raise
        raise _no_config(part, model, error) from error
    fill(built, _current_names(tensors, set(built.state_dict())), f"the {part} of {model}")
    return built.eval()


def build_scheduler(config: Mapping[str, Any], model: str) -> Any:
    """A ``DDPMScheduler`` with a model's own noise schedule.

    Raises:
        InputError: the configuration is not that of a scheduler.
    """
    import diffusers

    _check_config("scheduler", config, model)
    try:
        # PNDM, the schedule these models ship, has no get_velocity; the noise schedule is the same.
        return diffusers.DDPMScheduler.from_config(config)
    except Exception as error:  # as above
        raise _no_config("scheduler", model, error) from error


def load_tokenizer(folder: Path) -> Any:
    """The CLIP tokenizer of a folder: of this one class, from its own files.

    Raises:
        WeightsError: a file is damaged.
    """
    import transformers

    try:
        return transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library lets through what its parsers raise
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"{folder} does not hold a CLIP tokenizer ({reason})") from error


def tokenize(folder: Path, prompt: str, length: int) -> list[int]:
    """Token ids of a prompt by a folder's tokenizer, filled up to a length.

    Raises:
        WeightsError: a file of the tokenizer is damaged.
    """
    ids = load_tokenizer(folder)(prompt, padding="max_length", max_length=length).input_ids
    return [int(token) for token in ids]


def _check_config(part: str, config: Mapping[str, Any], model: str) -> None:
    key, wanted = CLASSES.get(part, ("", None))
    if config.get(key, wanted) != wanted:
        raise InputError(f"the {part} of {model} is a {config[key]}: lare needs a {wanted}")
    if missing := [name for name in NEEDED[part] if name not in config]:
        raise InputError(f"the configuration of the {part} of {model} lacks {listed(missing)}")


def _no_config(part: str, model: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:160]
    return InputError(f"the configuration of the {part} of {model} can't be used: {reason}")


def _current_names(
    tensors: Mapping[str, torch.Tensor], wanted: set[str]
) -> dict[str, torch.Tensor]:
    return {_current_name(name, wanted): value for name, value in tensors.items()}


def _current_name(name: str, wanted: set[str]) -> str:
    """The name that a tensor has now."""
    candidates = [name, name.removeprefix(TEXT), TEXT + name]
    candidates += [name.replace(old, new) for old, new in FORMER_NAMES.items()]
    return next((one for one in candidates if one in wanted), name)
