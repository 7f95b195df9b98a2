"""An approximate index beside a gallery's features: opt-in, with its recall measured when it is built.

Jegou, Douze, Schmid: "Product Quantization for Nearest Neighbor Search", 2011, section 4: an inverted file of k-means
cells, of which a query visits a few. Similarities are exact; some neighbours are missed.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints.files import write_atomically
from duoreid.core.errors import UserError
from duoreid.core.gallery.exact import exact
from duoreid.core.gallery.filters import Filters
from duoreid.core.gallery.view import View
from duoreid.core.numeric.inputs import as_count, row_blocks

INDEX, MEASURED = "approximate.faiss", "approximate.json"
ROUNDS, PER_CELL = 5, 40  # of k-means over the cells, and images that each cell is trained on
QUERIES, DEPTH = 200, 10  # on which the recall is measured
LEAST = 100  # images for which there is an index


@dataclass(frozen=True)
class Recall:
    """What was measured of an index. recall: share of the exact first `depth` that it found, over `queries` images.

    rows, images, generation: of the gallery when it was built. stale: images were added or removed since, or rows were
    given other numbers.
    """

    recall: float
    depth: int
    queries: int
    cells: int
    probes: int
    rows: int
    images: int
    generation: int = 0
    stale: bool = False

    def stale_for(self, view: View) -> bool:
        """Return whether a gallery has other rows than those that were indexed."""
        now = (len(view.features), view.count, view.commit.generation)
        return (self.rows, self.images, self.generation) != now

    def __str__(self) -> str:
        old = ", stale: rows have changed since" if self.stale else ""
        return f"{self.cells} cells, {self.probes} visited, recall@{self.depth} {self.recall:.3f}{old}"


def read_recall(folder: Path, view: View) -> Recall | None:
    """Return what is stored of a gallery's index; None where there is none."""
    try:
        recall = Recall(**json.loads((folder / MEASURED).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder / MEASURED} cannot be read ({error}): remove it and {INDEX}, and build the index again."
        ) from error
    return Recall(**(asdict(recall) | {"stale": recall.stale_for(view)}))


@dataclass
class Approximate:
    """An opened index. searcher: faiss's, mapped from the disk. recall: as measured, without a filter."""

    searcher: Any
    recall: Recall

    @classmethod
    def open(cls, folder: Path, view: View) -> Approximate:
        """Open a gallery's index; UserError where there is none, or its rows have changed."""
        import faiss

        recall = read_recall(folder, view)
        if recall is None or not (folder / INDEX).is_file():
            raise UserError(f"{folder} has no approximate index: make one with Gallery.build_index, or search exactly.")
        if recall.stale:
            raise UserError(
                f"the approximate index of {folder} is stale: it was built of {recall.images:,} images, and they are "
                f"not the {view.count:,} that are there. Build it again with Gallery.build_index, or search exactly."
            )
        searcher = faiss.read_index(str(folder / INDEX), faiss.IO_FLAG_MMAP)
        return cls(searcher, recall)

    def search(self, view: View, queries: np.ndarray, k: int, filters: Filters) -> tuple[np.ndarray, np.ndarray]:
        """Return what `exact` returns, but miss some rows: (int64 (Q, k), float64 (Q, k)), -1 where fewer pass."""
        rows, similarities = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf)
        for asked, passing in filters.shared(view, len(queries)):
            rows[asked], similarities[asked] = self._among(view, queries[asked], k, passing)
        return rows, similarities

    def _among(self, view: View, queries: np.ndarray, k: int, passing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Search among the rows that pass, bool (N,).

        The fewer pass, the farther away the nearest of them lie. A query visits so many cells that as many rows are
        multiplied as without a filter; all of them are the exact search.
        """
        passing = passing & view.alive
        count = int(np.count_nonzero(passing))
        probes = math.ceil(self.recall.probes * view.count / max(1, count))
        if probes >= self.recall.cells:
            return exact(view.features, queries, k, lambda block: passing[block])
        similarities, rows = self._visit(queries, k, probes, None if count == view.count else passing)
        order = np.lexsort((rows, -similarities), axis=1)
        rows, similarities = np.take_along_axis(rows, order, 1), np.take_along_axis(similarities, order, 1)
        similarities = np.where(rows < 0, -np.inf, similarities.astype(np.float64))
        short = np.flatnonzero((rows[:, : min(k, count)] < 0).any(axis=1))  # the cells that were visited hold too few
        if len(short):
            rows[short], similarities[short] = exact(view.features, queries[short], k, lambda block: passing[block])
        return rows, similarities

    def _visit(
        self, queries: np.ndarray, k: int, probes: int, passing: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        if passing is None:
            return self.searcher.search(queries, k, params=faiss.SearchParametersIVF(nprobe=probes))
        bits = np.packbits(passing, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
        return self.searcher.search(queries, k, params=faiss.SearchParametersIVF(nprobe=probes, sel=selector))


def build(folder: Path, view: View, *, cells: int | None, probes: int | None) -> Recall:
    """Build an index of the rows that are there, write it, measure it. The caller holds the gallery's lock."""
    import faiss

    if view.count < LEAST:
        raise UserError(
            f"an approximate index needs at least {LEAST} images, and {folder} has {view.count}: the exact search "
            "takes less than a millisecond there."
        )
    rows, width = view.rows, view.features.shape[1]
    cells = min(view.count, as_count(cells or math.ceil(4 * math.sqrt(view.count)), "cells"))
    probes = min(cells, as_count(probes or max(8, cells // 50), "probes"))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.min_points_per_centroid = ROUNDS, 1
    index.train(_of(view, rows[:: max(1, view.count // (PER_CELL * cells))]))
    for block in row_blocks(view.count, width):
        index.add_with_ids(_of(view, rows[block]), rows[block])
    index.nprobe = probes
    depth = min(DEPTH, view.count)
    asked = rows[np.unique(np.linspace(0, view.count - 1, QUERIES).astype(np.int64))]
    truth, _ = exact(view.features, _of(view, asked), depth, lambda block: view.alive[block])
    _, neighbours = index.search(_of(view, asked), depth)
    shared = sum(len(np.intersect1d(one, other)) for one, other in zip(truth, neighbours, strict=True))
    recall = Recall(
        shared / truth.size, depth, len(asked), cells, probes, len(view.features), view.count, view.commit.generation
    )
    (folder / MEASURED).unlink(missing_ok=True)  # a process that is killed here leaves no index rather than another's
    temporary = folder / f".{INDEX}"
    faiss.write_index(index, str(temporary))
    os.replace(temporary, folder / INDEX)
    write_atomically(folder / MEASURED, json.dumps(asdict(recall)).encode())
    return recall


def _of(view: View, rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(view.features[rows], np.float32)
