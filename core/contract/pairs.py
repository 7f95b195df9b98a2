"""What both backends check and cut of a visible-infrared batch: images in two forms, noise for three branches."""

from __future__ import annotations


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
