"""What a search answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Hits:
    """The images of a gallery that are nearest to one query, best first.

    files: absolute paths. similarities: cosines, float64 (n,), from -1 to 1. identities, cameras: names, None where
    the gallery knows none. accepted: bool (n,), whether the similarity reaches the model's threshold for a gallery of
    this size; None where the model has no threshold. times: seconds since 1970, NaN where unknown.
    """

    files: list[str]
    similarities: np.ndarray
    identities: list[str | None]
    cameras: list[str | None]
    accepted: np.ndarray | None
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.files)

    def as_plain(self) -> list[dict[str, Any]]:
        """Return the hits as JSON holds them.

        >>> hits = Hits(["/a.jpg"], np.array([0.5]), [None], ["c1"], None, np.array([np.nan]))
        >>> hits.as_plain()
        [{'file': '/a.jpg', 'similarity': 0.5, 'identity': None, 'camera': 'c1', 'time': None, 'accepted': None}]
        """
        return [
            {
                "file": self.files[place],
                "similarity": round(float(self.similarities[place]), 6),
                "identity": self.identities[place],
                "camera": self.cameras[place],
                "time": None if np.isnan(self.times[place]) else float(self.times[place]),
                "accepted": None if self.accepted is None else bool(self.accepted[place]),
            }
            for place in range(len(self))
        ]
