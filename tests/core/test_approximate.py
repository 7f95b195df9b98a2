import warnings

import numpy as np
import pytest

from duoreid.core import approximate
from duoreid.core.approximate import ApproximateWarning, nearest_approximate, search_approximate, search_by_size
from duoreid.core.jaccard import jaccard_similarity
from duoreid.core.neighbours import nearest, search
from duoreid.core.numeric.cells import Cells, Visits
from tests.core.features import clustered, exact_unit_rows


@pytest.fixture
def always(monkeypatch):
    """Never leave the work to the exact search."""
    monkeypatch.setattr(approximate, "DEAR", np.inf)


def many(count=3000, people=150, width=32):
    return clustered(np.random.default_rng(3), count, people, width=width)[0]


def recall_of(indices, exact):
    return np.mean([len(np.intersect1d(*rows)) for rows in zip(indices, exact, strict=True)]) / exact.shape[1]


def check(features, indices, similarities):
    """Each list begins with its point, names nobody twice, falls, and has the products of its pairs."""
    assert indices.dtype == np.int32
    assert similarities.dtype == np.float32
    assert (indices[:, 0] == np.arange(len(features))).all()
    assert (np.diff(np.sort(indices, axis=1), axis=1) > 0).all()
    assert (np.diff(similarities[:, 1:], axis=1) <= 0).all()
    products = np.einsum("id,ikd->ik", features, features[indices])
    np.testing.assert_allclose(similarities, products, atol=1e-5)


@pytest.mark.parametrize("wanted", [0.8, 0.98, 0.995])
def test_finds_as_many_as_asked_for_with_exact_similarities(wanted, always):
    features = many()
    exact, _ = nearest(features, 10)
    neighbours = search_approximate(features, 10, recall=wanted, cells=60)
    check(features, neighbours.indices, neighbours.similarities)
    assert recall_of(neighbours.indices, exact) > wanted - 0.01  # more where the own cell holds more than that
    assert abs(neighbours.recall - recall_of(neighbours.indices, exact)) < 0.03
    assert neighbours.visited < 0.5


@pytest.mark.parametrize("sampled", [30, 500])
def test_the_recall_that_is_told_is_of_points_that_decided_nothing(sampled, always, monkeypatch):
    features, asked = many(900, 60), []
    margin = Cells.margin
    monkeypatch.setattr(approximate, "SAMPLED", sampled)
    monkeypatch.setattr(Cells, "margin", lambda self, rows, *given: asked.extend(rows) or margin(self, rows, *given))
    neighbours, (exact, _) = search_approximate(features, 10, recall=0.9, cells=40), nearest(features, 10)
    others = np.setdiff1d(np.linspace(0, 899, min(900, 2 * sampled)).astype(int), asked)
    assert len(others) == len(asked) == min(450, sampled)
    assert neighbours.recall == pytest.approx(recall_of(neighbours.indices[others], exact[others]))


def test_more_recall_takes_more_work(always):
    features = many()
    work = [search_approximate(features, 10, recall=wanted, cells=60).visited for wanted in (0.98, 0.99, 0.999)]
    assert work == sorted(set(work))


