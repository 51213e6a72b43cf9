"""CLIP's text tower, frozen, over token ids or prompts with learned vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import nn

from clare.errors import InputError
from clare.foreign import parse_json, reading
from clare.heads.text.block import BLOCK_TENSORS, Affine, Block
from clare.heads.text.facts import CANT, INSTEAD, TowerFacts, tower_tensors
from clare.heads.text.prompt_tree import PromptTree, Symbol
from clare.heads.text.tokenizer import open_tokenizer
from clare.models.weights import read_header, read_tensors, require_fit
from clare.typed_json import from_json

METADATA = "text_tower"
"""The entry of the file's metadata that says what the tower is."""

TEXT_TOWER = "text_tower.safetensors"
"""The asset of a clip extractor that holds its text side."""

TOKENIZER = "tokenizer.json"
"""The file beside it that holds the tower's own tokenizer."""

ANEW = "extract it again into a new store"


class TextTower(nn.Module):
    """The frozen text tower of a store's CLIP: a causal transformer, normed before each layer.

    Its tensors are buffers that are not saved: they follow the device and the type of the module
    that holds the tower, and are neither among its parameters nor in its ``state_dict``. Only the
    positions that decide a result are computed: those up to the end-of-text token, each shared
    beginning once (see `PromptTree`), and after the last block's keys and values the
    end-of-text positions alone. The start token's keys and values are constants.

    Args:
        tensors: by the names of open_clip's ``TextTransformer``, with ``logit_scale``.
        facts: what the tower says of itself.
        kept: the file of the tower's own tokenizer, if it has one.
        where: the tensors come from, for messages.

    Attributes:
        width: of the token embeddings.
        embed_dim: of the text vectors.
        logit_scale: what cosines are multiplied with, the exponential taken already.
        context_length: positions that a prompt may have.

    Raises:
        InputError: the tower or its tokenizer is of a kind that can't be run here.
        WeightsError: the tensors are not those of such a tower.
    """

    def __init__(
        self,
        tensors: Mapping[str, torch.Tensor],
        facts: TowerFacts,
        kept: Path | None = None,
        where: str = "this text tower",
    ) -> None:
        super().__init__()
        config = facts.read_config(where)
        require_fit(tower_tensors(config, facts.embed_dim, tensors), tensors, where, "text tower")
        self.context_length, self.embed_dim = facts.context_length, facts.embed_dim
        self.width = config.width
        self.logit_scale = float(tensors["logit_scale"].exp())
        self._tokenizer = open_tokenizer(facts, config, kept)
        self._eos = config.eos_id if config.pool_type == "eos" else None
        # A few of its 49,408 rows are ever used: it stays out of the device's memory.
        self._token_embedding = tensors["token_embedding.weight"].float()
        self._position = tensors["positional_embedding"].float()
        self._eps = config.eps
        self.blocks = nn.ModuleList(
            Block(
                {n: tensors[f"transformer.resblocks.{k}.{n}"] for n in BLOCK_TENSORS},
                heads=config.heads,
                eps=config.eps,
                quick_gelu=facts.quick_gelu,
            )
            for k in range(config.layers)
        )
        self.ln_final = Affine(tensors["ln_final.weight"], tensors["ln_final.bias"])
        self.projection = Affine(tensors["text_projection"].float().T.contiguous(), None)
        (row,) = self.tokenize([""]).tolist()
        self._start = row[0]
        if self._eos is not None and self._eos not in row:
            raise InputError(f"{CANT} (its tokenizer has no end token): {INSTEAD}")
        if self._end(row) == 0:
            raise InputError(f"{CANT} (its tokenizer has no start token): {INSTEAD}")
        self._learn_start()

    @classmethod
    def load(cls, path: Path | str) -> TextTower:
        """Read ``text_tower.safetensors``, as the clip extractor writes it.

        A ``tokenizer.json`` beside it is the tower's, where it says that it has one of its own.

        Raises:
            InputError: the file can't be read, or the tower is of a kind that can't be run here.
        """
        path = Path(path)
        metadata, tensors = read_header(path), read_tensors(path)
        if METADATA not in metadata:
            raise InputError(f"{path} is not a text tower as the clip extractor writes it", ANEW)
        with reading(path, "a text tower"):
            facts = from_json(TowerFacts, parse_json(metadata[METADATA]), path)
        return cls(tensors, facts, path.with_name(TOKENIZER), str(path))

    @classmethod
    def of_assets(cls, assets: Mapping[str, bytes]) -> TextTower | None:
        """The tower among an extractor's assets; None where it has none.

        Raises:
            InputError: the tower is of a kind that can't be run here.
        """
        if TEXT_TOWER not in assets:
            return None
        with TemporaryDirectory(prefix="clare-") as folder:
            for file in {TEXT_TOWER, TOKENIZER} & set(assets):
                (Path(folder) / file).write_bytes(assets[file])
            return cls.load(Path(folder) / TEXT_TOWER)

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
