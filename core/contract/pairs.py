"""What both backends check and cut of a visible-infrared batch: images in two forms, noise for three branches."""

from __future__ import annotations

import numpy as np


def check_pairs(images: int, labels: int, noise: int | None, *, dropout: bool) -> None:
    """Raise ValueError where the parts of a batch do not belong together.

    images: of both modalities together. labels: one for each visible image and the infrared one beside it. noise: rows
    of uniforms, None for none; where there is dropout each image needs four, one for each z that is made of it.
    """
    if images != 2 * labels:
        raise ValueError(
            f"mvd needs one visible and one infrared image for each label, got {images} images for {labels} labels"
        )
    if dropout and noise != 4 * images:
        came = "none" if noise is None else f"{noise} rows"
        raise ValueError(f"dropout in mvd needs noise for {4 * images} rows of z, got {came}: see core/methods/mvd.py")


def rows_of_branches(images: int) -> tuple[slice, slice, slice]:
    """Return the rows of noise of the visible, the infrared and the shared branch, which sees both forms."""
    return slice(images), slice(images, 2 * images), slice(2 * images, 4 * images)


def mixed_rows(count: int, group: int) -> np.ndarray:
    """Return the order, int64 (count,), that puts rows of two modalities side by side for groups of batch norm.

    count: rows, the first half of one modality and the second of the other, person by person. Each group of `group`
    rows takes as many consecutive ones of either half: what one of several devices has of a batch.
    Raises ValueError where the groups cannot be equal.

    Example:
        >>> mixed_rows(8, 4).tolist()
        [0, 1, 4, 5, 2, 3, 6, 7]
    """
    if group < 2 or group % 2 or count % group:
        raise ValueError(f"mixed groups of {group} rows must be even and divide the batch of {count} rows")
    return np.arange(count).reshape(2, -1, group // 2).transpose(1, 0, 2).reshape(-1)
