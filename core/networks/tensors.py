"""The tensors of a network as data: names, shapes, initial values, and what training does to them.

The same for every backend, and the form in which states are saved. Weights are OIHW. Running statistics of batch norm
are called `running_mean` and `running_var`; every other tensor is a parameter, trained or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from duoreid.core.random import rng


class Entry(NamedTuple):
    """One tensor of the canonical state.

    kind: how it starts; see `draw`. trained: has a gradient. decays: takes weight decay where it is trained. head: lies
    behind the backbone, and so trains at the full rate where the backbone has a factor of it.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    trained: bool = True
    decays: bool = True
    head: bool = False


CONSTANTS = {"zeros": 0.0, "ones": 1.0, "exponent": 3.0}
"""Kinds that start as one number."""

DEVIATIONS = {"classifier": 0.001, "embedding": 0.02}
"""Kinds that start normally distributed, whatever their shape."""

FAN_OUT = ("conv", "linear")
"""Kinds that start normally distributed, with sqrt(2 / fan-out) (He et al., ICCV 2015)."""


def draw(tensors: Iterable[Entry], seed: int) -> dict[str, np.ndarray]:
    """Draw initial weights, float32, by kind: He-normal by fan-out, normal of a fixed deviation, or constant.

    "conv" and "linear": deviation sqrt(2 / fan-out), the fan-out being the product of all axes but the inputs'.
    "classifier": deviation 0.001. "embedding", for positions and tokens: 0.02. "ones", "zeros" and "exponent",
    which is 3. Every tensor has a generator of its own, keyed by its name: a wider classifier or another architecture
    does not move the numbers of the tensors they share. Raises ValueError for another kind.
    """
    return {entry.name: _drawn(entry, seed) for entry in tensors}


def _drawn(entry: Entry, seed: int) -> np.ndarray:
    if entry.kind in CONSTANTS:
        return np.full(entry.shape, CONSTANTS[entry.kind], dtype=np.float32)
    if entry.kind in FAN_OUT:
        deviation = math.sqrt(2.0 / (entry.shape[0] * math.prod(entry.shape[2:])))
    elif entry.kind in DEVIATIONS:
        deviation = DEVIATIONS[entry.kind]
    else:
        known = ", ".join([*FAN_OUT, *DEVIATIONS, *CONSTANTS])
        raise ValueError(f"{entry.name} starts as {entry.kind!r}, which is none of {known}: see `draw`.")
    drawn = rng(seed, f"weights/{entry.name}").standard_normal(entry.shape)
    return (drawn * deviation).astype(np.float32)


def conv(name: str, inputs: int, outputs: int, size: int) -> Entry:
    """A square convolution without bias: `NAME.weight` (outputs, inputs, size, size)."""
    return Entry(f"{name}.weight", (outputs, inputs, size, size), "conv")


def norm(name: str, channels: int, *, frozen_bias: bool = False) -> Iterator[Entry]:
    """A batch norm. frozen_bias: its bias stays at 0."""
    yield Entry(f"{name}.weight", (channels,), "ones")
    yield Entry(f"{name}.bias", (channels,), "zeros", trained=not frozen_bias)
    yield Entry(f"{name}.running_mean", (channels,), "zeros", trained=False)
    yield Entry(f"{name}.running_var", (channels,), "ones", trained=False)
