"""From an image file to uint8 (H, W, 3): the one opening of all pictures of the project.

Whatever a file's name says, only the formats listed here are tried. Each decodes inside this process: Pillow itself
would hand an EPS to Ghostscript, a program, and pass others on to plug-ins.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

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

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif", ".avifs"),
    "TGA": (".tga",),
    "PCX": (".pcx",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "QOI": (".qoi",),
}
"""Pillow's formats that are tried, with the suffixes of their files. Of several frames the first is taken."""

_NOT_READ = (
    ".heic .heif .hif .jxl .jxr .svg .psd .xcf .eps .ps .ai .pdf .raw .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .exr "
    ".hdr .ico .icns .pfm .dds .ras .sun .xbm .xpm .wmf .emf .fits .avi .mp4 .mov .mkv"
)
NOT_READ = frozenset(_NOT_READ.split())
"""Suffixes of pictures and films that are not read: such files are told from those that never were pictures."""

PIXELS = 1 << 27
"""A picture of more pixels (134 million, 0.4 GB decoded) is refused before it is decoded."""

DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
BROKEN = (
    OSError,  # unreadable, empty, not an image, truncated
    SyntaxError,  # a broken PNG
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow has been seen to raise on damaged files."""


class ImageError(DatasetError):
    """One image that cannot be decoded; `reason` is short."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file, self.reason = file, reason

    def __reduce__(self) -> tuple:
        return ImageError, (self.file, self.reason)


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """Return the names of FORMATS that the installed Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@lru_cache(maxsize=1)
def suffixes() -> frozenset[str]:
    """Return the suffixes, in small letters, of files that are taken for pictures and opened.

    >>> ".jpg" in suffixes(), ".eps" in suffixes()
    (True, False)
    """
    return frozenset(suffix for name in formats() for suffix in FORMATS[name])


def open_rgb(file: str | Path | BinaryIO) -> Image.Image:
    """Decode a file completely and return it as an RGB image, upright.

    file: a path, or a stream of bytes, read from its start. Greyscale is repeated over the three channels; CMYK and
    palettes are converted; transparency is dropped; the orientation that a phone notes in EXIF is applied. ImageError
    for anything broken, of a format that FORMATS does not list, of more than PIXELS pixels, and for more than 8 bits a
    channel in one channel: which part of the range holds the picture (a thermal camera may use 200 of 65,536 levels)
    is for the owner of the images to say.

    >>> import io
    >>> stream = io.BytesIO()
    >>> Image.new("L", (4, 2), 255).save(stream, "PNG")
    >>> open_rgb(stream).size
    (4, 2)
    >>> open_rgb(io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0"))
    Traceback (most recent call last):
    duoreid.datasets.decode.ImageError: the bytes given: PostScript, which is a program and is not run. Convert it ...
    """
    shown = "the bytes given" if hasattr(file, "read") else os.fspath(file)
    try:
        _check_kind(file, shown)
        # a Path would be resolved by some releases of Pillow, and a loop of links then is a RuntimeError
        with Image.open(os.fspath(file) if isinstance(file, Path) else file, formats=formats()) as image:
            _check_size(image, shown)
            image.load()
            if "exif" in image.info:
                image = ImageOps.exif_transpose(image)
            return image.convert("RGB")
    except ImageError:
        raise
    except BROKEN as error:
        raise ImageError(shown, reason(error)) from error


def _check_kind(file: str | Path | BinaryIO, shown: str) -> None:
    """Refuse what is no ordinary file, at which a reader might wait for ever, and PostScript by its name."""
    if hasattr(file, "read"):
        file.seek(0)
        start = file.read(4)
        file.seek(0)
    else:
        mode = os.stat(file).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(shown, "a folder, expected an image file")
        if not stat.S_ISREG(mode):
            raise ImageError(shown, "a pipe or a device, expected an image file")
        with open(file, "rb") as stream:
            start = stream.read(4)
    if start in (b"%!PS", b"\xc5\xd0\xd3\xc6"):
        raise ImageError(shown, "PostScript, which is a program and is not run. Convert it to PNG, then try again")


def _check_size(image: Image.Image, shown: str) -> None:
    """Refuse an image by its header alone."""
    if image.width * image.height > PIXELS:
        raise ImageError(
            shown, f"{image.width} x {image.height} pixels, expected at most {PIXELS:,} in all. Make it smaller"
        )
    if image.mode in DEEP_MODES:
        raise ImageError(
            shown,
            f"mode {image.mode} (more than 8 bits), expected 8 bits a channel. Convert it with the range "
            "of levels that your camera uses, then try again",
        )


def reason(error: BaseException) -> str:
    """Return why an image could not be decoded, without the file's name."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that can be identified as one of the formats that are read (empty, or of another kind)"
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
