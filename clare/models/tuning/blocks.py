"""The last blocks of a vision transformer move; what lies before them is computed once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from clare.advice import Set
from clare.errors import InputError
from clare.models.image_tower import Tower, layer_of
from clare.models.tuned import BLOCK, Moving, Tuning
from clare.models.tuning._blocks import refuse_prompts
from clare.wording import counted


@dataclass(frozen=True)
class BlocksSettings:
    """Settings of `blocks`.

    Args:
        last: how many blocks move.
    """

    last: int = 4

    def __post_init__(self) -> None:
        if self.last < 1:
            raise ValueError(f"at least the last block moves, not {self.last} of them")


class BlocksTuning(Tuning):
    """Partial fine-tuning: the last blocks and what follows them, for what is read.

    That is the final norm, and the projection where ``clip_cls`` is read. The patches and the class
    token after the block before come from the store, in the place of pixels.
    """

    Settings = BlocksSettings
    reads = BLOCK

    def after(self, depth: int) -> int:
        """The block before those that move.

        Raises:
            InputError: the tower has no more blocks than shall move.
        """
        last = self.settings.last
        if last >= depth:
            raise InputError(
                f"the tower has {counted(depth, 'block')}, and the last {last} of them leave none "
                "to compute once",
                Set("tune", "full", "moves all of it"),
                Set("tune", f"blocks:{max(1, depth // 2)}", "moves its later half"),
            )
        return depth - 1 - last

    def begin(self, tower: Tower, fields: Collection[str]) -> Moving:
        """The parameters of the blocks, the norm and the projection.

        Raises:
            InputError: the tower is no vision transformer of open_clip, has too few blocks or has
                visual prompts, or a field is read that lies before those that move.
        """
        from open_clip.transformer import VisionTransformer

        refuse_prompts(tower, "blocks go on from the patches that are stored, without them")
        visual = tower.visual
        if not isinstance(visual, VisionTransformer):
            raise InputError(
                "the last blocks are tuned of open_clip's own vision transformers alone, and this "
                f"tower is a {type(getattr(visual, 'trunk', visual)).__name__}",
                Set("tune", "full", "moves all of it"),
            )
        depth = len(visual.transformer.resblocks)
        after = self.after(depth)
        numbers = {name: layer_of(name) for name in fields}
        if early := [name for name, k in numbers.items() if k is not None and k <= after]:
            raise InputError(
                f"{early[0]} comes before the last {counted(self.settings.last, 'block')}, and "
                "would not move with them"
            )
        places = [f"visual.transformer.resblocks.{number}" for number in range(after + 1, depth)]
        read = tower.read_by(fields)
        moved = [place for place in places if any(n.startswith(f"{place}.") for n in read)]
        own = (*(f"{place}." for place in moved), *_BEHIND)
        names = [name for name in read if name == "projection" or name.startswith(own)]
        few = f"{len(moved)} of " * (len(moved) < len(places))
        told = f"{few}the last {counted(self.settings.last, 'block')} of {depth}"
        told += ", and what follows them" * any(n.startswith(_BEHIND) for n in names)
        return Moving(tuple(names), told=told, after=after)


_BEHIND = ("visual.ln_post.", "visual.attn_pool.")
"""What makes the image's vector of what the blocks gave."""
