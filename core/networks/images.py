"""What every network expects of an image, and how colour becomes grey: numbers that all backends share."""

from __future__ import annotations

import numpy as np

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of red, green and blue from 0 to 1: what pretrained weights were trained behind."""

GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)
"""Shares of red, green and blue in the luminance."""


def standardise(images: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """Images of pixels from 0 to 255 (B, H, W, 3) -> (B, 3, H, W): ImageNet's mean and deviation removed."""
    values = (images.astype(dtype) / 255 - np.array(MEAN, dtype)) / np.array(DEVIATION, dtype)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def grey(images: np.ndarray) -> np.ndarray:
    """Images (B, H, W, 3) -> their luminance three times, not rounded, float64."""
    return np.repeat((images * np.array(GREY_WEIGHTS)).sum(3, keepdims=True), 3, axis=3)
