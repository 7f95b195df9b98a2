"""What the device halves of the methods take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

Forward = Callable[..., tuple[Tensor, ...]]
"""(role of a network, its view (B, 3, H, W), noise where it takes any) -> what the network returns in training."""


class Inputs(NamedTuple):
    """A batch on the device.

    views: what the networks see. labels: int64 (B,). noise: uniforms for dropout or None. arrays: what the method keeps
    from step to step, by name; it changes them in place, under `torch.no_grad`.
    """

    views: Sequence[Tensor]
    labels: Tensor
    noise: Tensor | None
    arrays: Mapping[str, Tensor]
