"""Who is who in a heap of unlabelled pictures: groups of images that show one person, and how certain each is.

k-reciprocal Jaccard distance (Zhong et al., CVPR 2017) and DBSCAN (Ester et al., KDD 1996), as for pseudo-labels in
Song et al., "Unsupervised domain adaptive re-identification: Theory and practice", Pattern Recognition 2020, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from duoreid.core.dbscan import dbscan, eps_from_share
from duoreid.core.errors import UserError
from duoreid.core.jaccard import jaccard_graph
from duoreid.core.numeric.equal_rows import Graph
from duoreid.core.numeric.inputs import as_count, as_features

NOBODY = -1
EPS = 0.5
"""Between 0.3 and 0.6 the groups of synthetic-b agree with its people about as well (docs/groups.md)."""


@dataclass(frozen=True)
class Groups:
    """Groups of images.

    labels: int32 (N,), the group of each image, -1 for none. certainty: float32 (N,), from 0 to 1, 0 without a group.
    names: of the groups, by label. eps: the Jaccard distance within which two images are neighbours. known: groups that
    bear an identity that some of their images had.
    """

    labels: np.ndarray
    certainty: np.ndarray
    names: tuple[str, ...]
    eps: float
    known: int = 0


def group(
    features: np.ndarray,
    *,
    identities: Sequence[str | None] | None = None,
    eps: float | None = None,
    share: float | None = None,
    threshold: float | None = None,
    min_samples: int = 4,
    k1: int = 30,
    k2: int = 6,
    scale: str | None = None,
) -> Groups:
    """Return groups of images that show one person.

    features: L2-normalised float32 (N, D). identities: the names that some images already have, None for the others.
    They are kept: an image with a name is in the group of that name, groups of two names are divided, and the other
    images of a group go to the name whose images they are most similar to. A group without a name becomes "new-1",
    "new-2", ... in the order of its first image.
    eps: Jaccard distance of neighbours, 0.5 where neither it nor share is given. share: take the mean of the smallest
    share of all distances instead, as `eps_from_share` does; it fits where the number of pairs of one person is known,
    and leaves many images alone otherwise. threshold: cosine similarity that a neighbour must reach as well, such as a
    calibrated one. min_samples: images within eps that make a core, the image itself among them. k1, k2, scale: see
    `jaccard_similarity`.

    The certainty of an image is its mean Jaccard similarity to the other images of its group over itself plus the mean
    to the nearest other group: 1 where no other group shares a neighbour with it, 0.5 where it lies between two. An
    image whose name was given has 1.
    Raises ValueError for features that are not unit vectors, and for settings out of range.

    >>> angles = np.radians([0, 2, 4, 90, 92, 94, 200])
    >>> rows = np.stack([np.cos(angles), np.sin(angles)], 1)
    >>> groups = group(rows, eps=0.7, min_samples=2, k1=2, k2=1)
    >>> groups.labels.tolist(), groups.names
    ([0, 0, 0, 1, 1, 1, -1], ('new-1', 'new-2'))
    >>> groups = group(rows, identities=[None, "ann", *[None] * 5], eps=0.7, min_samples=2, k1=2, k2=1)
    >>> [groups.names[label] if label >= 0 else None for label in groups.labels]
    ['ann', 'ann', 'ann', 'new-1', 'new-1', 'new-1', None]
    """
    features = as_features(features, "features", normalised=True)
    names = _names(identities, len(features))
    min_samples = as_count(min_samples, "min_samples")
    if threshold is not None and not -1 <= threshold <= 1.5:
        raise UserError(f"threshold is a cosine similarity, up to 1, but is {threshold!r}.")
    if eps is not None and share is not None:
        raise UserError(f"eps ({eps:g}) and share ({share:g}) both say how near neighbours are: give one of them.")
    graph = jaccard_graph(features, k1=k1, k2=k2, scale=scale)
    if eps is None:
        eps = EPS if share is None else eps_from_share(graph, share)
    linked = graph if threshold is None else _near(graph, features, threshold)
    labels = _spread(dbscan(linked, eps=eps, min_samples=min_samples), names, features)
    labels, titles = _titled(labels, names)
    certainty = certainty_of(graph, labels)
    certainty[[name is not None for name in names]] = 1
    return Groups(labels, certainty, titles, float(eps), len({name for name in names if name is not None}))


def certainty_of(similarity: sparse.csr_array | Graph, labels: np.ndarray) -> np.ndarray:
    """Return how much nearer each image is to its own group than to the next: float32 (N,), from 0 to 1.

    similarity: symmetric sparse (N, N), as `jaccard_similarity` returns it, or what `jaccard_graph` returns. labels:
    int (N,), -1 for none, whose certainty is 0. An image that is alone in its group has 1 where no other group is near.

    >>> similarity = sparse.csr_array(np.array([[1, 0.5, 0.5], [0.5, 1, 0.0], [0.5, 0.0, 1]]))
    >>> certainty_of(similarity, np.array([0, 0, 1])).tolist()  # the first lies between the second and the third
    [0.5, 1.0, 0.0]
    """
    labels = np.asarray(labels)
    count, groups = len(labels), int(labels.max(initial=-1)) + 1
    certainty = np.zeros(count, np.float32)
    inside = np.flatnonzero(labels >= 0)
    if not len(inside):
        return certainty
    graph = similarity if isinstance(similarity, Graph) else Graph(similarity, np.arange(count))
    shape = (graph.similarity.shape[0], groups)
    member = sparse.csr_array((np.ones(len(inside)), (graph.classes[inside], labels[inside])), shape=shape)
    sizes = np.bincount(labels[inside], minlength=groups).astype(np.float64)
    sums = sparse.csr_array(graph.similarity @ member)[graph.classes]
    row = np.repeat(np.arange(count), np.diff(sums.indptr))
    column = sums.indices
    own = labels[row] == column
    itself = np.where(own, graph.similarity.diagonal()[graph.classes[row]], 0)
    mean = (sums.data - itself) / np.maximum(sizes[column] - own, 1)
    near, other = np.zeros(count), np.zeros(count)
    near[row[own]] = mean[own]
    np.maximum.at(other, row[~own], mean[~own])
    near[inside[sizes[labels[inside]] == 1]] = 0
    lonely = (near == 0) & (other == 0)
    ratio = np.where(lonely, 1.0, near / np.maximum(near + other, 1e-12))
    certainty[inside] = ratio[inside]
    return certainty


def _names(identities: Sequence[str | None] | None, count: int) -> list[str | None]:
    if identities is None:
        return [None] * count
    if len(identities) != count:
        raise ValueError(f"identities must name one for each of the {count} images, but {len(identities)} came.")
    return [None if name is None else str(name) for name in identities]


def _near(graph: Graph, features: np.ndarray, threshold: float) -> Graph:
    """Return the pairs whose cosine similarity reaches a threshold, in blocks of rows."""
    similarity, first = graph.similarity, np.unique(graph.classes, return_index=True)[1]
    several = graph.sizes() > 1
    row = np.repeat(np.arange(len(first)), np.diff(similarity.indptr))
    kept = np.empty(len(row), bool)
    for start in range(0, len(row), 1 << 16):
        part = slice(start, start + (1 << 16))
        one, other = row[part], similarity.indices[part]
        cosine = np.einsum("ij,ij->i", features[first[one]], features[first[other]])
        kept[part] = (cosine >= threshold) | ((one == other) & ~several[one])
    pairs = similarity.copy()
    pairs.data[~kept] = 0
    pairs.eliminate_zeros()
    return Graph(pairs, graph.classes)


def _spread(labels: np.ndarray, names: list[str | None], features: np.ndarray) -> np.ndarray:
    """Return labels in which every name is one group, and each group has at most one name.

    Unnamed images of a group go to the nearest named image in it.
    """
    known = np.array([name is not None for name in names])
    numbers = {name: place for place, name in enumerate(dict.fromkeys(name for name in names if name is not None))}
    of_name = np.array([numbers.get(name, NOBODY) for name in names], np.int64)
    groups = np.where(labels >= 0, labels + len(numbers), NOBODY).astype(np.int64)
    for label in np.unique(labels[known & (labels >= 0)]):
        rows = np.flatnonzero(labels == label)
        named = rows[known[rows]]
        groups[rows] = of_name[named[(features[rows] @ features[named].T).argmax(axis=1)]]
    groups[known] = of_name[known]
    return groups


def _titled(labels: np.ndarray, names: list[str | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number groups by their first image; name each by its images' name, the others new-1, new-2, ..."""
    inside = labels >= 0
    _, first, number = np.unique(labels[inside], return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))
    numbered = np.full(len(labels), NOBODY, np.int32)
    numbered[inside] = place[number.ravel()]
    titles: list[str] = [""] * len(first)
    for label, name in zip(numbered, names, strict=True):
        if name is not None:
            titles[label] = name
    taken, fresh = set(titles), 0
    for place, title in enumerate(titles):
        while not title:
            fresh += 1
            title = f"new-{fresh}" if f"new-{fresh}" not in taken else ""
        titles[place] = title
    return numbered, tuple(titles)
