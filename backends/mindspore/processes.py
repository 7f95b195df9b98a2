"""The processes of a job that msrun has started, speaking through MindSpore's collective operations.

In float32 and int32: on the CPU `AllReduce` refuses float64, and `AllGather` takes it but rounds it to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from duoreid.backends.mindspore.layers import DONE
from duoreid.core.contract.learner import Batch
from duoreid.core.contract.processes import LostProcessError, share_of
from duoreid.core.numeric.sharing import Alone

if TYPE_CHECKING:
    from collections.abc import Callable


class Single(Alone):
    """The verbs of one process: they change nothing."""

    def own(self, batch: Batch) -> Batch:
        """Return the batch."""
        return batch


class Group(Single):
    """The verbs of one process among several. See core/numeric/sharing.py for `gather`."""

    def __init__(self, index: int, size: int, local: int) -> None:
        self.index, self.size, self.local = index, size, local
        self._everyone = ops.AllGather()

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Gather outside of compiled functions."""
        try:
            return self._everyone(Tensor(np.array(array)[None])).asnumpy().copy()
        except RuntimeError as error:
            raise LostProcessError(self.index, error) from error

    def own(self, batch: Batch) -> Batch:
        """Return this process's rows of each view, and of each part of the noise; the labels stay those of all."""
        count = len(batch.labels)
        share = share_of(count, self)
        mine = slice(self.index * share, (self.index + 1) * share)
        noise = batch.noise
        if noise is not None:
            noise = noise.reshape(-1, count, noise.shape[1])[:, mine].reshape(-1, noise.shape[1])
        return batch._replace(images=batch.images[:, mine], noise=noise)


class Whole(nn.Cell):
    """What a network found for this process's rows -> for the rows of all processes, inside a compiled function.

    Rows (k * count / size, columns) become (k * count, columns): of each of the k batches of `count` rows that stand
    one behind the other (MVD: both modalities), each process has seen as many consecutive rows. The other processes'
    rows carry no gradient: each process differentiates the loss of the whole batch by its own rows only, and the sum
    of the processes' gradients is the gradient by all of them.
    """

    def __init__(self, processes: Single) -> None:
        super().__init__()
        self.index, self.size = processes.index, processes.size
        if self.size > 1:
            self.everyone = ops.AllGather()

    def construct(self, outputs: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
        if self.size == 1:
            return outputs
        together = ops.cat(outputs, 1)
        rows, width = together.shape
        share = count // self.size
        gathered = self.everyone(ops.stop_gradient(together)).reshape((self.size, rows, width))
        parts = ()
        for index in range(self.size):
            parts += (together if index == self.index else gathered[index],)
        ordered = ops.stack(parts).reshape((self.size, rows // share, share, width))
        ordered = ops.transpose(ordered, (1, 0, 2, 3)).reshape((rows * self.size, width))
        begin, split = 0, ()
        for output in outputs:
            end = begin + output.shape[1]
            split += (ordered[:, begin:end],)
            begin = end
        return split


class Sum(nn.Cell):
    """Tensors of each process -> their sums over the processes, in one message, inside a compiled function."""

    def __init__(self, processes: Single) -> None:
        super().__init__()
        self.size = processes.size
        if self.size > 1:
            self.reduce = ops.AllReduce()

    def construct(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if self.size == 1:
            return tensors
        flat = ()
        for tensor in tensors:
            flat += (tensor.reshape((-1,)),)
        sums = self.reduce(ops.cat(flat))
        begin, split = 0, ()
        for index in range(len(tensors)):
            end = begin + flat[index].shape[0]
            split += (sums[begin:end].reshape(tensors[index].shape),)
            begin = end
        return split


class Average(nn.Cell):
    """Replace parameters by their means over the processes."""

    def __init__(self, processes: Single, parameters: Sequence[Parameter]) -> None:
        super().__init__(auto_prefix=False)
        self.size, self.parameters_ = processes.size, ParameterTuple(parameters)
        self.sum = Sum(processes)

    def construct(self) -> Tensor:
        sums = self.sum(self.parameters_)
        for index in range(len(sums)):
            ops.assign(self.parameters_[index], sums[index] / self.size)
        return DONE


def averaging(processes: Single, parameters: Sequence[Parameter]) -> Callable[[], Tensor]:
    """Return a function, to be compiled, that averages parameters over the processes."""
    average = Average(processes, parameters)

    def run() -> Tensor:
        return average()

    return run


@cache
def join(local: int) -> Single:
    """Join the job of the launcher, once in the life of a process, after the device has been selected.

    In the scheduler's process, which msrun starts beside the processes, this serves until the job ends, and ends it.
    """
    from mindspore.communication import get_group_size, get_rank, init

    init()
    return Group(get_rank(), get_group_size(), local)
