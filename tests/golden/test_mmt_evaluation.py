"""Testing as the public MMT code does it: distances, mAP, CMC and re-ranking."""

import numpy as np
import pytest

from duoreid.benchmarks.peers import dense_jaccard
from duoreid.core.mining import euclidean_distances
from duoreid.core.ranking import rank, rank_distances
from duoreid.core.rerank import rerank
from tests.golden.numbers import arrays
from tests.tolerances import check_close

NUMBERS = arrays("mmt/mmt-evaluation")
QUERY, GALLERY = NUMBERS["query"], NUMBERS["gallery"]
LABELS = tuple(NUMBERS[name] for name in ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras"))
RANKINGS = {
    "": "distances",
    "reranked_euclidean_": "reranked_euclidean",
    "reranked_squared_": "reranked_squared",
}
"""Prefixes of scores, and the distances that they belong to."""


def check_scores(scores, prefix):
    check_close("golden.mmt.scores", scores.mean_ap, NUMBERS[f"{prefix}mean_ap"])
    np.testing.assert_allclose(scores.cmc, NUMBERS[f"{prefix}cmc"], rtol=0, atol=1e-15)
    assert scores.valid_queries == NUMBERS["counted"]


def test_distances():
    check_close("golden.mmt.distances", euclidean_distances(QUERY, GALLERY) ** 2, NUMBERS["distances"], scale=1)


@pytest.mark.parametrize("prefix", RANKINGS)
def test_scores_of_given_distances(prefix):
    check_scores(rank_distances(NUMBERS[RANKINGS[prefix]], *LABELS, max_rank=100), prefix)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_scores_from_features(metric):
    check_scores(rank(QUERY, GALLERY, *LABELS, metric=metric, max_rank=100), "")


def test_reranking():
    distances = rerank(QUERY, GALLERY)
    check_close("golden.mmt.rerank", distances, NUMBERS["reranked_euclidean"], scale=1)
    check_scores(rank_distances(distances, *LABELS, max_rank=100), "reranked_euclidean_")
    check_close("golden.mmt.rerank", dense_jaccard.rerank(QUERY, GALLERY), NUMBERS["reranked_euclidean"], scale=1)


def test_the_public_call_of_reranking_squares_twice():
    """`re_ranking` squares its distances, and is handed squared ones: here once more, which is not Zhong et al.'s."""
    features = np.concatenate([QUERY, GALLERY])
    squared = (2 - 2 * features.astype(np.float64) @ features.T.astype(np.float64)) ** 2
    squared /= squared.max(axis=1, keepdims=True)
    ranking = np.argsort(squared, axis=1).astype(np.int32)
    shared = dense_jaccard.jaccard(dense_jaccard.encoding(ranking, squared, 20, 6), len(QUERY))
    distances = (0.7 * shared + 0.3 * squared[: len(QUERY)])[:, len(QUERY) :]
    check_close("golden.mmt.rerank", distances, NUMBERS["reranked_squared"], scale=1)
    assert np.abs(NUMBERS["reranked_squared"] - NUMBERS["reranked_euclidean"]).max() > 0.05
