import numpy as np
import pytest
from hypothesis import given, settings, strategies

from duoreid.core.numeric.inputs import row_blocks
from duoreid.core.numeric.positions import Positions
from duoreid.core.ranking import rank, rank_distances
from tests.core import references
from tests.core.features import exact_unit_rows, generators


def draw_labels(random, queries, gallery, identities, cameras):
    return (
        random.integers(identities, size=queries),
        random.integers(identities, size=gallery),
        random.integers(cameras, size=queries),
        random.integers(cameras, size=gallery),
    )


def check(result, distances, labels, max_rank):
    precision, penalty, hits = references.ranking(distances, *labels, max_rank)
    valid = ~np.isnan(precision)
    np.testing.assert_allclose(result.average_precision, precision, rtol=1e-12)
    assert result.valid_queries == valid.sum()
    assert result.cmc.shape == (max_rank,)
    if valid.any():
        np.testing.assert_allclose(result.mean_ap, precision[valid].mean(), rtol=1e-12)
        np.testing.assert_allclose(result.mean_inp, penalty[valid].mean(), rtol=1e-12)
        np.testing.assert_allclose(result.cmc, hits / valid.sum(), rtol=1e-12)
    else:
        assert np.isnan(result.mean_ap)
        assert np.isnan(result.mean_inp)
        assert np.isnan(result.cmc).all()


sizes = strategies.tuples(
    strategies.integers(0, 12), strategies.integers(0, 60), strategies.integers(1, 8), strategies.integers(1, 4)
)


@settings(max_examples=200, deadline=None)
@given(generators, sizes, strategies.integers(1, 70), strategies.sampled_from([2, 5, 1000]), strategies.booleans())
def test_equals_a_stable_sort(random, size, max_rank, levels, ordered):
    labels = draw_labels(random, *size)
    if ordered:
        labels = (labels[0], np.sort(labels[1]), *labels[2:])
    distances = random.integers(levels, size=size[:2]).astype(np.float32)
    check(rank_distances(distances, *labels, max_rank=max_rank), distances, labels, max_rank)


@pytest.mark.parametrize("levels", [3, 10**6])
@pytest.mark.parametrize("identities", [1, 2])
def test_many_positives(levels, identities):
    random = np.random.default_rng(0)
    labels = draw_labels(random, 5, 700, identities, 3)
    distances = random.integers(levels, size=(5, 700)).astype(np.float32)
    check(rank_distances(distances, *labels), distances, labels, 50)


@pytest.mark.parametrize("levels", [7, 40, 10**6])
@pytest.mark.parametrize(("far", "placed"), [(0, {16}), (1, {14}), (2, {14}), (3, {0}), (16, {0})])
def test_positives_near_the_front(far, placed, levels, monkeypatch):
    """All of them, all but a few, or none: what is near is sorted, with equal items among and around the positives."""
    random = np.random.default_rng(far)
    labels = np.zeros(6, int), np.arange(4000) + 1, np.zeros(6, int), np.ones(4000, int)
    distances = 0.1 + 0.9 * random.random((6, 4000))
    columns = random.permutation(4000)[:16]
    labels[1][columns] = 0
    distances[:, columns[far:]] = 0.11 * random.random((6, 16 - far))
    distances[:, columns[:far]] = 0.95
    distances = (np.round(distances * levels) / levels).astype(np.float32)
    ways = []
    whole = Positions._sort_near
    monkeypatch.setattr(Positions, "_sort_near", lambda *given: ways.append(whole(*given)) or ways[-1])
    check(rank_distances(distances, *labels), distances, labels, 50)
    assert levels == 7 or set(ways) == placed


@pytest.mark.parametrize("threads", [1, 3])
def test_many_blocks(monkeypatch, threads):
    """Of 64 queries, the last one shorter; real ones hold some eight million distances. Long rows go to threads."""
    monkeypatch.setattr("duoreid.core.ranking.SHORT", 0)
    monkeypatch.setattr("duoreid.core.ranking.workers", lambda: threads)
    monkeypatch.setattr("duoreid.core.ranking.row_blocks", lambda *shape, **_: row_blocks(*shape, entries=1, fewest=64))
    random = np.random.default_rng(1)
    labels = draw_labels(random, 150, 2000, 900, 3)
    labels[1][:150] = labels[0]
    distances = random.integers(500, size=(150, 2000)).astype(np.float32)
    check(rank_distances(distances, *labels, max_rank=10), distances, labels, 10)


def test_by_hand():
    result = rank_distances(
        np.float32([[0.1, 0.2, 0.3, 0.4, 0.5]]), [7], [7, 8, 7, 9, 7], [0], [0, 0, 1, 0, 1], max_rank=3
    )
    # the first item shares identity and camera; of the rest the positives stand at ranks 2 and 4
    assert result.mean_ap == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert result.mean_inp == pytest.approx(2 / 4)
    assert result.cmc.tolist() == [0, 1, 1]


