"""From an image file to uint8 (H, W, 3)."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from duoreid.datasets.errors import DatasetError

INTERPOLATIONS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
VERSION = 1
"""Part of every cache's key: raise it when the pixels of any image would change."""

DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
BROKEN = (
    OSError,  # unreadable, empty, not an image, truncated
    SyntaxError,  # a broken PNG
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)


class ImageError(DatasetError):
    """One image that cannot be decoded; `reason` is short."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file, self.reason = file, reason

    def __reduce__(self) -> tuple:
        return ImageError, (self.file, self.reason)


def open_rgb(file: str | Path) -> Image.Image:
    """Decode a file completely and return it as an RGB image, upright.

    Greyscale is repeated over the three channels; CMYK and palettes are converted; transparency is dropped; the
    orientation that a phone notes in EXIF is applied. ImageError for anything broken, and for more than 8 bits a
    channel in one channel: which part of the range holds the picture (a thermal camera may use 200 of 65,536
    levels) is for the owner of the images to say.
    """
    try:
        # a Path would be resolved by some releases of Pillow, and a loop of links then is a RuntimeError
        with Image.open(os.fspath(file) if isinstance(file, Path) else file) as image:
            if image.mode in DEEP_MODES:
                raise ImageError(
                    str(file),
                    f"mode {image.mode} (more than 8 bits), expected 8 bits a channel. Convert it with the range "
                    "of levels that your camera uses, then try again",
                )
            image.load()
            if "exif" in image.info:
                image = ImageOps.exif_transpose(image)
            return image.convert("RGB")
    except ImageError:
        raise
    except BROKEN as error:
        raise ImageError(str(file), reason(error)) from error


def reason(error: BaseException) -> str:
    """Return why an image could not be decoded, without the file's name."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that can be identified (empty, or of another kind)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def resize(image: Image.Image, height: int, width: int, interpolation: str) -> np.ndarray:
    """RGB image -> uint8 (height, width, 3)."""
    return np.asarray(image.resize((width, height), INTERPOLATIONS[interpolation]))


def decode(file: str | Path, height: int, width: int, interpolation: str = "bicubic") -> np.ndarray:
    """Return a file's image at a size, uint8 (height, width, 3); ImageError where it cannot be decoded."""
    return resize(open_rgb(file), height, width, interpolation)


def check_interpolation(interpolation: str) -> None:
    """Raise ValueError for an interpolation that is not known."""
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation {interpolation!r}: expected one of {', '.join(INTERPOLATIONS)}.")
