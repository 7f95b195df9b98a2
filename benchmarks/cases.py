"""What is measured: each case makes its data, runs ours and its peers, and says how their results agree."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from duoreid.benchmarks.features import Labelled, clustered, query_and_gallery
from duoreid.benchmarks.peers import compiled_ranking, dense_jaccard
from duoreid.core.dbscan import dbscan
from duoreid.core.jaccard import encoding_of, jaccard_similarity, similarity_of
from duoreid.core.kmeans import kmeans, lloyd
from duoreid.core.neighbours import nearest, search
from duoreid.core.numeric.inputs import row_blocks
from duoreid.core.numeric.starts import start_rows
from duoreid.core.ranking import rank, rank_distances
from duoreid.core.rerank import rerank

RADIUS = 0.6
Call = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One algorithm at one size. calls: by name, "ours" among them. slow: calls that are timed once only.

    agree: result of ours, result of a peer, the peer's name -> how exactly they agree, in words.
    """

    size: str
    calls: dict[str, Call]
    agree: Callable[[Any, Any, str], str]
    slow: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sizes:
    """How large the data is: Market-1501's and MSMT17's own sizes, or a fraction of them."""

    queries: int = 3368
    gallery: int = 15913
    test_identities: int = 750
    points: int = 12936
    identities: int = 751
    clusters: int = 500
    rerank_share: float = 0.5  # the published loop needs dense matrices of all test images: half of them fit
    large_points: int = 32621
    large_identities: int = 1041
    large_queries: int = 11659
    large_gallery: int = 82161
    large_test_identities: int = 3060
    width: int = 2048


QUICK = Sizes(60, 400, 25, 500, 30, 20, 0.5, 700, 40, 80, 900, 60, 64)


def _labels(query: Labelled, gallery: Labelled) -> tuple[np.ndarray, ...]:
    return query.identities, gallery.identities, query.cameras, gallery.cameras


def _test_set(sizes: Sizes) -> tuple[Labelled, Labelled]:
    return query_and_gallery(sizes.queries, sizes.gallery, sizes.test_identities, width=sizes.width)


def _train_set(sizes: Sizes) -> np.ndarray:
    return clustered(sizes.points, sizes.identities, width=sizes.width).features


def _same_scores(ours: Any, theirs: Any, name: str) -> str:
    if name == "numpy.argsort alone":
        return "sorts only"
    precision = theirs[1]
    theirs_map = float(np.mean(precision, dtype=np.float64))  # fastreid gives each query's, torchreid the mean
    worst = max(np.abs(ours.cmc - theirs[0]).max(), abs(ours.mean_ap - theirs_map))
    return f"mAP and CMC within {worst:.0e}"


def ranking(sizes: Sizes) -> Case:
    """rank_distances beside the compiled rankings and beside sorting alone."""
    query, gallery = _test_set(sizes)
    distances = 1 - query.features @ gallery.features.T
    labels = _labels(query, gallery)
    compiled, missing = compiled_ranking.load()
    calls: dict[str, Call] = {"ours": lambda: rank_distances(distances, *labels)}
    for name, evaluate in compiled.items():
        calls[f"{name} (Cython)"] = lambda evaluate=evaluate: evaluate(distances, *labels, 50)
    calls["numpy.argsort alone"] = lambda: np.argsort(distances, axis=1)
    size = f"{sizes.queries} x {sizes.gallery}"
    return Case(size, calls, _same_scores, tuple(name for name in calls if "Cython" in name), missing)


def ranking_from_features(sizes: Sizes) -> Case:
    """rank beside nothing but the matrix product it needs."""
    query, gallery = _test_set(sizes)
    labels = _labels(query, gallery)
    return _ranking_beside_product(query, gallery, labels)


def ranking_large(sizes: Sizes) -> Case:
    """The same at MSMT17 size."""
    query, gallery = query_and_gallery(
        sizes.large_queries, sizes.large_gallery, sizes.large_test_identities, width=sizes.width, cameras=15
    )
    return _ranking_beside_product(query, gallery, _labels(query, gallery), slow=("ours", "matrix product alone"))


