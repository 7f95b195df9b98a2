"""Pseudo-labels: cluster the features of unlabelled images (MMT, section 3.2)."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from duoreid.core.agreement import agreement
from duoreid.core.contract.processes import first
from duoreid.core.errors import UserError
from duoreid.core.methods.base import Labelling
from duoreid.core.numeric.sharing import ALONE, Processes
from duoreid.core.settings.transfer import ClusterConfig

COLLAPSED = 1e-6
"""Largest difference of a component between features of length 1 that are no more than rounding apart."""


def normalise(rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) -> rows of unit length, float32."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    return (rows / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)


def average(features: np.ndarray) -> np.ndarray:
    """Features of M networks (M, N, D) -> their mean (N, D), float32; UserError where they are not finite."""
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    bad = int((~np.isfinite(mean)).any(axis=1).sum())
    if bad:
        raise UserError(
            f"{bad} of the target's {len(mean)} features are not finite, so they cannot be clustered: "
            "training has diverged. Lower --rate, or start from the last saved epoch."
        )
    return mean


def check_spread(features: np.ndarray) -> None:
    """Raise UserError where all features (N, D) are the same: nothing can be told apart by them."""
    rows = normalise(features)
    if len(rows) > 1 and float(np.abs(rows - rows[0]).max()) < COLLAPSED:
        raise UserError(
            f"all of the target's {len(rows)} features are the same (to {COLLAPSED:g}), so they cannot be "
            "clustered: the network has collapsed. Lower --rate, or start from other weights."
        )


def check_possible(config: ClusterConfig, count: int) -> None:
    """Raise UserError where so many images, or tracklets, cannot be clustered as configured, whatever they show."""
    if config.clustering == "dbscan":
        if count <= config.k1:
            raise UserError(f"--k1 {config.k1} needs more than that many features to cluster, the target has {count}.")
        return
    if config.clusters > count:
        raise UserError(
            f"--clusters {config.clusters} is more than the target's {count} features to cluster: choose K near the "
            "number of identities that you expect."
        )
    if config.clusters < config.identities:
        raise UserError(
            f"--clusters {config.clusters} cannot fill a batch of {config.identities} identities: raise --clusters, or "
            "lower --identities."
        )


Cluster = Callable[[], tuple[np.ndarray, np.ndarray, float | None]]
"""Returns (labels int32 (N,) with -1 for outliers, centroids (K, D), eps of DBSCAN)."""


def clustering(
    features: np.ndarray, config: ClusterConfig, *, seed: int, epoch: int, eps: float | None, processes: Processes
) -> Cluster:
    """Mean features (N, D) -> what clusters them, on one process; what several can share is done already.

    k-means clusters the mean as it is; DBSCAN its L2-normalised form on the k-reciprocal Jaccard distance, with eps
    fixed by the first epoch (D6, METHODS 2.2).
    """
    # Here, not above: they load SciPy, which nobody needs who reads the help or loads a model.
    if config.clustering == "kmeans":
        from duoreid.core.kmeans import kmeans

        def centres() -> tuple[np.ndarray, np.ndarray, None]:
            partition = kmeans(features, config.clusters, seed=seed + epoch, restarts=config.kmeans_restarts)
            return partition.labels, partition.centroids, None

        return centres
    from duoreid.core.dbscan import dbscan, eps_from_share
    from duoreid.core.jaccard import jaccard_graph

    rows = normalise(features)
    scale = None if config.jaccard_scale == "none" else config.jaccard_scale
    # Once eps is known, pairs farther apart than it decide nothing: the graph without them takes less time and memory.
    graph = jaccard_graph(rows, k1=config.k1, k2=config.k2, scale=scale, radius=eps, processes=processes)

    def density() -> tuple[np.ndarray, np.ndarray, float]:
        chosen = eps_from_share(graph, config.eps_share) if eps is None else eps
        labels = dbscan(graph, eps=chosen, min_samples=config.min_samples)
        return labels, centroids_of(rows, labels), chosen

    return density


def cluster(
    features: np.ndarray, config: ClusterConfig, *, seed: int, epoch: int, eps: float | None
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Cluster mean features (N, D) in one process; see `Cluster` for what is returned, and `clustering`."""
    check_possible(config, len(features))
    return clustering(features, config, seed=seed, epoch=epoch, eps=eps, processes=ALONE)()


