"""Groups of unlabelled pictures: names are kept and spread, certainty is what it says."""

import numpy as np
import pytest
from scipy import sparse

from duoreid.core.errors import UserError
from duoreid.core.grouping import certainty_of, group
from tests.core.test_openset import people

SMALL = {"k1": 6, "k2": 1, "min_samples": 2}


def heap(spread=0.3):
    features, ids, _ = people(8, 6, spread=spread)
    return features, ids


def test_people_far_apart_are_found_and_certain():
    features, ids = heap()
    groups = group(features, eps=0.6, **SMALL)
    assert (groups.labels == ids).all()
    assert groups.names == tuple(f"new-{number}" for number in range(1, 9))
    assert groups.certainty.min() > 0.8
    assert groups.known == 0


def test_names_are_kept_and_spread():
    features, ids = heap()
    names = [None] * len(ids)
    names[0], names[7], names[13] = "ann", "bob", "new-1"
    groups = group(features, identities=names, eps=0.6, **SMALL)
    told = [groups.names[label] for label in groups.labels]
    assert set(told[:6]) == {"ann"}
    assert set(told[6:12]) == {"bob"}
    assert set(told[12:18]) == {"new-1"}
    assert told[18] == "new-2"  # a name that is taken is not given again
    assert groups.known == 3
    assert groups.certainty[[0, 7, 13]].tolist() == [1, 1, 1]


def test_two_names_in_one_group_divide_it_and_one_name_in_two_joins_them():
    features, _ = heap()
    names = [None] * 48
    names[0], names[3] = "ann", "eve"  # in one group
    names[6], names[12] = "bob", "bob"  # in two
    groups = group(features, identities=names, eps=0.6, **SMALL)
    told = np.array([groups.names[label] for label in groups.labels])
    similarity = features[:6] @ features[[0, 3]].T
    assert told[:6].tolist() == np.array(["ann", "eve"])[similarity.argmax(axis=1)].tolist()
    assert set(told[6:18]) == {"bob"}


def test_a_named_image_that_no_group_takes_keeps_its_name():
    features, ids = heap()
    names = [None] * len(ids)
    names[5] = "ann"
    groups = group(features, identities=names, eps=0.0, k1=6, k2=1, min_samples=40)
    assert (groups.labels >= 0).sum() == 1
    assert groups.names == ("ann",)


def test_a_threshold_parts_what_is_not_similar_enough():
    features, _ = heap()
    assert (group(features, eps=0.6, threshold=1.01, **SMALL).labels == -1).all()
    assert (group(features, eps=0.6, threshold=-1, **SMALL).labels == group(features, eps=0.6, **SMALL).labels).all()
    with pytest.raises(UserError, match="cosine similarity"):
        group(features, threshold=7, **SMALL)


def test_certainty_against_loops():
    random = np.random.default_rng(0)
    dense = random.random((20, 20)) * (random.random((20, 20)) < 0.5)
    dense = (dense + dense.T) / 2
    np.fill_diagonal(dense, 1)
    labels = random.integers(-1, 4, 20)
    certainty = certainty_of(sparse.csr_array(dense), labels)
    for image in range(20):
        if labels[image] < 0:
            assert certainty[image] == 0
            continue
        means = {}
        for label in range(4):
            others = [other for other in range(20) if labels[other] == label and other != image]
            means[label] = dense[image, others].mean() if others else 0
        own = means.pop(labels[image])
        best = max(means.values())
        assert certainty[image] == pytest.approx(1 if own == best == 0 else own / (own + best), abs=1e-6)


def test_identities_line_up():
    features, _ = heap()
    with pytest.raises(UserError, match="give one of them"):
        group(features, eps=0.5, share=0.1, **SMALL)
    assert group(features, share=0.05, **SMALL).eps < 0.5
    assert group(features, **SMALL).eps == 0.5
    with pytest.raises(ValueError, match="one for each of the 48 images, but 3 came"):
        group(features, identities=["a", None, "b"])
