"""Augmentation of uint8 images (B, H, W, 3), in NumPy: the same bytes for every backend.

Each function returns a new array and leaves its input untouched. Each draws a fixed count of numbers for each
image, whatever its probability and outcomes, so that no image's numbers depend on what befell another, nor those
of one step on whether another is switched on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duoreid.core.networks.images import GREY_WEIGHTS

ERASE_FILLS = {"mean": (124, 116, 104), "reference": (152, 142, 127)}
"""Colours of erased rectangles. mean: ImageNet's mean. reference: what public MMT code erases with, 0.485, 0.456
and 0.406 AFTER normalisation, in pixel values."""

ERASE_ATTEMPTS, ERASE_AREA, ERASE_ASPECT = 100, (0.02, 0.4), (0.3, 1 / 0.3)


@dataclass(frozen=True)
class Augmentation:
    """What to do to an image, in this order.

    flip: probability of a horizontal flip. padding: pixels of black on each side, from which the old size is
    cropped at random. grey: probability of losing colour. erase: probability that a rectangle is painted over.
    erase_fill: its colour, "mean" or "reference" (see ERASE_FILLS). erase_most: the largest share of the image.
    """

    flip: float = 0.5
    padding: int = 10
    erase: float = 0.0
    erase_fill: str = "mean"
    grey: float = 0.0
    erase_most: float = ERASE_AREA[1]

    def __post_init__(self) -> None:
        for name in ("flip", "erase", "grey"):
            _check_probability(name, getattr(self, name))
        _check_padding(self.padding)
        if self.erase_fill not in ERASE_FILLS:
            raise ValueError(f"erase_fill must be one of {', '.join(ERASE_FILLS)}, but is {self.erase_fill!r}.")


def augment(images: np.ndarray, options: Augmentation, generator: np.random.Generator) -> np.ndarray:
    """Return images flipped, padded and cropped, greyed and erased as `options` says.

    images: uint8 (B, H, W, 3). Raises ValueError on anything else.
    Source: the order is that of the public MMT training code.
    """
    images = flip(images, generator, options.flip)
    images = pad_crop(images, generator, options.padding)
    images = grey(images, generator, options.grey)
    return erase(images, generator, options.erase, ERASE_FILLS[options.erase_fill], most=options.erase_most)


def flip(images: np.ndarray, generator: np.random.Generator, probability: float = 0.5) -> np.ndarray:
    """Return images uint8 (B, H, W, 3), each mirrored left to right with this probability."""
    _check_images(images)
    _check_probability("flip", probability)
    width = images.shape[2]
    mirror = np.arange(3 * width).reshape(width, 3)[::-1].ravel()
    flipped = np.array(images, order="C")
    lines = _lines(flipped)
    for i in np.flatnonzero(generator.random(len(images)) < probability):
        lines[i] = np.take(lines[i], mirror, axis=1, mode="clip")
    return flipped


def pad_crop(
    images: np.ndarray,
    generator: np.random.Generator,
    padding: int = 10,
    fill: tuple[int, int, int] = (0, 0, 0),
) -> np.ndarray:
    """Return images uint8 (B, H, W, 3) moved by -padding to padding pixels each way, evenly; the gap is filled.

    The same as padding every side and cropping the old size at random. The default fill is black before
    normalisation, as in the public MMT code.
    """
    _check_images(images)
    _check_padding(padding)
    count, height, width, _ = images.shape
    shifts = np.floor(generator.random((count, 2)) * (2 * padding + 1)).astype(int) - padding
    moved = np.empty(images.shape, dtype=np.uint8)
    lines = _lines(moved)
    lines[...] = np.tile(np.array(fill, dtype=np.uint8), width)
    source = _lines(np.ascontiguousarray(images))
    for i, (down, right) in enumerate(shifts.tolist()):
        to = slice(max(down, 0), max(height + down, 0)), slice(max(3 * right, 0), max(3 * (width + right), 0))
        of = slice(max(-down, 0), max(height - down, 0)), slice(max(-3 * right, 0), max(3 * (width - right), 0))
        lines[i][to] = source[i][of]
    return moved


def grey(images: np.ndarray, generator: np.random.Generator, probability: float) -> np.ndarray:
    """Return images uint8 (B, H, W, 3), each with this probability replaced by its luminance, three times."""
    _check_images(images)
    _check_probability("grey", probability)
    chosen = generator.random(len(images)) < probability
    greyed = np.array(images, order="C")
    greyed[chosen] = luminance(images[chosen])[..., None]
    return greyed


def luminance(images: np.ndarray) -> np.ndarray:
    """Return 0.2989 R + 0.5870 G + 0.1140 B, rounded: uint8 (..., 3) -> uint8 (...)."""
    return np.rint(images @ np.array(GREY_WEIGHTS, dtype=np.float32)).astype(np.uint8)


def erase(
    images: np.ndarray,
    generator: np.random.Generator,
    probability: float = 0.5,
    fill: tuple[int, int, int] = ERASE_FILLS["mean"],
    *,
    most: float = ERASE_AREA[1],
) -> np.ndarray:
    """Return images uint8 (B, H, W, 3), each with this probability painted over in a random rectangle.

    The rectangle has 2% to `most` of the image's area and a ratio of height to width of 0.3 to 1 / 0.3, both evenly
    drawn; of 100 attempts the first that fits inside counts, and where none does the image stays as it is.
    Source: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, algorithm 1.
    """
    _check_images(images)
    _check_probability("erase", probability)
    if not ERASE_AREA[0] < most <= 1:
        raise ValueError(f"most must lie in ({ERASE_AREA[0]}, 1], but is {most}: the largest share that is erased.")
    count, height, width, _ = images.shape
    chosen = generator.random(count) < probability
    top, left, tall, wide = _rectangles(count, height, width, generator, most)
    erased = np.array(images, order="C")
    lines = _lines(erased)
    colour = np.tile(np.array(fill, dtype=np.uint8), width)
    for i in np.flatnonzero(chosen & (tall > 0)):
        rectangle = slice(top[i], top[i] + tall[i]), slice(3 * left[i], 3 * (left[i] + wide[i]))
        lines[i][rectangle] = colour[: 3 * wide[i]]
    return erased


def _rectangles(
    count: int, height: int, width: int, generator: np.random.Generator, most: float
) -> tuple[np.ndarray, ...]:
    """Return top, left, height and width of a rectangle for each image, int (B,); height 0 where none fits."""
    area = height * width * generator.uniform(ERASE_AREA[0], most, (count, ERASE_ATTEMPTS))
    aspect = generator.uniform(*ERASE_ASPECT, (count, ERASE_ATTEMPTS))
    place = generator.random((count, 2))
    tall, wide = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (tall < height) & (wide < width) & (tall > 0) & (wide > 0)
    first = np.arange(count), fits.argmax(axis=1)
    tall, wide = np.where(fits[first], [tall[first], wide[first]], 0).astype(int)
    top = np.floor(place[:, 0] * (height - tall + 1)).astype(int)
    left = np.floor(place[:, 1] * (width - wide + 1)).astype(int)
    return top, left, tall, wide


def _lines(images: np.ndarray) -> np.ndarray:
    """Return contiguous images as lines of bytes (B, H, 3 W), a view: NumPy moves whole lines far faster."""
    count, height, width, _ = images.shape
    return images.reshape(count, height, 3 * width)


def _check_images(images: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(
            f"Images must be uint8 (B, H, W, 3), but are {images.dtype} {images.shape}: augmentation comes before "
            "normalisation, which runs on the device."
        )


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is a probability and must lie in [0, 1], but is {value}.")


def _check_padding(padding: int) -> None:
    if int(padding) != padding or padding < 0:
        raise ValueError(f"padding must be a whole number of pixels, 0 or more, but is {padding}.")
