"""A folder of features that is added to, searched and grouped: `duoreid.Gallery`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duoreid.core.errors import UserError, unknown
from duoreid.core.gallery.adding import Added, add
from duoreid.core.gallery.approximate import Approximate, Recall, build, read_recall
from duoreid.core.gallery.checking import Checked, check
from duoreid.core.gallery.compacting import compact, wasteful
from duoreid.core.gallery.exact import exact
from duoreid.core.gallery.filters import Filters, Names
from duoreid.core.gallery.hits import Hits
from duoreid.core.gallery.layout import COMMIT, About, read_about
from duoreid.core.gallery.reranking import POOL, reranked
from duoreid.core.gallery.store import Writer, create, writing
from duoreid.core.gallery.view import View
from duoreid.core.numeric.inputs import as_count, as_features
from duoreid.core.serving.model import BATCH, Model, required_threshold

if TYPE_CHECKING:
    from duoreid.core.grouping import Groups

NUMBERS = ("float32", "float16")
K = 10


@dataclass
class Gallery:
    """Images of a folder on disk, by one model's features. Made by `Gallery.open`.

    Threads may share it. Another process may add meanwhile: `search` sees what it has added.

    Usually the model comes from `duoreid.load`; this one's features are mean colours:

    >>> import tempfile
    >>> from PIL import Image
    >>> from duoreid.core.serving.description import Description
    >>> from duoreid.datasets.sources import FILES
    >>> class MeanColour:
    ...     about = "NumPy"
    ...     def embed(self, images):
    ...         colours = images.mean(axis=(1, 2))
    ...         return colours / np.linalg.norm(colours, axis=1, keepdims=True)
    >>> model = Model(MeanColour(), Description("mean", "none", 8, 4, "bicubic", "d", dimension=3), FILES, "example")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("red", "green", "blue"):
    ...         Image.new("RGB", (4, 8), name).save(f"{folder}/{name}.png")
    ...     gallery = Gallery.open(f"{folder}/.gallery", model)
    ...     print(gallery.add(folder))
    ...     print(gallery.add(folder).decoded)
    ...     (hits,) = gallery.search(model.embed(Image.new("RGB", (4, 8), (200, 90, 0))), k=2)
    ...     print([Path(file).name for file in hits.files], hits.similarities.round(2))
    3 images added, 0 were there
    0
    ['red.png', 'green.png'] [0.91 0.41]
    """

    folder: Path
    model: Model
    about: About
    _view: View = field(repr=False)
    _seen: int = field(default=0, repr=False)
    _approximate: Approximate | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: str | Path, model: Model, *, numbers: str = "float32") -> Gallery:
        """Open the gallery in a folder; where there is none, make one.

        numbers: how a new one keeps its features, "float32" or, in half the room, "float16" (a similarity is then off
        by some 1e-4). What stands there keeps its own.
        Raises ValueError for another model's gallery, another preparation of images, a folder of something else, one
        that is damaged, and one that a newer version wrote.
        """
        folder = Path(path).absolute()
        if numbers not in NUMBERS:
            raise unknown("type of numbers", numbers, NUMBERS)
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file: a gallery is a folder.")
        about = read_about(folder)
        if about is None:
            about = create(folder, About(model.digest, model.preparation, model.dimension, numbers))
        _check_owner(folder, about, model)
        return cls(folder, model, about, View.open(folder, about), _stamp(folder))

    @property
    def view(self) -> View:
        """What the folder holds now."""
        stamp = _stamp(self.folder)
        if stamp != self._seen:
            self._view, self._seen = View.open(self.folder, self.about), stamp
        return self._view

    def __len__(self) -> int:
        return self.view.count

    @property
    def features(self) -> np.ndarray:
        """Features of all images, float16 or float32 (N, D); mapped from the disk where none was removed."""
        view = self.view
        return view.features if view.count == len(view.features) else view.features[view.rows]

    @property
    def files(self) -> list[str]:
        """Absolute paths of all images, in the order of `features`."""
        view = self.view
        return [view.file(int(row)) for row in view.rows]

    @property
    def identities(self) -> list[str | None]:
        """Who is on each image, None where unknown."""
        view = self.view
        return [view.identity(int(row)) for row in view.rows]

    @property
    def cameras(self) -> list[str | None]:
        """The camera of each image, None where unknown."""
        view = self.view
        return [view.camera(int(row)) for row in view.rows]

    @property
    def times(self) -> np.ndarray:
        """When each image was taken, seconds since 1970, NaN where unknown: float64 (N,)."""
        return self.view.records["time"][self.view.rows]

    def add(
        self,
        source: str | Path | Iterable[str | Path],
        *,
        pattern: str | None = None,
        identities: Sequence[Any] | None = None,
        cameras: Sequence[Any] | None = None,
        times: Sequence[float] | None = None,
        batch_size: int = BATCH,
        progress: bool | None = None,
    ) -> Added:
        """Add images, embed those that are new or have changed, and return what was done.

        source: a folder, flat or nested; a CSV file with the columns path, identity, camera, time; an image file; or a
        sequence of these. pattern: a regular expression for the path below the folder, which says identity, camera or
        time: r"(?P<camera>c\\d+)/" or r"^(?P<identity>\\d+)_c(?P<camera>\\d)". identities, cameras, times: of a
        sequence of files, one for each.
        What cannot be decoded is left out and named. Whatever was added stays, should the process be killed.
        """
        with self._writer() as writer:
            return add(
                writer,
                self.model,
                self.model.pictures.listed(source, pattern),
                {"identity": identities, "camera": cameras, "time": times},
                batch_size=batch_size,
                progress=progress,
            )

    def remove(self, files: str | Path | Iterable[str | Path]) -> int:
        """Take images out, by their paths, and return how many; ValueError for one that is not there.

        The pictures themselves are not touched. The room of their features is given back by `compact`, which is called
        once more rows were removed than there are.
        """
        given = [files] if isinstance(files, (str, os.PathLike)) else list(files)
        with self._writer() as writer:
            rows = {file: writer.view.find(os.path.abspath(file)) for file in given}
            absent = [str(file) for file, row in rows.items() if row is None]
            if absent:
                raise UserError(
                    f"{len(absent)} of {len(given)} files are not in the gallery {self.folder}, such as {absent[0]}: "
                    "nothing was removed. Gallery.files lists what is there."
                )
            writer.remove(sorted({int(row) for row in rows.values()}))
            return len(set(rows.values()))

    def compact(self) -> int:
        """Give back the room of images that were removed or embedded again; return how many rows that were.

        A process that is killed meanwhile leaves the gallery as it was. An approximate index is stale afterwards.
        ValueError where the disk has no room for a second copy of what stays.
        """
        with writing(self.folder):
            return compact(Writer(self.folder, self.about))

    @contextmanager
    def _writer(self) -> Iterator[Writer]:
        """Hold the gallery and change it; what then takes more room than it should is compacted."""
        with writing(self.folder):
            writer = Writer(self.folder, self.about)
            yield writer
            if wasteful(writer.view):
                compact(writer)

    def search(
        self,
        features: np.ndarray,
        k: int | None = None,
        *,
        rerank: bool | int = False,
        camera: Names = None,
        not_camera: Names = None,
        identity: Names = None,
        time_from: float | None = None,
        time_to: float | None = None,
        exclude_own_camera: Sequence[str | int | None] | None = None,
        only_accepted: bool = False,
        approximate: bool = False,
    ) -> list[Hits]:
        """Return the k nearest images of each query, best first; see `Hits`.

        features: float32 (Q, D) of unit length, from the same model; (D,) is one query. k: 10, or all of a smaller
        gallery. rerank: order the first 100 (or as many as it says) by k-reciprocal encoding; the similarities stay
        cosines. camera, not_camera, identity: a name, or several. time_from, time_to: seconds since 1970.
        exclude_own_camera: the camera of each query, whose images it does not see. only_accepted: leave out what does
        not reach the model's threshold. approximate: by the index that `build_index` has made; the fewer images pass
        the filters, the more cells it visits, and where it would visit all the search is exact. Its recall was measured
        without filters, and is less with them.
        Without it the search is exact: it equals a sort by float64 similarities, equal ones in the order in which they
        were added. Where filters leave fewer than k images, there are fewer hits.
        Raises ValueError for an empty gallery, k beyond it, features that are not finite unit vectors of the model's
        dimension, filters that nothing passes, and only_accepted without a threshold.
        """
        view = self.view
        queries = self._queries(features)
        k = self._depth(view, k)
        if only_accepted:
            required_threshold(self.model)
        filters = Filters(camera, not_camera, identity, time_from, time_to, exclude_own_camera)
        allowed, mask = filters.allowed(view, len(queries))
        size = view.count if mask is None else int(np.count_nonzero(mask))
        pool = k if rerank is False else max(k, POOL if rerank is True else as_count(rerank, "rerank"))
        pool = min(pool, len(view.features))
        if approximate:
            rows, similarities = self._index(view).search(view, queries, pool, filters)
        else:
            rows, similarities = exact(view.features, queries, pool, allowed)
        all_hits = []
        for query, names, cosines in zip(queries, rows, similarities, strict=True):
            there = names >= 0
            names, cosines = names[there], cosines[there]
            if rerank is not False and len(names):
                order = reranked(query, view.features[names])
                names, cosines = names[order], cosines[order]
            all_hits.append(self._hits(view, names[:k], cosines[:k], size, only_accepted))
        return all_hits

    def build_index(self, *, cells: int | None = None, probes: int | None = None) -> Recall:
        """Build faiss's inverted file beside the features, measure its recall, and store both.

        cells: of the inverted file, 4 sqrt(N) by default. probes: cells that a query visits, a fiftieth of them and at
        least 8 by default. It is worth its room, that of the features once more, from some million images on. When
        images are added or removed it is stale, and a search by it says so.
        """
        with writing(self.folder):
            return build(self.folder, self.view, cells=cells, probes=probes)

    @property
    def index(self) -> Recall | None:
        """What was measured of the approximate index; None where there is none. `stale` says whether it still holds."""
        return read_recall(self.folder, self.view)

    def _index(self, view: View) -> Approximate:
        if self._approximate is None or self._approximate.recall.stale_for(view):
            self._approximate = Approximate.open(self.folder, view)
        return self._approximate

    def _queries(self, features: np.ndarray) -> np.ndarray:
        array = np.asarray(features)
        queries = as_features(array[None] if array.ndim == 1 else array, "features", normalised=True)
        if queries.shape[1] != self.about.dimension:
            raise UserError(
                f"features must have the {self.about.dimension} columns of this gallery's model, but have "
                f"{queries.shape}: embed the query with the same model."
            )
        return queries

    def _depth(self, view: View, k: int | None) -> int:
        if not view.count:
            raise UserError(f"the gallery {self.folder} is empty: add images to it first (Gallery.add).")
        k = min(K, view.count) if k is None else as_count(k, "k")
        if k > view.count:
            raise UserError(f"k is {k}, but the gallery {self.folder} has {view.count} images: ask for at most that.")
        return k

    def _hits(self, view: View, rows: np.ndarray, similarities: np.ndarray, size: int, only_accepted: bool) -> Hits:
        threshold = self.model.threshold
        accepted = None if threshold is None else similarities >= threshold.at(size)
        if only_accepted and accepted is not None:
            rows, similarities, accepted = rows[accepted], similarities[accepted], accepted[accepted]
        names = [int(row) for row in rows]
        return Hits(
            [view.file(row) for row in names],
            similarities,
            [view.identity(row) for row in names],
            [view.camera(row) for row in names],
            accepted,
            np.asarray(view.records["time"][rows]),
        )

    def group(self, *, accepted: bool = False, **settings: Any) -> Groups:
        """Return who is who: groups of the images that show one person, in the order of `files`.

        Identities that images have are kept and spread. accepted: neighbours must also reach the model's threshold.
        settings: of `core.grouping.group`, such as eps or min_samples. ValueError for fewer than two images, and for
        accepted without a threshold.
        """
        from duoreid.core.grouping import group  # here: it loads SciPy

        if len(self) < 2:
            raise UserError(f"the gallery {self.folder} has {len(self)} images: groups need two at least.")
        if accepted:
            settings["threshold"] = required_threshold(self.model).at(len(self))
        features = np.asarray(self.features, np.float32)
        return group(features, identities=self.identities, **settings)

    def check(self) -> Checked:
        """Compare the gallery with the disk: which files have vanished or changed, which features are damaged."""
        return check(self.view)


def _stamp(folder: Path) -> int:
    try:
        status = os.stat(folder / COMMIT)
    except OSError:
        return 0
    return hash((status.st_mtime_ns, status.st_ino, status.st_size))


def _check_owner(folder: Path, about: About, model: Model) -> None:
    if about.digest != model.digest:
        raise UserError(
            f"the gallery {folder} belongs to another model (digest {about.digest[:12]}, this one has "
            f"{model.digest[:12]}), and features of two models do not compare: load that one, or make another gallery."
        )
    changed = [name for name, value in about.preparation.items() if model.preparation.get(name) != value]
    if changed:
        before = ", ".join(f"{name} {about.preparation[name]}" for name in changed)
        now = ", ".join(f"{name} {model.preparation.get(name)}" for name in changed)
        raise UserError(
            f"the gallery {folder} was made of images prepared otherwise ({before}; now {now}): load the model with "
            "the same settings, or make another gallery."
        )
