"""Models that wait for their weights."""

import torch
from torch import nn

from clare.models.undrawn import Undrawn


class Masked(nn.Module):
    """Parameters of several kinds of layers, and a buffer that is computed."""

    mask: torch.Tensor

    def __init__(self):
        super().__init__()
        first = nn.Conv2d(3, 4, 3)
        nn.init.trunc_normal_(first.weight)
        others = nn.Embedding(5, 4), nn.MultiheadAttention(4, 2), nn.LayerNorm(4)
        self.layers = nn.ModuleList([first, *others])
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1), persistent=False)


def test_no_number_is_drawn_and_what_is_computed_stays():
    before = torch.get_rng_state()
    with Undrawn():
        waiting = Masked()
    assert torch.equal(torch.get_rng_state(), before)
    drawn = Masked()
    assert not torch.equal(torch.get_rng_state(), before), "afterwards all is drawn"
    assert torch.equal(waiting.mask, drawn.mask)
    waiting.load_state_dict(drawn.state_dict())
    assert all(map(torch.equal, waiting.parameters(), drawn.parameters()))
