"""Lists on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from clare.data_manifests.protocol import Sampling


def split_names(text: str | None) -> list[str] | None:
    """The names of a comma-separated list; None where there is none."""
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


def read_sampling(text: str | None) -> Sampling | None:
    """Which frames of a video are taken; None where nothing is said.

    Raises:
        InputError: there is no such sampling.
    """
    from clare.data_manifests.protocol import Sampling
    from clare.errors import InputError

    for known in get_args(Sampling):
        if text == known:
            return known
    if text is not None:
        raise InputError(f"--sampling {text} is not one of {', '.join(get_args(Sampling))}")
    return None
