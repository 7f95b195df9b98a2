"""Cases beside what users would take instead: other ways to search, to cluster and to score."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from duoreid.benchmarks.cases import Call, Case, Sizes
from duoreid.benchmarks.features import clustered, query_and_gallery
from duoreid.core.agreement import agreement
from duoreid.core.approximate import search_approximate
from duoreid.core.dbscan import dbscan
from duoreid.core.jaccard import jaccard_similarity
from duoreid.core.kmeans import kmeans
from duoreid.core.neighbours import nearest
from duoreid.core.numeric.threads import workers
from duoreid.core.ranking import rank_distances

K = 31
SAMPLED = 500  # points whose exact neighbours are known


def _missing(*packages: str) -> dict[str, str]:
    return {name: "not installed" for name in packages if importlib.util.find_spec(name) is None}


def approximate_search(sizes: Sizes) -> Case:
    """search_approximate beside faiss' inverted file and hnswlib's graph."""
    features = clustered(sizes.large_points, sizes.large_identities, width=sizes.width, cameras=15).features
    count, width = features.shape
    calls: dict[str, Call] = {
        "ours": lambda: search_approximate(features, K).indices,
        "exact, ours": lambda: nearest(features, K)[0],
    }
    missing = _missing("faiss", "hnswlib")
    if "faiss" not in missing:
        import faiss

        def inverted_file() -> np.ndarray:
            cells = min(count // 10, math.ceil(4 * math.sqrt(count)))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
            index.cp.niter = 5
            index.train(features[:: max(1, count // (40 * cells))])
            index.add(features)
            index.nprobe = max(8, cells // 50)
            return index.search(features, K)[1]

        calls["faiss IndexIVFFlat"] = inverted_file
    if "hnswlib" not in missing:
        import hnswlib

        def graph() -> np.ndarray:
            index = hnswlib.Index(space="ip", dim=width)
            index.init_index(max_elements=count, M=16, ef_construction=100, random_seed=0)
            index.add_items(features, num_threads=workers())
            index.set_ef(100)
            return index.knn_query(features, K, num_threads=workers())[0]

        calls["hnswlib"] = graph
    sample = np.linspace(0, count - 1, min(count, SAMPLED)).astype(np.int64)
    true = np.argpartition(-features[sample] @ features.T, K - 1, axis=1)[:, :K]

    def recall(indices: np.ndarray) -> float:
        return float(np.mean([len(np.intersect1d(*rows)) for rows in zip(indices[sample], true, strict=True)]) / K)

    def agree(ours: np.ndarray, theirs: np.ndarray, _: str) -> str:
        return f"recall {recall(ours):.3f}, theirs {recall(theirs):.3f}"

    return Case(f"{count}, k = {K}", calls, agree, tuple(calls), missing)


def clustering(sizes: Sizes) -> Case:
    """Jaccard graph and DBSCAN beside HDBSCAN and Ward's linkage on the features themselves.

    Of a quarter of the points: HDBSCAN's trees find nothing to leave out among features this wide, and its time grows
    with the square of their number.
    """
    points, identities = sizes.points // 4, sizes.identities // 4
    data = clustered(points, identities, width=sizes.width)
    calls: dict[str, Call] = {"ours": lambda: dbscan(jaccard_similarity(data.features, radius=0.5), eps=0.5)}
    missing = _missing("sklearn", "hdbscan", "fastcluster")
    if "hdbscan" not in missing:
        import hdbscan

        calls["hdbscan"] = lambda: hdbscan.HDBSCAN(4, core_dist_n_jobs=workers()).fit_predict(data.features)
    if "sklearn" not in missing:
        from sklearn.cluster import HDBSCAN

        calls["scikit-learn HDBSCAN"] = lambda: HDBSCAN(4, copy=True, n_jobs=workers()).fit_predict(data.features)
    if "fastcluster" not in missing:
        import fastcluster
        from scipy.cluster.hierarchy import fcluster

        def linkage() -> np.ndarray:
            tree = fastcluster.linkage_vector(data.features, method="ward")
            return fcluster(tree, identities, "maxclust")

        calls["fastcluster, Ward, true number"] = linkage

    def agree(ours: np.ndarray, theirs: np.ndarray, _: str) -> str:
        indices = (agreement(np.asarray(labels), data.identities).adjusted_rand for labels in (ours, theirs))
        return "adjusted Rand index {:.3f}, theirs {:.3f}".format(*indices)

    return Case(f"{points}", calls, agree, tuple(call for call in calls if call != "ours"), missing)


def clustering_kmeans(sizes: Sizes) -> Case:
    """Kmeans beside faiss' and scikit-learn's mini batches, each with its own start."""
    data = clustered(sizes.points, sizes.identities, width=sizes.width)
    features = data.features
    calls: dict[str, Call] = {"ours": lambda: kmeans(features, sizes.clusters, seed=0).labels}
    missing = _missing("faiss", "sklearn")
    if "faiss" not in missing:
        import faiss

        def by_faiss() -> np.ndarray:
            model = faiss.Kmeans(features.shape[1], sizes.clusters, niter=25, seed=1, min_points_per_centroid=1)
            model.train(features)
            return model.index.search(features, 1)[1].ravel()

        calls["faiss.Kmeans, 25 rounds"] = by_faiss
    if "sklearn" not in missing:
        from sklearn.cluster import MiniBatchKMeans

        model = MiniBatchKMeans(sizes.clusters, n_init=1, random_state=0)
        calls["scikit-learn MiniBatchKMeans"] = lambda: model.fit_predict(features)

    def inertia(labels: np.ndarray) -> float:
        """Return the sum of squared distances to the means of the clusters."""
        total = float(np.einsum("ij,ij->", features, features, dtype=np.float64))
        for label in np.unique(labels):
            members = features[labels == label].astype(np.float64)
            total -= len(members) * float((members.mean(axis=0) ** 2).sum())
        return total

    def agree(ours: np.ndarray, theirs: np.ndarray, _: str) -> str:
        return f"inertia {inertia(ours) / inertia(theirs) - 1:+.1%} of theirs"

    return Case(f"{sizes.points}, K = {sizes.clusters}", calls, agree, (), missing)


def scoring(sizes: Sizes) -> Case:
    """rank_distances beside torchmetrics and pytorch-metric-learning, which know no cameras: none are ignored.

    The latter's mAP@R looks at as many hits as there are right ones, and is another measure than mAP. It searches by
    itself, and so is given the features.
    """
    counts = (sizes.queries // 10, sizes.gallery // 10, max(2, sizes.test_identities // 10))
    query, gallery = query_and_gallery(*counts, width=sizes.width)
    distances = 1 - query.features @ gallery.features.T
    apart = np.zeros(len(query.identities), np.int64), np.ones(len(gallery.identities), np.int64)
    labels = (query.identities, gallery.identities, *apart)
    calls: dict[str, Call] = {"ours": lambda: rank_distances(distances, *labels).mean_ap}
    missing = _missing("torchmetrics", "pytorch_metric_learning")
    if "torchmetrics" not in missing:
        import torch
        from torchmetrics.retrieval import RetrievalMAP

        matches = torch.from_numpy(query.identities[:, None] == gallery.identities).ravel()
        number = torch.arange(len(distances)).repeat_interleave(distances.shape[1])
        scores = torch.from_numpy(2 - distances).ravel()  # above 0: what is not counts as not retrieved
        calls["torchmetrics RetrievalMAP"] = lambda: float(
            RetrievalMAP(empty_target_action="skip")(scores, matches, indexes=number)
        )
    another = "pytorch-metric-learning, mAP@R"
    if "pytorch_metric_learning" not in missing:
        import torch
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

        measure = AccuracyCalculator(("mean_average_precision_at_r",), k="max_bin_count", device=torch.device("cpu"))
        tensors = [
            torch.from_numpy(array)
            for array in (query.features, query.identities, gallery.features, gallery.identities)
        ]
        calls[another] = lambda: measure.get_accuracy(*tensors)["mean_average_precision_at_r"]

    def agree(ours: float, theirs: float, peer: str) -> str:
        if peer == another:
            return f"mAP {ours:.3f}, their mAP@R {theirs:.3f}: another measure"
        return f"mAP within {abs(ours - theirs):.0e}"

    return Case(f"{counts[0]} x {counts[1]}", calls, agree, (), missing)


ALTERNATIVES: dict[str, Callable[[Sizes], Any]] = {
    "nearest_approximate": approximate_search,
    "clustering": clustering,
    "kmeans, others": clustering_kmeans,
    "mAP alone": scoring,
}
