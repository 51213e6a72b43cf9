"""CLIP's text tower, frozen, over token ids or prompts with learned vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from clare.errors import InputError
from clare.foreign import parse_json, require_file
from clare.heads.text.block import BLOCK_TENSORS, Affine, Block
from clare.heads.text.prompt_tree import PromptTree, Symbol

_PLAIN = {
    "proj_type": "linear",
    "block_type": "default",
    "hf_proj_type": "mlp",
    "hf_pooler_type": "mean_pooler",
    "hf_model_pretrained": True,
}
"""Further values of a text configuration that leave the tower as it is read here."""

_READ = {
    *("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "norm_kwargs"),
    *("hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode", "pool_type", "eos_id"),
    *("pad_id", "output_tokens"),
}
"""What this module reads from a text configuration, and what touches no value."""

_CANT = "the text tower of this store's CLIP can't be run here"
_INSTEAD = "choose a classifier without text, linear or knn, or extract with another CLIP"


class TextTower(nn.Module):
    """The frozen text tower of a store's CLIP: a causal transformer, normed before each layer.

    Its tensors are buffers that are not saved: they follow the device and the type of the module
    that holds the tower, and are neither among its parameters nor in its ``state_dict``. Only the
    positions that decide a result are computed: those up to the end-of-text token, each shared
    beginning once (see `PromptTree`), and after the last block's keys and values the
    end-of-text positions alone. The start token's keys and values are constants.

    Args:
        tensors: by the names of open_clip's ``TextTransformer``, with ``logit_scale``.
        facts: ``text_config``, ``embed_dim``, ``quick_gelu``, ``context_length``, ``tokenizer``.

    Attributes:
        width: of the token embeddings.
        embed_dim: of the text vectors.
        logit_scale: what cosines are multiplied with, the exponential taken already.
        context_length: positions that a prompt may have.

    Raises:
        InputError: the tower or its tokenizer is of a kind that can't be run here.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        super().__init__()
        config = facts["text_config"]
        _check(config)
        self.context_length = int(facts["context_length"])
        self.width = int(tensors["token_embedding.weight"].shape[1])
        self.embed_dim = int(facts["embed_dim"])
        self.logit_scale = float(tensors["logit_scale"].exp())
        self._tokenizer = _find_tokenizer(facts)
        self._eos = config.get("eos_id", 2) if config.get("pool_type") == "eos" else None
        # A few of its 49,408 rows are ever used: it stays out of the device's memory.
        self._token_embedding = tensors["token_embedding.weight"].float()
        self._position = tensors["positional_embedding"].float()
        self._eps = float((config.get("norm_kwargs") or {}).get("eps", 1e-5))
        names = {int(name.split(".")[2]) for name in tensors if ".resblocks." in name}
        self.blocks = nn.ModuleList(
            Block(
                {n: tensors[f"transformer.resblocks.{k}.{n}"] for n in BLOCK_TENSORS},
                heads=int(config.get("heads", 8)),
                eps=self._eps,
                quick_gelu=bool(facts["quick_gelu"]),
            )
            for k in sorted(names)
        )
        self.ln_final = Affine(tensors["ln_final.weight"], tensors["ln_final.bias"])
        self.projection = Affine(tensors["text_projection"].float().T.contiguous(), None)
        (row,) = self.tokenize([""]).tolist()
        self._start = row[0]
        if self._end(row) == 0:
            raise InputError(f"{_CANT} (its tokenizer has no start token): {_INSTEAD}")
        self._learn_start()

    @classmethod
    def load(cls, path: Path | str) -> TextTower:
        """Read ``text_tower.safetensors``, as the clip extractor writes it.

        Raises:
            InputError: the file can't be read, or the tower is of a kind that can't be run here.
        """
        try:
            with safe_open(require_file(Path(path)), "pt") as file:
                facts = parse_json((file.metadata() or {})["text_tower"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls(tensors, facts)
        except OSError as error:
            raise InputError(f"can't read the text tower {path}: {error}") from error
        except (SafetensorError, KeyError, ValueError) as error:
            raise InputError(
                f"{path} is not a text tower as the clip extractor writes it ({error})",
                "extract it again into a new store",
            ) from error

    def tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        """Token ids, (texts, context length) int64, padded after the end-of-text token."""
        return torch.as_tensor(self._tokenizer(list(texts)))

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text from after the start token up to the end-of-text token."""
        # Room for any text: what is too long is refused by `lay_out`, not cut.
        (row,) = torch.as_tensor(self._tokenizer([text], 4 * len(text) + 8)).tolist()
        return row[1 : self._end(row) + 1]

    def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        """Embeddings of token ids, (tokens, width)."""
        return self._token_embedding[list(tokens)]

    def lay_out(self, prompts: Sequence[Sequence[Symbol]]) -> PromptTree:
        """A tree of prompts for `encode_prompts`.

        Args:
            prompts: symbols of each, from after the start token up to the end-of-text token.

        Raises:
            InputError: a prompt is longer than the tower's context.
        """
        longest = 1 + max(map(len, prompts))
        if longest > self.context_length:
            raise InputError(
                f"a prompt of {longest} positions does not fit into this text tower's "
                f"{self.context_length}: use fewer context tokens"
            )
        return PromptTree(prompts, self._token_embedding, self._position).to(self.projection.weight)

    def encode_prompts(self, tree: PromptTree, vectors: torch.Tensor) -> torch.Tensor:
        """Text vectors of a tree's prompts, all images in one batch.

        Args:
            tree: from `lay_out`.
            vectors: (B, slots, width), what fills the slots.

        Returns:
            (B, prompts, embed_dim), not normalised.
        """
        x = tree.embeddings(vectors)
        *others, last = self.blocks
        for block in others:
            x = block(x, tree.mask)
        x = last(x, tree.mask, tree.ends)
        return self.projection.linear(self.ln_final.norm(x, self._eps))

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Text vectors (texts, embed_dim), not normalised, as CLIP's own ``encode_text``."""
        tree = self.lay_out([self.tokens(text) for text in texts])
        with torch.no_grad():
            return self.encode_prompts(tree, tree.fixed[None, :0])[0]

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> TextTower:
        """Move or cast; the constants follow from the weights in their new type."""
        super()._apply(fn, recurse)
        self._learn_start()
        return self

    def _end(self, row: list[int]) -> int:
        """Where the end-of-text token is: the greatest id, or the first of the id that is set."""
        return row.index(max(row) if self._eos is None else self._eos)

    def _learn_start(self) -> None:
        """Run the start token alone and keep each block's keys and values of it."""
        x = (self._token_embedding[self._start] + self._position[0]).to(self.projection.weight)
        with torch.no_grad():
            for block in cast("list[Block]", list(self.blocks)):
                x = block.keep_start(x.view(1, 1, -1))


def _check(config: Mapping[str, Any]) -> None:
    """Refuse a text configuration that asks for more than the plain causal transformer."""
    odd = {
        name: value
        for name, value in config.items()
        if name not in _READ and value not in (None, False, _PLAIN.get(name))
    }
    if config.get("pool_type", "argmax") not in ("argmax", "eos"):
        odd["pool_type"] = config["pool_type"]
    if odd:
        name, value = next(iter(odd.items()))
        raise InputError(f"{_CANT} ({name} is {value}): {_INSTEAD}")


def _find_tokenizer(facts: Mapping[str, Any]) -> Any:
    """The tokenizer that open_clip would use."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    name, config = facts["tokenizer"], facts["text_config"]
    settings = {
        "context_length": int(facts["context_length"]),
        **(config.get("tokenizer_kwargs") or {}),
    }
    if name == "SimpleTokenizer":
        return SimpleTokenizer(**settings)
    try:
        return HFTokenizer(name, tokenizer_mode=config.get("tokenizer_mode"), **settings)
    except OSError as error:
        raise InputError(
            f"the tokenizer {name} of this store's CLIP is not on this machine and can't be "
            f"fetched: {_INSTEAD}"
        ) from error