@pytest.mark.parametrize(("count", "k", "cells", "rows"), [(200, 7, 9, 2048), (300, 40, 12, 37), (60, 60, 5, 16)])
def test_visiting_every_cell_is_exact_with_ties_and_duplicates(count, k, cells, rows, monkeypatch):
    """Both sides of each product count once: nobody is found twice, whatever the pieces of cells and visitors."""
    monkeypatch.setattr(approximate, "ROWS", rows)
    random = np.random.default_rng(4)
    features = np.repeat(exact_unit_rows(random, count // 2), 2, axis=0)[random.permutation(count)]
    visits = Cells(features, cells).visits(-np.inf)
    assert visits.share() == 1
    keys, own = np.full((count, k), approximate.NOTHING), np.empty(count, np.float32)
    approximate._within(features, visits, range(visits.cells), keys, own)
    approximate._across(features, visits, range(visits.cells), keys)
    indices, similarities = approximate.opened(keys, own)
    expected, products = nearest(features, k)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(similarities, products)


def test_a_pair_meets_where_either_visits_the_other(always):
    """Against every pair of a member and a visitor, by hand."""
    features, k = many(400, 20), 15
    visits = Cells(features, 12).visits(-0.3)
    meets = visits.labels[:, None] == visits.labels
    one_way = visits.of(np.arange(400))[:, visits.labels]
    assert (one_way != one_way.T).any()
    meets |= one_way | one_way.T
    scores = np.where(meets, features @ features.T, -2)
    np.fill_diagonal(scores, 2)
    keys, own = np.full((400, k), approximate.NOTHING), np.empty(400, np.float32)
    approximate._within(features, visits, range(visits.cells), keys, own)
    approximate._across(features, visits, range(visits.cells), keys)
    missing = keys == approximate.NOTHING
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    missed = np.take_along_axis(scores, expected, 1) == -2
    np.testing.assert_array_equal(missing, missed)
    indices, _ = approximate.opened(keys, own)
    assert (indices == expected)[~missing].mean() > 0.999  # products of other shapes may round apart


def test_points_that_meet_too_few_are_compared_with_all(always):
    features = many(500, 100)
    neighbours = search_approximate(features, 200, recall=0.3, cells=100)
    check(features, neighbours.indices, neighbours.similarities)
    assert neighbours.recall > 0.3


def test_cells_hold_each_point_once_and_nobody_visits_the_own(always):
    features = many(1000, 40)
    visits = Cells(features).visits(-0.2)
    members = np.concatenate([visits.members(cell) for cell in range(visits.cells)])
    assert (np.sort(members) == np.arange(1000)).all()
    for cell in range(visits.cells):
        assert not np.isin(visits.visitors(cell), visits.members(cell)).any()
        assert visits.of(visits.visitors(cell))[:, cell].all()
    pairs = sum(
        len(visits.members(c)) * (len(visits.members(c)) + len(visits.visitors(c))) for c in range(visits.cells)
    )
    assert visits.share() == pytest.approx(pairs / 1000**2)
    assert isinstance(visits, Visits)


def test_lowest_similarities_are_nearly_the_lowest(always):
    features = many()
    lowest = search_approximate(features, 5, lowest=True).lowest
    true = (features @ features.T).min(axis=1)
    assert (lowest >= true - 1e-6).all()
    assert np.abs((1 - lowest) / (1 - true) - 1).mean() < 0.02


def test_is_the_exact_search_where_that_is_no_dearer():
    features = exact_unit_rows(np.random.default_rng(5), 300)
    for neighbours in (search_approximate(features, 9), search_approximate(many(), 9, recall=1.0, cells=40)):
        assert neighbours.recall == 1
    np.testing.assert_array_equal(search_approximate(features, 9).indices, nearest(features, 9)[0])


def test_same_bytes_again_and_with_more_threads(always, monkeypatch):
    features = many(1500, 80)
    first = search_approximate(features, 10, cells=40)
    monkeypatch.setattr("duoreid.core.numeric.threads.workers", lambda: 4)
    again = search_approximate(features, 10, cells=40)
    np.testing.assert_array_equal(first.indices, again.indices)
    np.testing.assert_array_equal(first.similarities, again.similarities)


def test_the_size_chooses_and_the_recall_is_told(always, monkeypatch):
    features = many(800, 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = search_by_size(features, 31)
        graph = jaccard_similarity(features)
    assert small.recall == 1
    np.testing.assert_array_equal(small.indices, nearest(features, 31)[0])
    monkeypatch.setattr(approximate, "EXACT_UP_TO", 799)
    with pytest.warns(ApproximateWarning, match=r"800 points .* found \d\d\.\d%"):
        close = jaccard_similarity(features)
    difference = abs(graph - close)
    assert 0 < difference.sum() < 0.1 * graph.sum()
    given = jaccard_similarity(features, neighbours=search(features, 31)[:2])
    assert (given != graph).nnz == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"k": 401}, "k is 401"),
        ({"k": 4, "recall": 0}, r"recall must lie in \(0, 1\]"),
        ({"k": 4, "recall": 1.5}, "recall"),
        ({"k": 4, "cells": 0}, "cells"),
        ({"k": 0}, "k must be"),
    ],
)
def test_refuses(options, text):
    with pytest.raises(ValueError, match=text):
        nearest_approximate(many(400, 20), **options)


def test_public_form_checks_and_searches():
    features = many(600, 30)
    indices, similarities = nearest_approximate(features.astype(np.float64), 6, recall=0.9)
    check(features, indices, similarities)
    with pytest.raises(ValueError, match="L2-normalised"):
        nearest_approximate(2 * features, 6)
