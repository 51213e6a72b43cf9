"""A GPU that is none: shapes, types and devices are followed, nothing is computed.

Under `fake_gpu` every tensor is one of `torch._subclasses.FakeTensorMode`: it has a shape, a type
and a device, ``cuda`` among them, and an operation on tensors of two devices raises as on a real
one. No driver is needed. What a real device alone can do stands in for: pinned memory, the swap of
a module's parameters, random states of the device, the balance of the classes, and the gradient
itself, which is zero here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import unset_fake_temporarily

from clare.heads.training import objectives
from clare.heads.training.learner import Learner
from clare.models import clip, timm_tower, weights
from clare.models.runtime import Runtime
from clare.pipeline.models import stable_diffusion as diffusion

DEVICE = "cuda"


@contextmanager
def fake_gpu() -> Iterator[FakeTensorMode]:
    """Within, models that are made or loaded, and all tensors, are fake."""
    read = weights._read

    def read_fake(path):
        with unset_fake_temporarily():
            found = read(path)
        return {name: mode.from_tensor(value) for name, value in found.items()}

    def made_real(make, *modules):
        """A maker of networks, or of what holds some, that are built of numbers and are then fake.

        Some ask for numbers, and to build one of fake tensors takes longer than to run it.
        """

        def wrapped(*args, **kwargs):
            with unset_fake_temporarily(), mock.patch.object(weights, "_read", read):
                made = make(*args, **kwargs)
            for module in [getattr(made, name) for name in modules] or [made]:
                module._apply(mode.from_tensor)
            return made

        return wrapped

    def zero_gradient(outputs, inputs, *_, **__):
        return (torch.zeros_like(inputs),)

    with (
        FakeTensorMode() as mode,
        mock.patch.object(weights, "_read", read_fake),
        mock.patch.object(nn.Module, "_apply", _apply),
        mock.patch.object(clip, "load_clip", made_real(clip.load_clip, "visual")),
        mock.patch.object(timm_tower, "load_tower", made_real(timm_tower.load_tower, "trunk")),
        mock.patch.object(diffusion, "build", made_real(diffusion.build)),
        mock.patch.object(Runtime, "tensor", _tensor),
        mock.patch.object(Learner, "_randomness", lambda *_: nullcontext()),
        mock.patch.object(torch.autograd, "grad", zero_gradient),
        mock.patch.object(objectives, "class_weights", lambda _: torch.ones(2)),
        mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
        mock.patch.object(torch.cuda, "is_bf16_supported", lambda *_, **__: True),
    ):
        yield mode


def move(module: nn.Module, mode: FakeTensorMode) -> None:
    """Make a real module fake, and bring it to the device as its own ``to`` does.

    Tensors that it keeps beside its parameters and buffers stay where they are.
    """
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor):
                setattr(part, name, mode.from_tensor(value))
    module._apply(mode.from_tensor)
    module.to(DEVICE)


def _apply(module, fn, recurse=True):
    """`torch.nn.Module._apply` with new parameters: those of fake tensors can't be swapped."""
    for child in module.children() if recurse else ():
        child._apply(fn)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                found = fn(parameter).detach()
            module._parameters[name] = nn.Parameter(found, parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = fn(buffer)
    return module


def _tensor(runtime, array):
    """`Runtime.tensor` without pinned memory, of arrays that may be read-only."""
    return torch.from_numpy(array.copy()).to(runtime.device)
