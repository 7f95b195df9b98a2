"""The pictures of a page as one image: each is stored once, however often it is shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from duoreid.core.data import Images

HIGHEST, COLUMNS, QUALITY = 96, 40, 82
BLOCK = 8
"""A thumbnail's sides are multiples of it: JPEG's blocks then never mix two pictures."""

READ = 256
"""Images read at a time."""


class Packed(NamedTuple):
    """An atlas as CSS needs it. uri: of the JPEG; width, height: of a thumbnail in pixels; columns, rows: of them."""

    uri: str
    width: int
    height: int
    columns: int
    rows: int


class Atlas:
    """Collects pictures and packs them, as thumbnails of one size, into one JPEG.

    height, width: of the images in pixels; thumbnails have their proportions and are at most HIGHEST high.

    >>> atlas = Atlas(64, 32)
    >>> atlas.add_array(np.zeros((64, 32, 3), np.uint8)), atlas.add_array(np.ones((64, 32, 3), np.uint8))
    (0, 1)
    >>> packed = atlas.pack()
    >>> packed.width, packed.height, packed.uri[:22]
    (32, 64, 'data:image/jpeg;base64')
    """

    def __init__(self, height: int, width: int) -> None:
        scale = min(1.0, HIGHEST / height)
        self.height, self.width = (max(BLOCK, round(side * scale / BLOCK) * BLOCK) for side in (height, width))
        self._places: dict[tuple[int, int], int] = {}
        self._sources: dict[int, Images] = {}
        self._arrays: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._places) + len(self._arrays)

    def add(self, images: Images, rows: Iterable[int]) -> list[int]:
        """Note rows of some images, uint8 (N, H, W, 3), and return the place of each; they are read by `pack`."""
        source = id(images)
        self._sources[source] = images
        return [self._places.setdefault((source, int(row)), len(self)) for row in rows]

    def add_array(self, picture: np.ndarray) -> int:
        """Take a picture uint8 (h, w, 3) of any size, fitted into a thumbnail; return its place."""
        place = len(self)
        self._arrays[place] = self._fitted(picture)
        return place

    def _fitted(self, picture: np.ndarray) -> np.ndarray:
        """Return a thumbnail uint8 (height, width, 3): the whole picture, with a grey margin where it is narrower."""
        height, width = picture.shape[:2]
        scale = min(self.height / height, self.width / width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
        if small.shape[:2] == (self.height, self.width):
            return small
        made = np.full((self.height, self.width, 3), 128, np.uint8)
        top, left = (self.height - size[1]) // 2, (self.width - size[0]) // 2
        made[top : top + size[1], left : left + size[0]] = small
        return made

    def pack(self) -> Packed:
        """Read what was noted and return everything as one JPEG."""
        columns = min(COLUMNS, max(1, len(self)))
        rows = max(1, -(-len(self) // columns))
        sheet = np.full((rows * self.height, columns * self.width, 3), 128, np.uint8)

        def put(place: int, picture: np.ndarray) -> None:
            top, left = place // columns * self.height, place % columns * self.width
            sheet[top : top + self.height, left : left + self.width] = picture

        for place, picture in self._arrays.items():
            put(place, picture)
        for source, images in self._sources.items():
            known = sorted((row, place) for (of, row), place in self._places.items() if of == source)
            for part in _parts(known, READ):
                for (_, place), picture in zip(part, images[np.array([row for row, _ in part])], strict=True):
                    put(place, self._fitted(picture))
        file = io.BytesIO()
        Image.fromarray(sheet).save(file, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
        uri = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
        return Packed(uri, self.width, self.height, columns, rows)


def _parts(items: Sequence[tuple[int, int]], size: int) -> list[Sequence[tuple[int, int]]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
