"""Lists and choices on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from clare.errors import InputError

if TYPE_CHECKING:
    from clare.protocol import Sampling


def split_names(text: str | None) -> list[str] | None:
    """The names of a comma-separated list; None where there is none."""
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


def read_choice(option: str, text: str | None, choices: object) -> Any:
    """One of a few words; None where nothing is said.

    Args:
        option: as a user types it, for the message.
        text: what stands there.
        choices: the words, as a ``Literal``.

    Raises:
        InputError: it is none of them.
    """
    if text is not None and text not in get_args(choices):
        raise InputError(f"{option} {text} is not one of {', '.join(get_args(choices))}")
    return text


def read_sampling(text: str | None) -> Sampling | None:
    """Which frames of a video are taken; None where nothing is said.

    Raises:
        InputError: there is no such sampling.
    """
    from clare.protocol import Sampling

    sampling: Sampling | None = read_choice("--sampling", text, Sampling)
    return sampling
