"""Images that a user hands over, as core sees them: what a reader of pictures does, and what it says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np


class Picture(NamedTuple):
    """One image file. file: its absolute path. time: seconds since 1970. None where something is not known."""

    file: str
    identity: str | None = None
    camera: str | None = None
    time: float | None = None


@dataclass(frozen=True)
class Listing:
    """The image files of a source.

    folders: absolute paths of those that were listed whole. ignored: how many other files lie there. told: what is left
    out and why, and other remarks, in words; "" for none.
    """

    pictures: tuple[Picture, ...]
    folders: tuple[str, ...] = ()
    ignored: int = 0
    told: str = ""


class Pictures(Protocol):
    """A reader of pictures; `datasets` has the one that reads files."""

    def pixels(self, source: Any, height: int, width: int, interpolation: str) -> np.ndarray:
        """Return a path's, an array's or a PIL image's picture, uint8 (height, width, 3).

        ValueError says why it cannot be read.
        """
        ...

    def listed(self, source: Any, pattern: str | None = None) -> Listing:
        """Return the images of a folder, a CSV file, one image file, or a sequence of these.

        pattern: a regular expression for the path below the folder, with groups `identity`, `camera` and `time`.
        """
        ...

    def moment(self, text: str | float) -> float:
        """Return seconds since 1970 of a time as people write it."""
        ...


def known(names: Sequence[Any] | None, count: int, what: str) -> list[str | None]:
    """Return `count` names as text, None where unknown; ValueError where there are more or fewer."""
    if names is None:
        return [None] * count
    if isinstance(names, str) or len(names) != count:
        given = "one text" if isinstance(names, str) else f"{len(names)}"
        raise ValueError(f"{what} must name one for each of the {count} images, but {given} came.")
    return [None if name is None else str(name) for name in names]
