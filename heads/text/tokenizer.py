"""From texts to token ids: CLIP's own tokenizer, or one that the store keeps as data.

A store names its tokenizer, and a store may come from anywhere. So a name leads to no file and to
no hub, and no class but these two is ever made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from clare.errors import InputError
from clare.foreign import read_text, reading
from clare.heads.text.facts import CANT, INSTEAD, TextConfig, TowerFacts
from clare.models.tokenizers import open_clip_tokenizers

PLAIN = "SimpleTokenizer"
"""CLIP's own tokenizer, which comes with open_clip."""

MOST_BYTES = 1 << 28
"""Of a ``tokenizer.json``."""

Tokenizer = Callable[..., torch.Tensor]
"""From texts, and how many ids to give at most, to ids (texts, length)."""


def open_tokenizer(facts: TowerFacts, config: TextConfig, kept: Path | None) -> Tokenizer:
    """The tokenizer of a text tower.

    Args:
        facts: of the tower.
        config: of the tower.
        kept: where the tower's own ``tokenizer.json`` is kept, if it has one.

    Raises:
        InputError: it is of another kind, damaged, or was not kept.
    """
    plain = facts.tokenizer == PLAIN
    settings = dict(config.tokenizer_kwargs or {})
    clean = settings.pop("clean", "lower" if plain else "whitespace")
    settings.pop("context_length", None)
    if settings.get("strip_sep_token") is False:
        del settings["strip_sep_token"]
    if settings or config.tokenizer_mode or clean not in ("lower", "whitespace", "canonicalize"):
        odd = next(iter(settings), "tokenizer_mode" if config.tokenizer_mode else "clean")
        raise InputError(f"{CANT} (its tokenizer has {odd}): {INSTEAD}")
    if plain:
        found: Any = _plain_tokenizer(facts.context_length, clean)
    elif kept is not None and kept.is_file():
        found = StoredTokenizer(kept, facts.context_length, clean)
    else:
        raise InputError(
            f"{CANT}, since its tokenizer {facts.tokenizer} is not kept in the store: extract into "
            f"a new store where that is at hand, or {INSTEAD}"
        )
    if found.vocab_size > config.vocab_size:
        raise InputError(f"{CANT} (its tokenizer has more tokens than it): {INSTEAD}")
    made: Tokenizer = found
    return made


@cache  # it reads 49,000 words anew each time, which takes longer than a small tower's forward pass
def _plain_tokenizer(context_length: int, clean: str) -> Any:
    return open_clip_tokenizers().SimpleTokenizer(context_length=context_length, clean=clean)


class StoredTokenizer:
    """A ``tokenizer.json`` as open_clip uses it: cleaned texts, cut and padded to one length.

    Args:
        path: the file.
        context_length: ids that a text has where nothing else is asked for.
        clean: how a text is cleaned first.

    Raises:
        InputError: the file is not a tokenizer.
    """

    def __init__(self, path: Path, context_length: int, clean: str) -> None:
        from tokenizers import Tokenizer as Engine

        with reading(path, "a tokenizer"):
            text = read_text(path, MOST_BYTES)
            try:
                self._engine: Any = Engine.from_str(text)
            except Exception as error:  # the library raises nothing more special
                raise ValueError(str(error)) from error
        self._clean: Callable[[str], str] = open_clip_tokenizers().get_clean_fn(clean)
        self._context_length = context_length

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return max(self._engine.get_vocab().values(), default=0) + 1

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> torch.Tensor:
        """Ids (texts, length), padded with zeros."""
        length = context_length or self._context_length
        self._engine.enable_truncation(length)
        self._engine.enable_padding(length=length)
        encoded = self._engine.encode_batch([self._clean(text) for text in texts])
        return torch.tensor([one.ids for one in encoded])
