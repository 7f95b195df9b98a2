"""What the device halves of the methods take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

Forward = Callable[..., tuple[Tensor, ...]]
"""(role of a network, its view (B, 3, H, W), noise where it takes any) -> what the network returns in training."""


class Inputs(NamedTuple):
    """A batch on the device. views: what the networks see. labels: int64 (B,). noise: uniforms for dropout or None."""

    views: Sequence[Tensor]
    labels: Tensor
    noise: Tensor | None
