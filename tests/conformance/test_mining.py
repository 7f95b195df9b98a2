"""The miners inside the backends against core/mining.py, index for index."""

import numpy as np
import pytest

from duoreid.core.mining import batch_hard, euclidean_distances
from duoreid.core.random import rng
from tests.conformance.examples import FEATURE_CASES


def check(probe, distances, labels):
    expected = batch_hard(distances, labels)
    mined = probe.batch_hard(distances, labels)
    for indices, reference in zip(mined, expected, strict=True):
        np.testing.assert_array_equal(indices, reference)
        assert indices.dtype == np.int64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [1, 2, 3, 1000])
def test_miner_with_ties(probe, levels, dtype):
    tied = 0
    for step in range(4):
        draw = rng(0, "mining", levels, step)
        labels = draw.integers(0, 5, 16)
        labels[:2] = 0, 1
        distances = (draw.integers(0, levels, (16, 16)) / 8).astype(dtype)
        row = np.where(labels[0] == labels, -1, distances[0])
        tied += (row == row[row >= 0].min()).sum() > 1
        check(probe, distances, labels)
    assert tied or levels == 1000, "the example holds no tie"


@pytest.mark.parametrize("case", FEATURE_CASES)
def test_miner_on_features(probe, case):
    example = FEATURE_CASES[case]
    check(probe, euclidean_distances(example.features), example.labels)


def test_miner_takes_the_anchor_where_it_is_alone_and_the_first_of_equals(probe):
    positive, negative = probe.batch_hard(np.ones((5, 5), np.float32), np.array([3, 3, 1, 1, 9]))
    assert positive.tolist() == [0, 0, 2, 2, 4]
    assert negative.tolist() == [2, 2, 0, 0, 0]
