"""The algorithms straight from their definitions, in float64 and with loops: what the fast ones are held to."""

from __future__ import annotations

import numpy as np


def ranking(distances, query_ids, gallery_ids, query_cameras, gallery_cameras, max_rank):
    """Return (average precision with NaN, mINP with NaN, CMC counts) by sorting each row stably."""
    precision, penalty = [], []
    hits = np.zeros(max_rank)
    for query, row in enumerate(np.asarray(distances, np.float64)):
        order = sorted(range(len(row)), key=lambda item: (row[item], item))
        kept = [
            item
            for item in order
            if gallery_ids[item] != query_ids[query] or gallery_cameras[item] != query_cameras[query]
        ]
        ranks = [place + 1 for place, item in enumerate(kept) if gallery_ids[item] == query_ids[query]]
        if not ranks:
            precision.append(np.nan)
            penalty.append(np.nan)
            continue
        precision.append(sum((earlier + 1) / place for earlier, place in enumerate(ranks)) / len(ranks))
        penalty.append(len(ranks) / ranks[-1])
        hits[ranks[0] - 1 :] += 1
    return np.array(precision), np.array(penalty), hits


def first_distinct_rank(row, query_id, query_camera, gallery_ids, gallery_cameras):
    """Return how many identities, the query's own included, have come when its first match comes."""
    seen = []
    for item in sorted(range(len(row)), key=lambda item: (row[item], item)):
        if gallery_ids[item] == query_id and gallery_cameras[item] == query_camera:
            continue
        if gallery_ids[item] not in seen:
            seen.append(gallery_ids[item])
        if gallery_ids[item] == query_id:
            return len(seen)
    return None


def rankings_of(features):
    """Return each point's ranking of all points by similarity, itself first, equal ones by index: (N, N)."""
    similarity = np.asarray(features, np.float64) @ np.asarray(features, np.float64).T
    return np.array(
        [
            sorted(range(len(row)), key=lambda other: (other != point, -row[other], other))
            for point, row in enumerate(similarity)
        ]
    ).reshape(len(features), len(features))


def encodings(squared, order, k1, k2):
    """Return the k-reciprocal encodings (N, N) from squared distances and rankings."""
    count = len(order)

    def reciprocal(point, k):
        return {int(other) for other in order[point, :k] if point in order[other, :k]}

    weights = np.zeros((count, count))
    for point in range(count):
        own = reciprocal(point, k1 + 1)
        members = set(own)
        for candidate in own:
            theirs = reciprocal(candidate, round(k1 / 2) + 1)
            if 3 * len(theirs & own) > 2 * len(theirs):
                members |= theirs
        members = sorted(members)
        weight = np.exp(-squared[point, members])
        weights[point, members] = weight / weight.sum()
    if k2 > 1:
        weights = np.stack([weights[order[point, :k2]].mean(axis=0) for point in range(count)])
    return weights


def jaccard(features, k1, k2, scale=None):
    """Return the dense Jaccard distance (N, N); scale "farthest": squared distances divided by each row's largest."""
    features = np.asarray(features, np.float64)
    if not len(features):
        return np.zeros((0, 0))
    squared = np.maximum(0, 2 - 2 * features @ features.T)
    if scale == "farthest":
        squared /= np.maximum(squared.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    weights = encodings(squared, rankings_of(features), k1, k2)
    shared = np.stack([np.minimum(row, weights).sum(axis=1) for row in weights])
    return 1 - shared / (2 - shared)


def eps_from_share(distances, share):
    """Return the mean of the smallest share of the upper-triangle distances that are more than rounding."""
    upper = np.sort(distances[np.triu_indices(len(distances), 1)])
    upper = upper[upper > 1e-6]
    return upper[: max(1, round(share * len(upper)))].mean()
