"""A map of the features: the plane in which they spread most (PCA), or one that keeps neighbours together (UMAP)."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from duoreid.core.data import Images, Split
from duoreid.core.errors import UserError, unknown
from duoreid.core.random import rng
from duoreid.core.report.atlas import Atlas
from duoreid.core.report.blocks import Cloud
from duoreid.core.report.charts import COLOURS, Point, cloud

WAYS = ("pca", "umap")
POINTS, OF_ONE = 1200, 30
"""Points of a map, and of one person."""


def pca(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (coordinates float64 (N, 2), shares of the variance (2,)) on the first two principal axes.

    features: (N, D), N at least 2. The sign of an axis is such that its largest weight is positive.

    >>> points, shares = pca(np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]))
    >>> points[:, 0].tolist(), shares.round(3).tolist()
    ([-2.0, 0.0, 2.0], [1.0, 0.0])
    """
    features = np.asarray(features)
    if features.ndim != 2 or min(features.shape) < 2:
        raise ValueError(f"a map needs at least two features of two numbers, (N, D), got {features.shape}")
    mean = features.mean(0, dtype=np.float64)
    centred = features - mean.astype(features.dtype)
    covariance = (centred.T @ centred).astype(np.float64) / len(features)
    size = len(covariance)
    values, axes = linalg.eigh(covariance, subset_by_index=[size - 2, size - 1])
    values, axes = values[::-1], axes[:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), [0, 1]])
    total = float(np.trace(covariance))
    return centred @ axes, np.maximum(values, 0) / (total or 1.0)


def umap(features: np.ndarray, seed: int) -> np.ndarray:
    """Return coordinates float64 (N, 2) by UMAP (McInnes et al., 2018) on cosine distances; UserError without it."""
    try:
        from umap import UMAP
    except ImportError as error:
        raise UserError("--map umap needs umap-learn, which is not installed: pip install 'duoreid[umap]'.") from error
    made = UMAP(metric="cosine", random_state=seed, n_jobs=1)  # the same map again needs one thread
    return np.asarray(made.fit_transform(features), np.float64)


def chosen(identities: np.ndarray, seed: int, points: int = POINTS) -> np.ndarray:
    """Return rows of whole people, at most OF_ONE of each, drawn until there are `points`; rising.

    Whole people, and not images at random, so that one sees whether somebody's images lie together.
    """
    order = rng(seed, "report/map").permutation(np.unique(identities))
    taken: list[np.ndarray] = []
    count = 0
    for identity in order:
        rows = np.flatnonzero(identities == identity)[:OF_ONE]
        if count and count + len(rows) > points:
            continue
        taken.append(rows)
        count += len(rows)
    return np.sort(np.concatenate(taken))


def block(features: np.ndarray, split: Split, images: Images, atlas: Atlas, seed: int, way: str = "pca") -> Cloud:
    """Return the map of a split. features: (N, D) of all its images; way: one of WAYS."""
    if way not in WAYS:
        raise unknown("--map", way, WAYS)
    rows = chosen(split.identities, seed)
    if way == "pca":
        points, shares = pca(features)
        points = points[rows]
        how = (
            f"The plane in which the features spread most (PCA); it holds {100 * shares.sum():.0f}% of their variance."
        )
    else:
        points = umap(features[rows], seed)
        how = "A plane that keeps near features near (UMAP); far distances in it mean nothing."
    cameras, people = _by_camera(split, rows), _by_person(split, rows)
    places = atlas.add(images, rows)
    dots = [
        Point(*points[index], places[index], (cameras[0][index], people[0][index]), _words(split, row))
        for index, row in enumerate(rows)
    ]
    caption = (
        f"{how} {len(rows):,} of {len(split):,} images. Colours that keep to themselves by camera mean that the "
        "network sees the camera more than the person; a person's dots should lie together."
    )
    ways = [("a", cameras[2]), ("b", "some people")]
    return Cloud(cloud(dots), caption, ways, [("a", cameras[1]), ("b", people[1])])


def _by_camera(split: Split, rows: np.ndarray) -> tuple[np.ndarray, list[tuple[str, int]], str]:
    """Return (colour of each point, legend, words): by modality where there are two, else by camera."""
    if len(np.unique(split.modalities)) > 1:
        names = {0: "visible", 1: "infrared"}
        return split.modalities[rows].astype(int) + 1, [(names[one], one + 1) for one in (0, 1)], "visible / infrared"
    known = np.unique(split.cameras)
    colours = np.minimum(np.searchsorted(known, split.cameras[rows]) + 1, COLOURS)
    names = [f"camera {one}" if one >= 0 else "no camera" for one in known]
    if len(names) > COLOURS:
        names = [*names[: COLOURS - 1], "other cameras"]
    return colours, [(name, index + 1) for index, name in enumerate(names)], "cameras"


def _by_person(split: Split, rows: np.ndarray) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """Return (colour of each point, legend): the people with most images, all others grey."""
    known, counts = np.unique(split.identities[rows], return_counts=True)
    shown = known[np.argsort(-counts, kind="stable")][:COLOURS]
    colours = np.zeros(len(rows), int)
    for index, identity in enumerate(shown):
        colours[split.identities[rows] == identity] = index + 1
    return colours, [*((f"person {one}", index + 1) for index, one in enumerate(shown)), ("everybody else", 0)]


def _words(split: Split, row: int) -> str:
    camera = int(split.cameras[row])
    return f"person {split.identities[row]}" + (f", camera {camera}" if camera >= 0 else ", camera unknown")