def _ranking_beside_product(query: Labelled, gallery: Labelled, labels: tuple, slow: tuple[str, ...] = ()) -> Case:
    def product() -> None:
        for block in row_blocks(len(query.features), len(gallery.features), entries=1 << 25):
            query.features[block] @ gallery.features.T

    calls = {
        "ours": lambda: rank(query.features, gallery.features, *labels),
        "matrix product alone": product,
    }
    return Case(f"{len(query.features)} x {len(gallery.features)}", calls, lambda *_: "no scores", slow)


def neighbour_search(sizes: Sizes) -> Case:
    """nearest beside the matrix product and beside faiss's exact index."""
    features = _train_set(sizes)

    def product() -> None:
        for block in row_blocks(len(features), len(features)):
            features[block] @ features.T

    calls: dict[str, Call] = {"ours": lambda: nearest(features, 31), "matrix product alone": product}
    if importlib.util.find_spec("faiss"):
        import faiss

        def exact() -> np.ndarray:
            index = faiss.IndexFlatIP(features.shape[1])
            index.add(features)
            return index.search(features, 31)[1]

        calls["faiss IndexFlatIP"] = exact

    def agree(ours: Any, theirs: Any, name: str) -> str:
        if theirs is None:
            return "no neighbours"
        return f"{(ours[0] == theirs).mean():.4%} same place"

    return Case(f"{len(features)}, k = 31", calls, agree)


def _close(ours: sparse.csr_array, theirs: np.ndarray, radius: float | None = None) -> str:
    """Compare row blocks, so that no second dense matrix is needed."""
    worst, extra = 0.0, 0
    for block in row_blocks(*ours.shape, entries=1 << 22, fewest=16):
        mine = ours[block].toarray()
        distance = 1 - mine
        kept = mine > 0 if radius is not None else np.ones_like(mine, bool)
        worst = max(worst, float(np.abs(distance - theirs[block])[kept].max(initial=0)))
        if radius is not None:
            extra += int((~kept & (theirs[block] <= radius - 1e-5)).sum())
    return f"distances within {worst:.0e}" + (f", {extra} pairs missed" if radius is not None else "")


def _graph(sizes: Sizes, radius: float | None) -> Case:
    features = _train_set(sizes)
    indices, similarities, lowest = search(features, 31, lowest=True)
    ranking, squared = np.ascontiguousarray(indices), dense_jaccard.squared_distances(features)

    def ours() -> sparse.csr_array:
        return similarity_of(encoding_of(features, indices, similarities, lowest, 30, 6), radius)

    calls = {"ours": ours, "published loop": lambda: dense_jaccard.distances(squared, ranking)}
    return Case(f"{len(features)}, without search", calls, lambda a, b, _: _close(a, b, radius), ("published loop",))


def jaccard_graph(sizes: Sizes) -> Case:
    """The whole Jaccard graph from given neighbours."""
    return _graph(sizes, None)


def jaccard_graph_radius(sizes: Sizes) -> Case:
    """Only the pairs that DBSCAN can use."""
    return _graph(sizes, RADIUS)


def jaccard(sizes: Sizes) -> Case:
    """jaccard_similarity, neighbour search included."""
    features = _train_set(sizes)

    def published() -> np.ndarray:
        return dense_jaccard.distances(dense_jaccard.squared_distances(features), dense_jaccard.search(features, 31))

    calls = {"ours": lambda: jaccard_similarity(features, scale="farthest"), "published loop": published}
    return Case(f"{len(features)}, search included", calls, lambda a, b, _: _close(a, b), ("published loop",))


def jaccard_large(sizes: Sizes) -> Case:
    """jaccard_similarity at MSMT17 size, where dense matrices of 32,621 points no longer fit."""
    features = clustered(sizes.large_points, sizes.large_identities, width=sizes.width, cameras=15).features
    calls = {"ours": lambda: jaccard_similarity(features, scale="farthest")}
    return Case(f"{len(features)}, search included", calls, lambda *_: "", ("ours",))


