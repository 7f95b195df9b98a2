"""The domains: which people, which cameras, and which spectra."""

from __future__ import annotations

from dataclasses import dataclass

from datasets.synthetic.cameras import REGDB_CAMERAS, SUMMER_CAMERAS, SYSU_CAMERAS, WINTER_CAMERAS, Camera
from datasets.synthetic.scenes import Weather


@dataclass(frozen=True)
class Domain:
    """style: clothing statistics (see identities). cameras: numbered from 1.

    window: width of a detector's box in pixels at the images' height; boxes are stretched to the images' width, as
    those of the real datasets are. weather: what its places have in common.
    """

    name: str
    style: str
    cameras: tuple[Camera, ...]
    window: int
    weather: Weather


DOMAINS = {
    "synthetic-a": Domain("synthetic-a", "summer", SUMMER_CAMERAS, 48, Weather((190, 186, 170), 0.4, 0.0)),
    "synthetic-b": Domain("synthetic-b", "winter", WINTER_CAMERAS, 54, Weather((122, 126, 132), 0.5, 1.0)),
    "synthetic-sysu": Domain("synthetic-sysu", "mixed", SYSU_CAMERAS, 52, Weather((150, 150, 146), 0.4, 0.0)),
    "synthetic-regdb": Domain("synthetic-regdb", "mixed", REGDB_CAMERAS, 52, Weather((150, 150, 146), 0.4, 0.0)),
}
