"""Giving back the room of rows that were removed: the files are written once more without them, beside the old ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from duoreid.core.errors import UserError
from duoreid.core.gallery.layout import CAMERAS, COMPACTED, FEATURES, FILES, GROWING, IDENTITIES, ROWS, Commit
from duoreid.core.gallery.store import Writer
from duoreid.core.gallery.view import View
from duoreid.core.numeric.inputs import row_blocks

LEAST = 1000
"""Removed rows from which on a gallery compacts itself, once they are more than those that are there."""


def wasteful(view: View) -> bool:
    """Return whether removed rows take more room than the others: each is then copied once for each that went."""
    removed = len(view.features) - view.count
    return removed >= LEAST and removed > view.count


def compact(writer: Writer) -> int:
    """Write a gallery's files without the rows that were removed; return how many went.

    commit.json is replaced last: a process that is killed leaves the gallery as it was, and the next one removes what
    it had written. Who has the old files mapped keeps them. The rows get other numbers, so that an approximate index is
    stale. Names of people and cameras whom no image shows go too. The caller holds the gallery's lock.
    """
    view = writer.view
    gone = len(view.features) - view.count
    if not gone:
        return 0
    commit = replace(Commit(), generation=view.commit.generation + 1)
    paths = {name: commit.file(writer.folder, name) for name in GROWING}
    people, identities = _kept(view, "identity", view.identities)
    places, cameras = _kept(view, "camera", view.cameras)
    try:
        _write(paths[IDENTITIES], iter([identities]))
        _write(paths[CAMERAS], iter([cameras]))
        blocks = [view.rows[block] for block in row_blocks(view.count, max(1, view.features.shape[1]))]
        _write(paths[FEATURES], (np.ascontiguousarray(view.features[rows]).tobytes() for rows in blocks))
        files = _write(paths[FILES], (b"".join(os.fsencode(view.file(int(row))) for row in rows) for rows in blocks))
        _write(paths[ROWS], _records(view, blocks, people, places))
    except OSError as error:
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise UserError(
            f"{writer.folder} could not be compacted: {error.strerror}. It needs free room for the images that are "
            "there; the gallery is as it was."
        ) from error
    writer.about.write(writer.folder, COMPACTED)
    writer.replace(replace(commit, rows=view.count, files=files, identities=len(identities), cameras=len(cameras)))
    return gone


def _kept(view: View, field: str, names: tuple[str, ...]) -> tuple[np.ndarray, bytes]:
    """Return (new numbers of names, with that of "unknown" last; the lines of those that are shown)."""
    shown = np.zeros(len(names) + 1, bool)
    shown[view.records[field][view.rows]] = True  # -1, unknown, is the last
    shown[-1] = False
    numbers = np.where(shown, np.cumsum(shown) - 1, -1)
    return numbers, "".join(f"{json.dumps(names[name])}\n" for name in np.flatnonzero(shown)).encode()


def _records(view: View, blocks: list[np.ndarray], people: np.ndarray, places: np.ndarray) -> Iterator[bytes]:
    end = 0
    ends = view.records["name_end"]
    for rows in blocks:
        records = view.records[rows].copy()
        lengths = ends[rows] - np.where(rows > 0, ends[rows - 1], 0)
        records["name_end"] = end + np.cumsum(lengths)
        records["identity"], records["camera"] = people[records["identity"]], places[records["camera"]]
        end = int(records["name_end"][-1])
        yield records.tobytes()


def _write(path: Path, parts: Iterator[bytes]) -> int:
    """Write a file and bring it to the disk; return its size."""
    with path.open("wb") as file:
        size = sum(file.write(part) for part in parts)
        file.flush()
        os.fsync(file.fileno())
    return size
