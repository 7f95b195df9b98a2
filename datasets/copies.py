"""Query images that lie in the gallery too, under another name: each would find itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from duoreid.core.data import Search, Split
from duoreid.datasets.errors import Problem

START = 4096


def check_copies(test: Split, search: Search) -> list[Problem]:
    """Return what to say of gallery images that are a query's own file, or have its bytes, where the query sees them.

    A copy by the query's own camera under the same identity does no harm: the search ignores it. Files are compared by
    size, then by their first bytes, and read whole only where both agree.
    """
    trial, copies = search.trials[0], []
    gallery = [test.files[row] for row in trial.gallery]
    rows = dict(zip(gallery, trial.gallery.tolist(), strict=True))
    for query, copy in _pairs([(test.files[row], int(row)) for row in trial.query], gallery):
        other = rows[copy]
        same = test.identities[query] == test.identities[other] and test.cameras[query] == test.cameras[other]
        if not (same and search.ignore == "same-camera"):
            copies.append(test.files[query] if test.files[query] == copy else f"{test.files[query]} = {copy}")
    if not copies:
        return []
    text = (
        f"{len(copies)} query images are in the gallery too, as the same file or with the same bytes, so that each "
        "would find itself and the scores would be too good. Take them out of the gallery, or give the true cameras:"
    )
    return [Problem("repeats", text, tuple(copies))]


def _pairs(queries: Sequence[tuple[str, int]], gallery: Sequence[str]) -> list[tuple[int, str]]:
    """Return (row of a query, file of the gallery) for all that are the same file or have the same bytes."""
    by_size: dict[int, tuple[list[tuple[str, int]], list[str]]] = {}
    for part, items in enumerate((queries, [(file, 0) for file in gallery])):
        for item in items:
            with suppress(OSError):  # what cannot be read is told when it is decoded
                sides = by_size.setdefault(os.path.getsize(item[0]), ([], []))
                sides[part].append(item if part == 0 else item[0])
    pairs = []
    for asked, held in by_size.values():
        if asked and held:
            pairs += _same(asked, held)
    return pairs


def _same(queries: list[tuple[str, int]], gallery: list[str]) -> list[tuple[int, str]]:
    """Compare files of one size: by their first bytes, then whole."""
    for whole in (False, True):
        digests: dict[bytes, list[str]] = {}
        for file in gallery:
            digests.setdefault(_digest(file, whole), []).append(file)
        queries = [(file, row) for file, row in queries if _digest(file, whole) in digests]
        kept = {_digest(file, whole) for file, _ in queries}
        gallery = [file for digest, files in digests.items() if digest in kept for file in files]
        if not queries:
            return []
    return [(row, copy) for file, row in queries for copy in digests[_digest(file, True)]]


def _digest(file: str, whole: bool) -> bytes:
    """Return a digest of a file's first bytes, or of all; of a file that cannot be read, one of its own."""
    try:
        data = Path(file).read_bytes() if whole else _start(file)
    except OSError:
        return os.fsencode(file)
    return hashlib.blake2b(data, digest_size=16).digest()


def _start(file: str) -> bytes:
    with open(file, "rb") as stream:
        return stream.read(START)
