"""The domains: which people, which cameras, and which spectra."""

from __future__ import annotations

from dataclasses import dataclass

from datasets.synthetic.cameras import REGDB_CAMERAS, SUMMER_CAMERAS, SYSU_CAMERAS, WINTER_CAMERAS, Camera


@dataclass(frozen=True)
class Domain:
    """style: clothing statistics (see identities). cameras: numbered from 1."""

    name: str
    style: str
    cameras: tuple[Camera, ...]


DOMAINS = {
    "synthetic-a": Domain("synthetic-a", "summer", SUMMER_CAMERAS),
    "synthetic-b": Domain("synthetic-b", "winter", WINTER_CAMERAS),
    "synthetic-sysu": Domain("synthetic-sysu", "mixed", SYSU_CAMERAS),
    "synthetic-regdb": Domain("synthetic-regdb", "mixed", REGDB_CAMERAS),
}
