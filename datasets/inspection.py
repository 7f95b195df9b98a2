"""Opening every image of a dataset: which are broken, of other modes, turned, or the same as others."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image
from tqdm import tqdm

from duoreid.core.data import Dataset
from duoreid.datasets.decode import BROKEN, ImageError, formats, open_rgb, reason
from duoreid.datasets.errors import Problem
from duoreid.datasets.images import cores

HANDLED = {
    "L": "greyscale, repeated over three channels",
    "1": "black and white, repeated over three channels",
    "LA": "greyscale with transparency, which is dropped",
    "P": "palette, converted",
    "RGBA": "with transparency, which is dropped",
    "CMYK": "CMYK, converted",
    "YCbCr": "YCbCr, converted",
    "LAB": "LAB, converted",
    "HSV": "HSV, converted",
}
ORIENTATION = 0x0112
BLOCK = 64


@dataclass(frozen=True)
class Seen:
    """What one file is. error: why it cannot be decoded, else empty."""

    file: str
    error: str = ""
    digest: bytes = b""
    mode: str = ""
    width: int = 0
    height: int = 0
    turned: bool = False


def look(file: str) -> Seen:
    """Read and decode one file completely."""
    try:
        with open(file, "rb") as stream:
            data = stream.read()
    except OSError as error:
        return Seen(file, reason(error))
    if not data:
        return Seen(file, "empty file (0 bytes)")
    try:
        open_rgb(io.BytesIO(data))
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            turned = image.getexif().get(ORIENTATION, 1) != 1
            return Seen(file, "", hashlib.blake2b(data, digest_size=16).digest(), image.mode, *image.size, turned)
    except ImageError as error:
        return Seen(file, error.reason)
    except BROKEN as error:  # in its EXIF
        return Seen(file, reason(error))


def look_at_all(files: Sequence[str], *, progress: bool = True, workers: int | None = None) -> list[Seen]:
    """Look at every file on several threads; a bar shows how far it is. Return one entry per file, in order."""
    blocks = [files[start : start + BLOCK] for start in range(0, len(files), BLOCK)]
    seen: list[Seen] = []
    with (
        tqdm(total=len(files), desc="looking at images", unit="image", disable=not progress, mininterval=0.5) as bar,
        ThreadPoolExecutor(workers or cores(), thread_name_prefix="doctor") as pool,
    ):
        for block in pool.map(lambda block: [look(file) for file in block], blocks):
            seen += block
            bar.update(len(block))
    return seen


def image_files(dataset: Dataset) -> list[str]:
    """Return every image file of a dataset once; images that come in arrays are left out."""
    train = dataset.train.files if dataset.train.pixels is None else ()
    return list(dict.fromkeys((*train, *(dataset.frames or dataset.test).files)))


def check_images(dataset: Dataset, seen: Sequence[Seen]) -> list[Problem]:
    """Return what is wrong with the images that were looked at."""
    problems = []
    broken = tuple(f"{one.file}: {one.error}" for one in seen if one.error)
    if broken:
        text = f"{len(broken)} of {len(seen)} images cannot be decoded; fetch them again:"
        problems.append(Problem("unreadable", text, broken))
    modes = Counter(one.mode for one in seen if not one.error and one.mode != "RGB")
    for mode, number in sorted(modes.items()):
        examples = tuple(one.file for one in seen if one.mode == mode)
        how = HANDLED.get(mode, "converted")
        problems.append(Problem("modes", f"{number} images of mode {mode} ({how}):", examples, fatal=False))
    turned = tuple(one.file for one in seen if one.turned)
    if turned:
        text = f"{len(turned)} images are marked as turned in EXIF, and are turned upright when read:"
        problems.append(Problem("orientation", text, turned, fatal=False))
    return problems + _duplicates(dataset, seen)


def sizes(seen: Sequence[Seen]) -> dict[str, list[int]]:
    """Return the smallest, median and largest width and height."""
    good = [one for one in seen if not one.error]
    if not good:
        return {}
    return {
        name: [int(value) for value in np.percentile([getattr(one, name) for one in good], (0, 50, 100))]
        for name in ("width", "height")
    }


def _duplicates(dataset: Dataset, seen: Sequence[Seen]) -> list[Problem]:
    """Files of the same bytes: between training and test, under several identities, or simply twice."""
    groups: dict[bytes, list[str]] = {}
    for one in seen:
        if not one.error:
            groups.setdefault(one.digest, []).append(one.file)
    twins = [files for files in groups.values() if len(files) > 1]
    halves = (dataset.train, dataset.frames or dataset.test)
    train, test = (dict(zip(s.files, s.identities.tolist(), strict=True)) for s in halves)
    across, mixed, same = [], [], []
    for files in twins:
        line = " = ".join(files[:4]) + (f" = {len(files) - 4} more" if len(files) > 4 else "")
        if any(file in train for file in files) and any(file in test for file in files):
            across.append(line)
        elif any(len({ids[file] for file in files if file in ids}) > 1 for ids in (train, test)):
            mixed.append(line)
        else:
            same.append(line)
    problems = []
    for lines, text, fatal in (
        (across, "groups of identical files in both training and test:", True),
        (mixed, "groups of identical files under several identities:", False),
        (same, "groups of identical files of one identity:", False),
    ):
        if lines:
            problems.append(Problem("duplicates", f"{len(lines)} {text}", tuple(lines), fatal))
    return problems
