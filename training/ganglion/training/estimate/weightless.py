"""Running real code on tensors that have shapes and no content, and counting the bytes that it would take.

What PyTorch would keep and free is then known exactly, for models that this machine could not hold, with no formula to
keep in step with their code. Torch's FakeTensorMode does it: its tensors say that they are on a CPU, so that autocast
works on them. What depends on values, such as which tokens are an image's, is computed from real tensors beside them.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_FAKE = FakeTensorMode(allow_non_fake_inputs=True)


def hollow(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor without content."""
    with _FAKE:
        return torch.empty(shape, dtype=dtype)


def hollowed(module: nn.Module) -> dict[nn.Parameter, nn.Parameter]:
    """Let a module that was built on the meta device run as if it were on a CPU; its tensors are replaced in place.

    Returns:
        old parameter -> the one in its place.
    """
    replaced: dict[nn.Parameter, nn.Parameter] = {}
    for owner in module.modules():
        for name, old in owner._parameters.items():
            if old is None:
                continue
            if old not in replaced:
                replaced[old] = nn.Parameter(hollow(*old.shape, dtype=old.dtype), requires_grad=old.requires_grad)
            owner._parameters[name] = replaced[old]
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                owner._buffers[name] = hollow(*buffer.shape, dtype=buffer.dtype)
    return replaced


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its modes untyped
    """Counts the bytes of all tensors that exist, those made while it is entered and those it is told of.

    Attributes:
        now: bytes at this moment.
        peak: the most at any moment so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.now, self.peak = 0, 0
        self._held: set[int] = set()

    def hold(self, tensors: Iterable[Tensor]) -> int:
        """Count tensors from now on, until they are gone; returns by how much `now` grew."""
        before = self.now
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._held and storage.nbytes():
                self._held.add(storage._cdata)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return self.now - before

    def _gone(self, address: int, size: int) -> None:
        self._held.discard(address)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator as it is, and count what it made."""
        out = func(*args, **(kwargs or {}))
        self.hold(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out


class GpuDropout(nn.Dropout):
    """Dropout keeps a mask of one byte per element, as on a GPU; on a CPU it is as wide as what it masks."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop some of the input in training."""
        return torch.native_dropout(input, self.p, True)[0] if self.training else input


def drop_as_on_gpu(module: nn.Module) -> None:
    """Replace each dropout in a module by one that keeps what a GPU's does."""
    for owner in list(module.modules()):
        for name, child in owner.named_children():
            if type(child) is nn.Dropout:
                owner._modules[name] = GpuDropout(child.p)