def clustering_dbscan(sizes: Sizes) -> Case:
    """dbscan on the graph beside scikit-learn on the dense matrix."""
    similarity = jaccard_similarity(_train_set(sizes))
    calls: dict[str, Call] = {"ours": lambda: dbscan(similarity, eps=0.5)}
    if importlib.util.find_spec("sklearn"):
        from sklearn.cluster import DBSCAN

        dense = 1 - similarity.toarray()
        model = DBSCAN(eps=0.5, min_samples=4, metric="precomputed", n_jobs=-1)
        calls["scikit-learn, dense"] = lambda: model.fit_predict(dense)
    size = f"{similarity.shape[0]}, eps 0.5"
    return Case(size, calls, lambda a, b, _: "labels equal" if np.array_equal(a, b) else "LABELS DIFFER")


def clustering_kmeans(sizes: Sizes) -> Case:
    """k-means from one start beside scikit-learn from the same."""
    features = _train_set(sizes)
    start = features[start_rows(features, sizes.clusters, seed=0)]
    calls: dict[str, Call] = {"ours": lambda: lloyd(features, start)}
    if importlib.util.find_spec("sklearn"):
        from sklearn.cluster import KMeans

        model = KMeans(sizes.clusters, init=start, n_init=1, max_iter=100)
        calls["scikit-learn, same start"] = lambda: model.fit(features)
    return Case(f"{len(features)}, K = {sizes.clusters}", calls, lambda a, b, _: _inertia(features, a, b))


def clustering_kmeans_whole(sizes: Sizes) -> Case:
    """k-means with its own seeding beside scikit-learn with its own."""
    features = _train_set(sizes)
    calls: dict[str, Call] = {"ours": lambda: kmeans(features, sizes.clusters, seed=0)}
    if importlib.util.find_spec("sklearn"):
        from sklearn.cluster import KMeans

        model = KMeans(sizes.clusters, n_init=1, max_iter=100, random_state=0)
        calls["scikit-learn, k-means++"] = lambda: model.fit(features)
    return Case(
        f"{len(features)}, K = {sizes.clusters}, own start",
        calls,
        lambda a, b, _: _inertia(features, a, b),
        ("scikit-learn, k-means++",),
    )


def _inertia(features: np.ndarray, ours: Any, theirs: Any) -> str:
    """Compare in float64: scikit-learn's own figure is a sum in float32."""
    inertia = 0.0
    for block in row_blocks(*features.shape, entries=1 << 20):
        offset = features[block].astype(np.float64) - theirs.cluster_centers_[theirs.labels_[block]]
        inertia += np.einsum("ij,ij->", offset, offset)
    same = (ours.labels == theirs.labels_).mean()
    return f"inertia {ours.inertia / inertia - 1:+.1e} of theirs, {same:.2%} same labels"


def reranking(sizes: Sizes) -> Case:
    """rerank beside the published loop, on part of the test set."""
    share = sizes.rerank_share
    counts = (int(sizes.queries * share), int(sizes.gallery * share), int(sizes.test_identities * share))
    query, gallery = (part.features for part in query_and_gallery(*counts, width=sizes.width))
    calls = {"ours": lambda: rerank(query, gallery), "published loop": lambda: dense_jaccard.rerank(query, gallery)}

    def agree(ours: np.ndarray, theirs: np.ndarray, _: str) -> str:
        difference = np.abs(ours - theirs)
        return f"distances within {difference.max():.0e}, {(difference > 1e-4).mean():.0e} beyond 1e-4"

    return Case(f"{counts[0]} x {counts[1]}", calls, agree, ("published loop",))


CASES: dict[str, Callable[[Sizes], Case]] = {
    "rank_distances": ranking,
    "rank": ranking_from_features,
    "rank, MSMT17 size": ranking_large,
    "nearest": neighbour_search,
    "jaccard graph": jaccard_graph,
    "jaccard graph, radius 0.6": jaccard_graph_radius,
    "jaccard_similarity": jaccard,
    "jaccard_similarity, MSMT17 size": jaccard_large,
    "dbscan": clustering_dbscan,
    "kmeans": clustering_kmeans,
    "kmeans, seeding included": clustering_kmeans_whole,
    "rerank": reranking,
}
