"""Forward and backward of a training step as one CUDA graph: else a GPU waits for Python between small kernels.

What a step computes has no shape that depends on its data and asks the device for nothing, so its kernels are the same
from step to step. They are recorded once and then launched together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Function = Callable[..., Tensor]
"""(tensors on the device or None, ...) -> a tensor."""

WARM = 3
"""Steps that run one kernel after the other first: cuDNN chooses its kernels, and allocations settle."""


class Replay:
    """A function of tensors that leaves gradients in parameters, recorded on a CUDA device and replayed.

    Its Python code runs in the first `WARM` calls and in the one that records, and again when shapes or types change.
    Gradients must be None at each call.
    """

    def __init__(self, parameters: Sequence[Tensor], device: torch.device) -> None:
        self.parameters, self.device = list(parameters), device
        self.stream = torch.cuda.Stream(device)
        self._forget(())

    def _forget(self, kinds: tuple) -> None:
        self.kinds, self.calls, self.graph = kinds, 0, None
        self.inputs, self.output, self.gradients = [], None, []

    def __call__(self, function: Function, *arrays: Tensor | None) -> Tensor:
        """Return what the function, always the same one, makes of arrays that may still lie in pinned host memory.

        It is not kept: a learner whose step it is would hold itself, and its device memory, until Python cleans up.
        """
        kinds = tuple(None if array is None else (array.shape, array.dtype) for array in arrays)
        if kinds != self.kinds:
            self._forget(kinds)
            self.inputs = [None if a is None else torch.empty_like(a, device=self.device) for a in arrays]
        for kept, array in zip(self.inputs, arrays, strict=True):
            if array is not None:
                kept.copy_(array, non_blocking=True)
        self.calls += 1
        if self.calls <= WARM:
            return self._beside(function)
        if self.graph is None:
            self._record(function)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.output

    def _beside(self, function: Function) -> Tensor:
        """Run the function on a stream of its own, as a recording does."""
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            output = function(*self.inputs)
        here.wait_stream(self.stream)
        return output

    def _record(self, function: Function) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self.output = function(*self.inputs)
        self.gradients = [parameter.grad for parameter in self.parameters]
        self.graph = graph