def centroids_of(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Features (N, D), labels (N,) with -1 left out -> mean of each class (K, D), float32."""
    classes = int(labels.max(initial=-1)) + 1
    kept = labels >= 0
    order = np.argsort(labels[kept], kind="stable")
    counts = np.bincount(labels[kept], minlength=classes)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    if not classes:
        return np.zeros((0, features.shape[1]), np.float32)
    sums = np.add.reduceat(features[kept][order].astype(np.float64), starts, axis=0)
    return (sums / counts[:, None]).astype(np.float32)


def check_clusters(labels: np.ndarray, classes: int, config: ClusterConfig) -> None:
    """Raise UserError where clusters are too few to train on: none, one, or fewer than the batch's identities."""
    if classes >= max(2, config.identities):
        return
    outliers = int((labels < 0).sum())
    if config.clustering != "dbscan":
        remedy = "raise --clusters"
    elif classes and outliers < len(labels) / 2:  # nearly everything fell into few clusters: eps is too large
        remedy = (
            "lower --eps-share or raise --min-samples, so that clusters part, or use --clustering kmeans; where it "
            "stays so, the features are nearly equal: start from better weights or lower --rate"
        )
    else:
        remedy = "raise --eps-share, lower --min-samples or use --clustering kmeans"
    fault = "all are outliers" if not classes else f"{classes} cluster(s), {outliers} outliers"
    raise UserError(
        f"clustering the target's {len(labels)} features gave too little to train on: {fault}. A batch needs "
        f"{config.identities} identities and the triplet loss two: {remedy}, or lower --identities."
    )


def labelling(
    features: np.ndarray,
    identities: np.ndarray,
    config: ClusterConfig,
    *,
    seed: int,
    epoch: int,
    memory: dict[str, Any],
    processes: Processes = ALONE,
) -> tuple[Labelling, np.ndarray]:
    """Features (M, N, D) of M networks -> (labels with facts about them, centroids (K, D)).

    identities: int (N,), the hidden ones, -1 where unknown: they are reported on, never trained on. memory keeps eps.
    processes: of a job, all of which call this with the same. They share the search of neighbours and the Jaccard
    graph; the first clusters for all, since labels that differed in one image would train another model on each.
    """
    began = time.perf_counter()
    mean = cache(lambda: average(features))  # of a job, the first process alone is to tell what is wrong with it

    def check() -> dict[str, Any]:
        check_spread(mean())
        check_possible(config, features.shape[1])
        return {}

    first(processes, check)
    eps = memory.get("eps")
    cluster = clustering(mean(), config, seed=seed, epoch=epoch, eps=eps, processes=processes)

    def decide() -> dict[str, Any]:
        labels, centroids, chosen = cluster()
        facts = _facts(labels, len(centroids), identities, config) | {"cluster_seconds": time.perf_counter() - began}
        return {"labels": labels, "centroids": centroids, "eps": chosen, "facts": facts}

    decision = first(processes, decide)
    if decision["eps"] is not None:
        memory["eps"] = decision["eps"]
    return Labelling(decision["labels"], len(decision["centroids"]), decision["facts"]), decision["centroids"]


def _facts(labels: np.ndarray, classes: int, identities: np.ndarray, config: ClusterConfig) -> dict[str, float]:
    """Return what a run reports of labels; UserError where they are too few to train on."""
    check_clusters(labels, classes, config)
    facts = {"clusters": float(classes), "outliers": float((labels < 0).sum())}
    known = identities >= 0
    if known.any():
        scores = agreement(labels[known], identities[known])
        facts["adjusted_rand"] = scores.adjusted_rand
        facts["mutual_information"] = scores.mutual_information
    return facts
