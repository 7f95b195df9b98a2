"""The processes of a job that torchrun has started, speaking through torch.distributed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from duoreid.core.contract.processes import LostProcessError, share_of
from duoreid.core.numeric.sharing import Alone

PATIENCE = timedelta(hours=2)
"""How long processes wait for one that decodes images, clusters or tests; one that ends ends the wait at once."""


def _speaking(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what torch raises when a process has ended into the error that says so."""

    @wraps(verb)
    def spoken(self: Group, *given: Any) -> Any:
        try:
            return verb(self, *given)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise LostProcessError(self.index, error) from error

    return spoken


class Single(Alone):
    """The verbs of one process: they change nothing."""

    def own(self, tensor: Tensor, count: int) -> Tensor:
        """Return the tensor."""
        return tensor

    def whole(self, tensors: Sequence[Tensor], count: int) -> tuple[Tensor, ...]:
        """Return the tensors."""
        return tuple(tensors)

    def unite(self, gradients: Sequence[Tensor], statistics: Sequence[Tensor]) -> None:
        """Leave both as they are."""


class Group(Single):
    """The verbs of one process among several. See core/numeric/sharing.py for `gather`.

    A batch of `count` rows is cut into one run of consecutive rows for each process. What a network sees, and what it
    returns, may hold several such batches one behind the other (MVD: both modalities): each is cut alike.
    """

    def __init__(self, index: int, size: int, local: int) -> None:
        self.index, self.size, self.local = index, size, local

    @_speaking
    def gather(self, array: np.ndarray) -> np.ndarray:
        """Gather on the CPU, whatever the device."""
        mine = torch.from_numpy(np.array(array, order="C"))
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(parts, mine)
        return torch.stack(parts).numpy()

    def own(self, tensor: Tensor, count: int) -> Tensor:
        """Rows (k * count, ...) -> this process's rows of each of the k batches (k * count / size, ...)."""
        share = share_of(count, self)
        rows = tensor.unflatten(0, (-1, count))[:, self.index * share : (self.index + 1) * share]
        return rows.flatten(0, 1)

    @_speaking
    def whole(self, tensors: Sequence[Tensor], count: int) -> tuple[Tensor, ...]:
        """Rows of this process (k * count / size, columns), each tensor -> those of all processes (k * count, columns).

        The other processes' rows carry no gradient: each process differentiates the loss of the whole batch by its own
        rows only, and the sum of the processes' gradients is the gradient by all of them.
        """
        together = torch.cat(list(tensors), dim=1)
        parts = [torch.empty_like(together, requires_grad=False) for _ in range(self.size)]
        dist.all_gather(parts, together.detach())
        parts[self.index] = together
        rows = torch.stack([part.unflatten(0, (-1, count // self.size)) for part in parts], dim=1)
        return rows.flatten(0, 2).split([tensor.shape[1] for tensor in tensors], dim=1)

    @_speaking
    def unite(self, gradients: Sequence[Tensor], statistics: Sequence[Tensor]) -> None:
        """Replace gradients by their sums over the processes and statistics by their means, in one message."""
        tensors = [*gradients, *statistics]
        message = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(message)
        sums = message.split([tensor.numel() for tensor in tensors])
        for index, (tensor, total) in enumerate(zip(tensors, sums, strict=True)):
            shaped = total.view(tensor.shape)
            tensor.copy_(shaped if index < len(gradients) else shaped / self.size)


def join(index: int, size: int, local: int, device: torch.device) -> Single:
    """Join the job of the launcher, once in the life of a process; alone where the launcher started one process.

    Tensors on the CPU go through gloo, those on CUDA through NCCL.
    """
    if size == 1:
        return Single()
    if not dist.is_initialized():
        cuda = device.type == "cuda" and dist.is_nccl_available()
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    return Group(index, size, local)
