"""What every network expects of an image, and how colour becomes grey: numbers that all backends share."""

from __future__ import annotations

import numpy as np

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of red, green and blue from 0 to 1: what pretrained weights were trained behind."""

GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)
"""Shares of red, green and blue in the luminance."""

GREY_FORMS = {"raw": GREY_WEIGHTS, "normalised": GREY_WEIGHTS, "port": (0.2989, 0.5870, 0.1440)}
"""How colour becomes the grey form that networks see, with the shares of the channels.

raw: the luminance of the pixels, then normalised channel by channel. normalised: the channels of the normalised image
are weighed, and the sum stands three times: one number for all channels. port: the same with the shares of MVD's
MindSpore port, whose last one is a typing slip (they sum to 1.0299).
"""


def standardise(images: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """Images of pixels from 0 to 255 (B, H, W, 3) -> (B, 3, H, W): ImageNet's mean and deviation removed."""
    values = (images.astype(dtype) / 255 - np.array(MEAN, dtype)) / np.array(DEVIATION, dtype)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def grey(images: np.ndarray, form: str = "raw") -> np.ndarray:
    """Images (B, H, W, 3) -> pixels whose normalised form is the grey form, not rounded, float64 (B, H, W, 3).

    form: of GREY_FORMS. "raw": the luminance three times. Else numbers that may lie outside of 0 to 255, each channel's
    own. Raises ValueError for another form.
    """
    if form not in GREY_FORMS:
        raise ValueError(f"form must be one of {', '.join(GREY_FORMS)}, but is {form!r}.")
    weights = np.array(GREY_FORMS[form])
    if form == "raw":
        return np.repeat((images * weights).sum(3, keepdims=True), 3, axis=3)
    mean, deviation = np.array(MEAN), np.array(DEVIATION)
    light = (((images / 255 - mean) / deviation) * weights).sum(3, keepdims=True)
    return 255 * (light * deviation + mean)
