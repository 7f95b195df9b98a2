import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies

from duoreid.core.agreement import agreement
from tests.core.features import generators


@settings(max_examples=100, deadline=None)
@given(generators, strategies.integers(1, 30), strategies.integers(1, 6), strategies.integers(1, 6))
def test_equals_counting_pairs_and_scikit_learn(random, count, clusters, people):
    metrics = pytest.importorskip("sklearn.metrics")
    labels, identities = random.integers(-1, clusters, count), random.integers(people, size=count)
    result = agreement(labels, identities)
    kept = np.flatnonzero(labels >= 0)
    assert result.outliers == pytest.approx(1 - len(kept) / count)
    assert result.clusters == len(set(labels[kept].tolist()))
    if not len(kept):
        assert np.isnan([result.adjusted_rand, result.mutual_information, result.precision, result.recall]).all()
        return
    pairs = list(itertools.combinations(kept, 2))
    together = [(a, b) for a, b in pairs if labels[a] == labels[b]]
    alike = [(a, b) for a, b in pairs if identities[a] == identities[b]]
    shared = len(set(together) & set(alike))
    assert result.precision == pytest.approx(shared / len(together) if together else 1)
    assert result.recall == pytest.approx(shared / len(alike) if alike else 1)
    theirs = identities[kept], labels[kept]
    assert result.adjusted_rand == pytest.approx(metrics.adjusted_rand_score(*theirs), abs=1e-12)
    assert result.mutual_information == pytest.approx(metrics.normalized_mutual_info_score(*theirs), abs=1e-9)


def test_by_hand():
    result = agreement([0, 0, 1, 1, -1], [5, 5, 5, 6, 6])
    # pairs with one label: (0,1) right, (2,3) wrong; pairs with one identity: (0,1), (0,2), (1,2)
    assert result.precision == 1 / 2
    assert result.recall == 1 / 3
    assert result.outliers == pytest.approx(1 / 5)
    assert result.adjusted_rand == pytest.approx((1 - 2 * 3 / 6) / ((2 + 3) / 2 - 2 * 3 / 6))


def test_renaming_labels_changes_nothing():
    random = np.random.default_rng(0)
    labels, identities = random.integers(-1, 9, 200), random.integers(12, size=200)
    names = np.append(random.permutation(9) + 100, -1)
    assert agreement(names[labels], identities) == agreement(labels, identities)


def test_equal_partitions_agree_fully():
    result = agreement([3, 3, 1, 7], [0, 0, 1, 2])
    assert (result.adjusted_rand, result.precision, result.recall) == (1, 1, 1)
    assert result.mutual_information == pytest.approx(1)


def test_empty_and_refusals():
    assert agreement([], []).clusters == 0
    with pytest.raises(ValueError, match=r"identities must have shape \(2,\)"):
        agreement([0, 1], [0])
    with pytest.raises(ValueError, match="labels must hold integers"):
        agreement([0.5, 1], [0, 1])