def test_distinct_identities_by_hand():
    arguments = [1], [2, 2, 3, 1], [0], [1, 1, 1, 1]
    distances = np.float32([[0.1, 0.2, 0.3, 0.4]])
    assert rank_distances(distances, *arguments, max_rank=4).cmc.tolist() == [0, 0, 0, 1]
    assert rank_distances(distances, *arguments, max_rank=4, distinct_identities=True).cmc.tolist() == [0, 0, 1, 1]


@settings(max_examples=60, deadline=None)
@given(generators, sizes)
def test_distinct_identities_equal_the_definition(random, size):
    labels = draw_labels(random, *size)
    distances = random.integers(6, size=size[:2]).astype(np.float32)
    result = rank_distances(distances, *labels, distinct_identities=True)
    ranks = [
        references.first_distinct_rank(row, labels[0][query], labels[2][query], labels[1], labels[3])
        for query, row in enumerate(distances)
    ]
    ranks = np.array([rank for rank in ranks if rank is not None])
    if len(ranks):
        np.testing.assert_allclose(result.cmc, [(ranks <= place).mean() for place in range(1, 51)], rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(generators, sizes, strategies.sampled_from(["cosine", "euclidean"]))
def test_rank_equals_ranking_the_distances(random, size, metric):
    labels = draw_labels(random, *size)
    query, gallery = exact_unit_rows(random, size[0]), exact_unit_rows(random, size[1])
    if metric == "euclidean":
        gallery = gallery * random.integers(1, 3, size=(size[1], 1)).astype(np.float32)
    distances = ((query[:, None].astype(np.float64) - gallery[None]) ** 2).sum(axis=2)
    check(rank(query, gallery, *labels, metric=metric), distances, labels, 50)


def test_cosine_ignores_the_length_of_features():
    random = np.random.default_rng(2)
    labels = draw_labels(random, 20, 200, 6, 3)
    query, gallery = exact_unit_rows(random, 20), exact_unit_rows(random, 200)
    stretched = gallery * 2.0 ** random.integers(-3, 4, size=(200, 1))
    expected = rank(query, gallery, *labels)
    result = rank(query * 4, stretched, *labels)
    np.testing.assert_array_equal(result.average_precision, expected.average_precision)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64])
def test_other_types_and_layouts_and_input_untouched(dtype):
    random = np.random.default_rng(3)
    labels = draw_labels(random, 15, 90, 6, 3)
    distances = random.integers(20, size=(15, 90)).astype(dtype)
    before = distances.copy()
    expected = rank_distances(distances.astype(np.float32), *labels)
    for layout in (distances, np.asfortranarray(distances), np.repeat(distances, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(rank_distances(layout, *labels).average_precision, expected.average_precision)
    np.testing.assert_array_equal(distances, before)


def test_float64_distances_are_not_rounded():
    distances = np.array([[1 + 1e-12, 1.0]])
    assert rank_distances(distances, [1], [1, 2], [0], [1, 1]).mean_ap == 0.5


def test_infinite_distances_rank_last():
    distances = np.float32([[np.inf, 1, -np.inf]])
    assert rank_distances(distances, [1], [1, 2, 3], [0], [1, 1, 1]).mean_ap == pytest.approx(1 / 3)


ONE = (np.zeros((1, 2), np.float32), [1], [1, 2], [0], [1, 1])


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (0, np.zeros(3, np.float32), r"\(Q, G\)"),
        (0, np.full((1, 2), np.nan, np.float32), "NaN"),
        (0, np.zeros((1, 2), np.complex64), "real numbers"),
        (1, [1, 2], r"query_ids must have shape \(1,\)"),
        (2, [1], r"gallery_ids must have shape \(2,\)"),
        (3, [0.5], "query_cameras must hold integers"),
        (4, [[1, 1]], "gallery_cameras must have shape"),
    ],
)
def test_refuses(place, value, text):
    arguments = list(ONE)
    arguments[place] = value
    with pytest.raises(ValueError, match=text):
        rank_distances(*arguments)


def test_refuses_bad_options_and_features():
    labels = ONE[1:]
    with pytest.raises(ValueError, match="max_rank"):
        rank_distances(*ONE, max_rank=0)
    with pytest.raises(ValueError, match="metric"):
        rank(np.eye(1, 2), np.eye(2), *labels, metric="manhattan")
    with pytest.raises(ValueError, match="as many columns"):
        rank(np.eye(1, 3), np.eye(2), *labels)
    with pytest.raises(ValueError, match="zero rows"):
        rank(np.eye(1, 2), np.zeros((2, 2)), *labels)
    with pytest.raises(ValueError, match="gallery must be finite"):
        rank(np.eye(1, 2), np.full((2, 2), np.nan), *labels)
