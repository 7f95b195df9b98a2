"""The domains: which people, which cameras, and which spectra."""

from __future__ import annotations

from dataclasses import dataclass

from duoreid.datasets.synthetic.cameras import REGDB_CAMERAS, SUMMER_CAMERAS, SYSU_CAMERAS, WINTER_CAMERAS, Camera


@dataclass(frozen=True)
class Domain:
    """style: clothing statistics (see identities). cameras: numbered from 1.

    window: width of a detector's box in pixels at the images' height; boxes are stretched to the images' width, as
    those of the real datasets are.
    daylight: factor of the cameras' exposures. calm, fog: how quiet and how foggy the places are (see scenes). What
    differs between cameras splits clusters by camera instead of by person, so these two decide how much adaptation can
    gain; daylight, which all cameras share, decides how little the source knows.
    walks: people pass the cameras again for every frame, and all cameras, which stand side by side, see each passage
    together, as RegDB's two do; without it each camera has one passage of its own.
    """

    name: str
    style: str
    cameras: tuple[Camera, ...]
    window: int
    daylight: float = 1.0
    calm: float = 0.4
    fog: float = 0.0
    walks: bool = False


DOMAINS = {
    "synthetic-a": Domain("synthetic-a", "summer", SUMMER_CAMERAS, 48),
    "synthetic-b": Domain("synthetic-b", "winter", WINTER_CAMERAS, 54, daylight=0.55, calm=0.29, fog=0.42),
    "synthetic-sysu": Domain("synthetic-sysu", "mixed", SYSU_CAMERAS, 52),
    "synthetic-regdb": Domain("synthetic-regdb", "mixed", REGDB_CAMERAS, 52, walks=True),
}
