"""A trained model, ready to be asked: pictures in, features out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from duoreid.core.errors import UserError
from duoreid.core.numeric.inputs import as_count
from duoreid.core.serving.description import Description
from duoreid.core.serving.engines import Engine
from duoreid.core.serving.pictures import Pictures
from duoreid.core.threshold import Threshold

BATCH = 64


class Batch(NamedTuple):
    """Part of what was handed over. places: int64 (b,), counted from the first. broken: (place, why) of the others."""

    places: np.ndarray
    features: np.ndarray
    broken: list[tuple[int, str]]


class Model:
    """One network that embeds pictures; made by `duoreid.load`. Threads may share it: they take turns.

    size: (height, width) of the images that the network sees. dimension: of a feature. digest: of the weights, the
    same in every backend. threshold: what `calibrate` found and stored, None without.
    """

    def __init__(self, engine: Engine, description: Description, pictures: Pictures, source: str) -> None:
        self.description, self.pictures, self.source = description, pictures, source
        self._engine, self._turn = engine, Lock()
        self._dimension = description.dimension
        stored = description.threshold
        self.threshold: Threshold | None = None if stored is None else Threshold.from_dict(stored)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that the network sees, in pixels."""
        return self.description.height, self.description.width

    @property
    def digest(self) -> str:
        """Digest of the weights and the architecture."""
        return self.description.digest

    @property
    def preparation(self) -> dict[str, Any]:
        """What decides on the pixels that the network sees."""
        return self.description.preparation()

    @property
    def dimension(self) -> int:
        """Number of columns of a feature."""
        if self._dimension is None:
            self._dimension = self._run(np.zeros((1, *self.size, 3), np.uint8)).shape[1]
        return self._dimension

    def describe(self) -> dict[str, Any]:
        """Return what is known of the model, for people and for reports."""
        known = self.description
        return {
            "source": self.source,
            "network": known.network,
            "arch": known.arch,
            "on": self._engine.about,
            "size": self.size,
            "interpolation": known.interpolation,
            "dimension": self.dimension,
            "digest": self.digest,
            "threshold": known.threshold,
        }

    def __repr__(self) -> str:
        height, width = self.size
        return f"Model({self.source!r}, {self.description.network}, {height}x{width}, {self._engine.about})"

    def embed(
        self, images: Iterable[Any] | Any, *, batch_size: int = BATCH, progress: bool | None = None
    ) -> np.ndarray:
        """Return features float32 (N, D) of unit length, one for each picture, in order.

        images: paths, uint8 arrays (H, W, 3) in the order red, green, blue, and PIL images, mixed as you like; any
        iterable, so a generator of more pictures than memory holds; or one of them by itself. batch_size: pictures at
        a time. progress: show a bar; None: on a terminal.
        Raises ValueError for a picture that cannot be read, with its name or place, and for no picture at all.
        """
        parts = []
        for batch in self.stream(as_many(images), batch_size=batch_size, progress=progress):
            if batch.broken:
                place, why = batch.broken[0]
                raise UserError(f"picture {place} cannot be embedded: {why}. Leave it out, or fetch it again.")
            parts.append(batch.features)
        if not parts:
            raise UserError("embed was given no pictures: give paths, arrays or PIL images.")
        return np.concatenate(parts)

    def stream(
        self, images: Iterable[Any], *, batch_size: int = BATCH, progress: bool | None = None
    ) -> Iterator[Batch]:
        """Yield the features of pictures a batch at a time; those that cannot be read are named instead.

        While a batch is embedded, the next one is decoded on a few threads. See `embed` for the arguments.
        """
        from tqdm import tqdm

        size = as_count(batch_size, "batch_size")
        rest, total = iter(images), len(images) if hasattr(images, "__len__") else None
        hidden = None if progress is None else not progress
        with (
            tqdm(total=total, desc="embedding", unit="image", disable=hidden, leave=False, mininterval=0.5) as bar,
            ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1), thread_name_prefix="decode") as pool,
        ):

            def begun() -> list[Future]:
                return [pool.submit(self._decoded, source) for source in islice(rest, size)]

            place, waiting = 0, begun()
            while waiting:
                following = begun()
                batch = self._embedded(place, [task.result() for task in waiting])
                bar.update(len(waiting))
                place, waiting = place + len(waiting), following
                yield batch

    def _decoded(self, source: Any) -> np.ndarray | str:
        try:
            return self.pictures.pixels(source, *self.size, self.description.interpolation)
        except ValueError as error:
            return str(error)
        except MemoryError:
            return "it needs more memory than there is; make it smaller"

    def _embedded(self, first: int, decoded: list[np.ndarray | str]) -> Batch:
        broken = [(first + index, why) for index, why in enumerate(decoded) if isinstance(why, str)]
        whole = [(first + index, pixels) for index, pixels in enumerate(decoded) if not isinstance(pixels, str)]
        if not whole:
            return Batch(np.zeros(0, np.int64), np.zeros((0, self.dimension), np.float32), broken)
        features = self._run(np.stack([pixels for _, pixels in whole]))
        return Batch(np.array([place for place, _ in whole], np.int64), features, broken)

    def _run(self, images: np.ndarray) -> np.ndarray:
        with self._turn:
            features = np.asarray(self._engine.embed(images), np.float32)
        if not np.isfinite(features).all():
            raise UserError(
                f"{self.source} makes features that are not finite: its training has failed, or its file is damaged. "
                "Take an earlier checkpoint."
            )
        return features


def as_many(images: Iterable[Any] | Any) -> Iterable[Any]:
    """Return pictures as an iterable, where one by itself may have been given."""
    if isinstance(images, (str, os.PathLike)):
        if Path(images).is_dir():
            raise UserError(
                f"{os.fspath(images)} is a folder, and embed takes pictures: add it to a gallery (Gallery.add), or "
                "give its files, such as sorted(Path(folder).glob('*.jpg'))."
            )
        return [images]
    if isinstance(images, np.ndarray) and images.ndim == 3:
        return [images]
    if not isinstance(images, Iterable):
        return [images]
    return images


def required_threshold(model: Model) -> Threshold:
    """Return a model's threshold; UserError where it has none."""
    if model.threshold is None:
        raise UserError(
            f"{model.source} has no threshold, so nothing can be accepted: `duoreid calibrate MODEL` measures one on "
            "labelled images and stores it."
        )
    return model.threshold
