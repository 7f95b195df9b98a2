"""The exact search against a sort in float64."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from duoreid.core.gallery import exact as searching
from duoreid.core.gallery import halves
from duoreid.core.gallery.exact import exact


def unit(count, dimension, seed=0, numbers=np.float32):
    rows = np.random.default_rng(seed).normal(size=(count, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(numbers)


def brute(rows, queries, k, mask=None):
    """Sort in float64; every product summed alone, so that equal rows are equal."""
    similarities = np.array([(rows.astype(np.float64) * query.astype(np.float64)).sum(1) for query in queries])
    if mask is not None:
        similarities[~np.broadcast_to(mask, similarities.shape)] = -np.inf
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(similarities, order, 1)
    return np.where(np.isfinite(best), order, -1), best


def same(ranking, expected):
    np.testing.assert_array_equal(ranking[0], expected[0])
    np.testing.assert_allclose(ranking[1], expected[1], rtol=0, atol=1e-15)


@pytest.mark.parametrize("numbers", [np.float32, np.float16])
@pytest.mark.parametrize(("queries", "k"), [(1, 1), (1, 10), (7, 10), (300, 3), (2, 500)])
def test_equals_a_sort_in_float64(numbers, queries, k):
    rows = unit(500, 24, 1, numbers)
    same(exact(rows, unit(queries, 24, 2), k), brute(rows, unit(queries, 24, 2), k))


def test_many_blocks_and_threads(monkeypatch):
    monkeypatch.setattr(searching, "FEWEST", 64)
    monkeypatch.setattr(searching, "MOST", 64)
    monkeypatch.setattr(searching, "SMALL", 0)
    monkeypatch.setattr(searching, "workers", lambda: 3)
    rows = unit(1000, 16, 3)
    same(exact(rows, unit(5, 16, 4), 10), brute(rows, unit(5, 16, 4), 10))


def test_ties_come_in_the_order_of_rows():
    rows = unit(4, 16)[np.random.default_rng(0).integers(0, 4, 3000)]
    same(exact(rows, unit(3, 16, 5), 40), brute(rows, unit(3, 16, 5), 40))


def test_similarities_that_float32_cannot_tell_apart():
    """Rows that differ by less than a float32 product's rounding: only the second look in float64 orders them."""
    rng = np.random.default_rng(0)
    base = unit(1, 512, 6)[0]
    rows = np.tile(base, (400, 1))
    rows[np.arange(400), rng.integers(0, 512, 400)] *= (1 + rng.integers(-3, 4, 400) * 2.0**-22).astype(np.float32)
    query = unit(1, 512, 7)
    narrow = np.argsort(-(rows @ query[0]), kind="stable")[:10]
    expected = brute(rows, query, 10)
    assert (narrow != expected[0][0]).any(), "the case is too easy to show anything"
    same(exact(rows, query, 10), expected)


def test_masks_of_all_queries_and_of_each():
    rows, queries = unit(600, 16, 8), unit(300, 16, 9)
    common = np.random.default_rng(1).random(600) < 0.3
    same(exact(rows, queries, 10, lambda part: common[part]), brute(rows, queries, 10, common))
    own = np.random.default_rng(2).random((300, 600)) < 0.01  # some have fewer than ten
    same(exact(rows, queries, 10, lambda part: own[:, part]), brute(rows, queries, 10, own))


def test_input_is_left_as_it_is():
    rows, queries = unit(50, 8), unit(3, 8, 1)
    before = rows.copy(), queries.copy()
    exact(rows, queries, 5)
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(queries, before[1])


def test_half_precision_is_widened_exactly():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    np.testing.assert_array_equal(halves.widened(finite), finite.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(halves.widened(finite)), np.signbit(finite))


@pytest.fixture
def scanning(monkeypatch):
    """Read float16 rows of any number by faiss's scanner; count the blocks that it read."""
    read = []
    monkeypatch.setattr(searching, "SMALL", 0)
    monkeypatch.setattr(searching, "scanned", lambda *given: read.append(len(given[0])) or halves.scanned(*given))
    return read


@pytest.mark.parametrize("dimension", [1, 5, 16, 67])
def test_half_precision_is_scanned_as_it_lies(scanning, monkeypatch, dimension):
    monkeypatch.setattr(searching, "FEWEST", 128)
    monkeypatch.setattr(searching, "MOST", 128)
    monkeypatch.setattr(searching, "workers", lambda: 2)
    rows, queries = unit(1000, dimension, 10, np.float16), unit(halves.FEW, dimension, 11)
    same(exact(rows, queries, 10), brute(rows, queries, 10))
    assert sum(scanning) >= len(rows) * halves.FEW


def test_half_precision_is_scanned_behind_masks_and_with_ties(scanning):
    rows = unit(4, 16, 12, np.float16)[np.random.default_rng(0).integers(0, 4, 600)]
    queries = unit(2, 16, 13)
    common = np.random.default_rng(1).random(600) < 0.3
    own = np.random.default_rng(2).random((2, 600)) < 0.01
    same(exact(rows, queries, 10), brute(rows, queries, 10))
    same(exact(rows, queries, 10, lambda part: common[part]), brute(rows, queries, 10, common))
    same(exact(rows, queries, 10, lambda part: own[:, part]), brute(rows, queries, 10, own))
    assert scanning


@pytest.mark.parametrize("fault", ["wrong", "gone"])
def test_a_scanner_that_does_not_hold_is_not_taken(monkeypatch, fault):
    def scanned(rows, query, k, first, mask=None):
        if fault == "gone":
            raise AttributeError("select_InvertedListScanner")
        return halves.keys_of(np.float32([1, 1, 1]), np.arange(3))

    assert halves.quick()  # the one that is installed holds
    monkeypatch.setattr(halves, "scanned", scanned)
    monkeypatch.setattr(searching, "quick", halves.quick.__wrapped__)
    monkeypatch.setattr(searching, "SMALL", 0)
    monkeypatch.setattr(searching, "scanned", lambda *given: pytest.fail("the scanner was taken"))
    rows, queries = unit(500, 24, 14, np.float16), unit(1, 24, 15)
    same(exact(rows, queries, 10), brute(rows, queries, 10))


def test_scanners_are_used_again(monkeypatch):
    """faiss frees none: a server that made one for each query would grow."""
    made, make = [], halves._scanner
    monkeypatch.setattr(halves, "_scanner", lambda width: made.append(width) or make(width))
    monkeypatch.setattr(halves, "_scanners", {})
    rows, queries = unit(40, 8, 16, np.float16), unit(30, 8, 17)

    def look(query):
        return halves.indices_of(halves.scanned(rows, query, 3, 0)).tolist()

    with ThreadPoolExecutor(4) as pool:
        rankings = list(pool.map(look, queries))
    assert rankings == brute(rows, queries, 3)[0].tolist()
    assert 1 <= len(made) <= 4
    assert len(halves._scanners[8]) == len(made)
