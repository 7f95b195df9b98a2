"""Which rows of a gallery a search may answer with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoreid.core.errors import UserError

if TYPE_CHECKING:
    from duoreid.core.gallery.exact import Allowed
    from duoreid.core.gallery.view import View

Names = str | int | Sequence[str | int] | None


@dataclass(frozen=True)
class Filters:
    """What an image must be, or must not be. None: anything.

    time_from, time_to: seconds since 1970, both ends counted; images of unknown time are then left out. own_cameras:
    the camera of each query, whose images are left out for that query; None for a query without one.
    """

    camera: Names = None
    not_camera: Names = None
    identity: Names = None
    time_from: float | None = None
    time_to: float | None = None
    own_cameras: Sequence[str | int | None] | None = None

    def mask(self, view: View) -> np.ndarray | None:
        """Return which rows pass for every query, bool (N,); None: all. UserError where none does."""
        mask, records = view.alive.copy(), view.records
        if self.camera is not None:
            mask &= np.isin(records["camera"], _numbers(view, self.camera, "cameras"))
        if self.not_camera is not None:
            mask &= ~np.isin(records["camera"], _numbers(view, self.not_camera, "cameras"))
        if self.identity is not None:
            mask &= np.isin(records["identity"], _numbers(view, self.identity, "identities"))
        if self.time_from is not None:
            mask &= records["time"] >= self.time_from  # NaN never is
        if self.time_to is not None:
            mask &= records["time"] <= self.time_to
        if not mask.any():
            raise UserError(
                f"no image of the gallery passes the filters: it has {view.count:,} images, cameras "
                f"{_some(view.cameras)}, identities {_some(view.identities)}. Loosen a filter."
            )
        return None if mask.all() else mask

    def allowed(self, view: View, queries: int) -> tuple[Allowed | None, np.ndarray | None]:
        """Return (what `exact` is told, the mask for every query)."""
        mask = self.mask(view)
        own = self._own(view, queries)
        if own is None:
            return (None if mask is None else lambda rows: mask[rows]), mask
        cameras = view.records["camera"]

        def each_its_own(rows: slice) -> np.ndarray:
            other = own[:, None] != cameras[rows]
            return other if mask is None else other & mask[rows]

        return each_its_own, mask

    def shared(self, view: View, queries: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return groups of queries (n,) that see the same rows, with a mask of these, bool (N,)."""
        mask = self.mask(view)
        mask = np.ones(len(view.features), bool) if mask is None else mask
        own = self._own(view, queries)
        if own is None:
            return [(np.arange(queries), mask)]
        cameras = view.records["camera"]
        return [(np.flatnonzero(own == camera), mask & (cameras != camera)) for camera in np.unique(own)]

    def _own(self, view: View, queries: int) -> np.ndarray | None:
        """Return the number of each query's camera (Q,), -2 where it has none; None: nothing is left out."""
        if self.own_cameras is None:
            return None
        if isinstance(self.own_cameras, str) or len(self.own_cameras) != queries:
            raise UserError(
                f"exclude_own_camera needs the camera of each of the {queries} queries, but {self.own_cameras!r} came."
            )
        known = {name: number for number, name in enumerate(view.cameras)}
        return np.array([known.get(str(name), -2) if name is not None else -2 for name in self.own_cameras])


def _numbers(view: View, given: Names, kind: str) -> list[int]:
    names = [str(given)] if isinstance(given, (str, int)) else [str(name) for name in given]
    return view.numbers_of(names, kind)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) or "none"
    return f"{shown}, ... ({len(names)})" if len(names) > 5 else shown
