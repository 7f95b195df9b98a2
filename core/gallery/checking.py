"""Does a gallery agree with the disk?"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass

from duoreid.core.gallery.view import View


@dataclass(frozen=True)
class Checked:
    """What `Gallery.check` found. images: that are there. The others: files, each in the order of the gallery.

    changed: by size or time of change; adding them again embeds them where their bytes differ. damaged: whose features
    are not those that were written: remove them, and add them again.
    """

    images: int
    vanished: tuple[str, ...]
    changed: tuple[str, ...]
    damaged: tuple[str, ...]

    def __bool__(self) -> bool:
        return not (self.vanished or self.changed or self.damaged)

    def __str__(self) -> str:
        parts = [f"{len(files)} {what}" for what, files in self._groups() if files]
        return f"{self.images} images: {', '.join(parts) or 'all as they were'}"

    def _groups(self) -> list[tuple[str, tuple[str, ...]]]:
        return [("vanished", self.vanished), ("changed", self.changed), ("damaged", self.damaged)]


def check(view: View) -> Checked:
    """Look at every image's file, and at the checksum of every row."""
    vanished, changed, damaged = [], [], []
    for row in map(int, view.rows):
        file, record = view.file(row), view.records[row]
        if zlib.crc32(view.features[row]) != record["checksum"]:
            damaged.append(file)
        try:
            status = os.stat(file)
        except OSError:
            vanished.append(file)
            continue
        if (status.st_size, status.st_mtime_ns) != (record["size"], record["changed"]):
            changed.append(file)
    return Checked(view.count, tuple(vanished), tuple(changed), tuple(damaged))
