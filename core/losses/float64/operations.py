"""Layers as functions of NumPy arrays (B, C, H, W), written for plainness alone."""

from __future__ import annotations

import numpy as np

from duoreid.core.networks.heads import GEM_FLOOR
from duoreid.core.networks.padding import same_padding

EPSILON, MOMENTUM = 1e-5, 0.1
"""Of batch and instance normalisation."""


def convolve(
    x: np.ndarray, weight: np.ndarray, stride: int = 1, padding: int | None = None, *, uneven: bool = False
) -> np.ndarray:
    """Convolve (B, C, H, W) with (O, C, k, k), image by image to spare memory.

    padding: k // 2 on every side unless given. uneven: as `same_padding` has it instead.
    """
    size = weight.shape[2]
    border = (size // 2 if padding is None else padding,) * 2
    borders = [same_padding(length, size, stride) if uneven else border for length in x.shape[2:]]
    rows = weight.reshape(len(weight), -1)
    outputs = []
    for image in np.pad(x, ((0, 0), (0, 0), *borders)):
        windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(1, 2))[:, ::stride, ::stride]
        gathered = windows.transpose(0, 3, 4, 1, 2)
        outputs.append((rows @ gathered.reshape(rows.shape[1], -1)).reshape(-1, *gathered.shape[3:]))
    return np.stack(outputs)


def max_pool(x: np.ndarray, *, uneven: bool = False) -> np.ndarray:
    """Maximum of 3 x 3 windows, stride 2, padding 1. uneven: padded as `same_padding` has it instead."""
    return _windows(x, uneven).max(axis=(4, 5))


def max_places(x: np.ndarray, *, uneven: bool = False) -> np.ndarray:
    """Return where `max_pool` finds its numbers, int64: places in the flattened (H, W), the first of equal ones."""
    windows, width = _windows(x, uneven), x.shape[3]
    inside = windows.reshape(*windows.shape[:4], 9).argmax(4)
    above, before = (pad[0] for pad in _pooled_borders(x, uneven))
    rows = 2 * np.arange(windows.shape[2])[:, None] - above + inside // 3
    return rows * width + 2 * np.arange(windows.shape[3]) - before + inside % 3


def generalised_mean(x: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """(mean of x^p over places)^(1/p), (B, C, H, W) -> (B, C). exponent: p, (1,). Numbers below 1e-6 count as it."""
    return (np.maximum(x, GEM_FLOOR) ** exponent).mean((2, 3)) ** (1 / exponent)


def _pooled_borders(x: np.ndarray, uneven: bool) -> list[tuple[int, int]]:
    return [same_padding(length, 3, 2) if uneven else (1, 1) for length in x.shape[2:]]


def _windows(x: np.ndarray, uneven: bool) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), *_pooled_borders(x, uneven)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]


def normalise(
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    epsilon: float = EPSILON,
) -> np.ndarray:
    """Normalise channels of (B, C, ...) by given statistics (C,)."""
    mean, var, scale, shift = (np.reshape(v, (1, -1) + (1,) * (x.ndim - 2)) for v in (mean, var, scale, shift))
    return (x - mean) / np.sqrt(var + epsilon) * scale + shift


def by_groups(
    x: np.ndarray,
    group: int,
    scale: np.ndarray | float,
    shift: np.ndarray | float,
    *,
    instance: bool = False,
    epsilon: float = EPSILON,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise groups of images by their own statistics -> (the result, mean and unbiased variance over groups)."""
    size = 1 if instance else group if 0 < group < len(x) else len(x)
    axes = (0, *range(2, x.ndim))
    scale, shift = (np.broadcast_to(value, x.shape[1]) for value in (scale, shift))
    parts, means, variances = [], [], []
    for start in range(0, len(x), size):
        part = x[start : start + size]
        mean, var = part.mean(axes), part.var(axes)
        parts.append(normalise(part, mean, var, scale, shift, epsilon))
        count = part.size // part.shape[1]
        means.append(mean)
        variances.append(var * count / max(count - 1, 1))
    return np.concatenate(parts), np.mean(means, axis=0), np.mean(variances, axis=0)


def attend(x: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Channel attention of MVD's public code: x + gamma softmax(rowmax(x x') - x x') x."""
    maps = x.reshape(*x.shape[:2], -1)
    unlike = -maps @ maps.transpose(0, 2, 1)
    weights = np.exp(unlike - unlike.max(axis=2, keepdims=True))
    return x + gamma * ((weights / weights.sum(axis=2, keepdims=True)) @ maps).reshape(x.shape)
