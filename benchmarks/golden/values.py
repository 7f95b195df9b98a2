"""Numbers that follow from names: the weights and pictures behind the golden numbers, the same on every machine.

A name is hashed (BLAKE2b, 16 bytes) into the key of NumPy's Philox, whose raw 64-bit words become uniforms. There are
no normal deviates, so that neither NumPy's version nor the platform matters. The check sums are in
tests/golden/test_values.py.
"""

from __future__ import annotations

import math
from hashlib import blake2b

import numpy as np

ROOT_3 = 1.7320508075688772  # uniforms within +-sqrt(3) have variance 1
ROWS, COLUMNS = 8, 4  # patches of a picture


def words(name: str, count: int) -> np.ndarray:
    """Return `count` 64-bit words, uint64, that depend on the name alone."""
    digest = blake2b(name.encode(), digest_size=16).digest()
    return np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(count)


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return float64 uniforms of mean 0 and variance 1: the upper 53 bits of each word."""
    unit = (words(name, math.prod(shape)) >> np.uint64(11)) * 2.0**-53
    return ((2 * unit - 1) * ROOT_3).reshape(shape)


def direction(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the direction of variance 1, float64, that a tensor is projected on."""
    return uniform(f"{name}/direction", shape)


def digest(name: str, tensor: np.ndarray) -> tuple[float, float]:
    """Return a tensor's L2 norm and its dot product with the direction of its name, in float64."""
    tensor = np.asarray(tensor, np.float64)
    return float(np.sqrt((tensor * tensor).sum())), float((tensor * direction(name, tensor.shape)).sum())


def trained_weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a tensor of MVD's networks as after some training: float32, int64 for a counter.

    name: in PyTorch's or MindSpore's words; its last part tells the kind. Filters sum to zero, so that pictures stay
    apart through 50 layers of ReLU; what ends a residual branch (bn3) is small, so that 16 blocks do not blow up.
    """
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    ends_branch, x = ".bn3." in name, uniform(name, shape)
    if len(shape) > 1:
        fan_in = math.prod(shape[1:])
        x = x * np.sqrt(2.0 / fan_in)
        if len(shape) == 4:
            x = x - (x.reshape(shape[0], fan_in).sum(1) / fan_in)[:, None, None, None]
    elif kind in ("running_mean", "moving_mean"):
        x = 0.1 * x
    elif kind in ("running_var", "moving_variance"):
        x = 1.0 + 0.2 * x
    elif kind in ("bias", "beta"):
        x = 0.1 * x - 0.2 if ends_branch else 0.1 * x
    elif shape == (1,):  # the weight of a channel attention
        x = 0.1 + 0.02 * x
    else:
        x = (0.3 if ends_branch else 1.4) * (1.0 + 0.1 * x)
    return x.astype(np.float32)


def images(kind: str, count: int, height: int, width: int, *, per: int = 1) -> np.ndarray:
    """Return pictures of 8 x 4 coloured patches, uint8 (count, height, width, 3); picture i shows person i // per.

    Three quarters of a patch belong to the person (a hue, and patches of its own), one to the picture. Those of kind
    "infrared" are grey.
    """
    patches = np.stack([_patches(kind, index, per) for index in range(count)])
    if kind == "infrared":
        patches = np.repeat(patches.sum(3, keepdims=True) // 3, 3, axis=3)
    row, column = np.arange(height) * ROWS // height, np.arange(width) * COLUMNS // width
    return patches[:, row[:, None], column].astype(np.uint8)


def _patches(kind: str, index: int, per: int) -> np.ndarray:
    person = _bytes(f"identity/{index // per}", ROWS * COLUMNS * 3 + 3)
    looks = (person[:-3].reshape(ROWS, COLUMNS, 3) + person[-3:]) // 2
    own = _bytes(f"{kind}/{index}", ROWS * COLUMNS * 3).reshape(ROWS, COLUMNS, 3)
    return (3 * looks + own) // 4


def _bytes(name: str, count: int) -> np.ndarray:
    return (words(name, count) & np.uint64(255)).astype(np.int64)
