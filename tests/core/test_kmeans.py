import numpy as np
import pytest
from hypothesis import given, settings, strategies

from duoreid.core.kmeans import kmeans, lloyd
from duoreid.core.numeric.assignment import Assignment
from duoreid.core.numeric.inputs import squared_norms
from duoreid.core.numeric.projections import narrowed
from duoreid.core.numeric.starts import start_rows
from tests.core.features import clustered, exact_unit_rows, generators


def lloyd_by_definition(features, centroids, iterations=100):
    """Assign and average in float64; centroids are rounded to float32 between the rounds."""
    features, labels = features.astype(np.float64), None
    for _ in range(iterations):
        distances = ((features[:, None] - centroids[None].astype(np.float64)) ** 2).sum(axis=2)
        assigned = distances.argmin(axis=1)
        if labels is not None and (assigned == labels).all():
            break
        labels = assigned
        if len(np.unique(labels)) < len(centroids):
            return None
        centroids = np.stack([features[labels == c].mean(axis=0) for c in range(len(centroids))]).astype(np.float32)
    return labels, centroids, ((features - centroids[labels]) ** 2).sum()


@settings(max_examples=60, deadline=None)
@given(generators, strategies.integers(1, 80), strategies.data())
def test_equals_lloyd_in_float64(random, count, data):
    features = exact_unit_rows(random, count) if random.random() < 0.5 else clustered(random, count, 5)[0]
    clusters = data.draw(strategies.integers(1, min(count, 9)))
    start = features[random.choice(count, clusters, replace=False)]
    expected = lloyd_by_definition(features, start)
    result = lloyd(features, start)
    assert np.bincount(result.labels, minlength=clusters).min() > 0
    if expected is not None:
        np.testing.assert_array_equal(result.labels, expected[0])
        np.testing.assert_allclose(result.centroids, expected[1], atol=1e-7)
        assert result.inertia == pytest.approx(expected[2], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("bounds", [1, 500, 3000])
def test_bounds_of_groups_of_centroids_change_nothing(bounds, monkeypatch):
    monkeypatch.setattr("duoreid.core.numeric.assignment.BOUNDS", bounds)
    features, _ = clustered(np.random.default_rng(11), 400, 15, noise=1.2)
    for seed in range(6):
        start = features[start_rows(features, 25, seed=seed)]
        labels, centroids, _ = lloyd_by_definition(features, start)
        result = lloyd(features, start)
        np.testing.assert_array_equal(result.labels, labels)
        np.testing.assert_allclose(result.centroids, centroids, atol=1e-7)


@pytest.mark.parametrize("noise", [0.05, 0.5, 1.5])
@pytest.mark.parametrize("bounds", [500, 1 << 27])
def test_narrow_copies_change_nothing(noise, bounds, monkeypatch):
    monkeypatch.setattr("duoreid.core.numeric.projections.COLUMNS", 8)
    monkeypatch.setattr("duoreid.core.numeric.projections.MISSED", 1)
    monkeypatch.setattr("duoreid.core.numeric.assignment.BOUNDS", bounds)
    settled = []
    unsettled = Assignment._unsettled

    def counted(assignment, rows):
        left = unsettled(assignment, rows)
        settled.append(len(rows) - len(left))
        return left

    monkeypatch.setattr(Assignment, "_unsettled", counted)
    features, _ = clustered(np.random.default_rng(13), 500, 15, width=40, noise=noise)
    for scale in (1, 1e-12, 1e12):
        scaled = (features * np.float32(scale)).astype(np.float32)
        start = scaled[start_rows(scaled, 25, seed=1)]
        labels, centroids, _ = lloyd_by_definition(scaled, start)
        result = lloyd(scaled, start)
        np.testing.assert_array_equal(result.labels, labels)
        np.testing.assert_allclose(result.centroids, centroids, rtol=1e-6, atol=1e-7 * scale)
    assert noise != 0.5 or sum(settled) > 0


@settings(max_examples=60, deadline=None)
@given(generators, strategies.integers(8, 60), strategies.data())
def test_narrow_copies_with_ties_and_duplicates(random, count, data):
    features = exact_unit_rows(random, count)
    start = features[random.choice(count, data.draw(strategies.integers(4, min(count, 9))), replace=False)]
    expected = lloyd(features, start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("duoreid.core.numeric.projections.COLUMNS", 4)
        patch.setattr("duoreid.core.numeric.projections.MISSED", 1)
        result = lloyd(features, start)
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_array_equal(result.centroids, expected.centroids)


def test_narrow_copies_only_where_they_pay():
    random = np.random.default_rng(14)
    wide = random.normal(size=(400, 600)).astype(np.float32)
    low = wide[:, :60] @ random.normal(size=(60, 600)).astype(np.float32)

    def made(features, others):
        return narrowed(features, squared_norms(features), others) is not None

    assert made(low, 200)
    assert not made(wide, 200)  # no subspace holds most of it
    assert not made(low, 20)  # too few to compare with
    assert not made(low[:, :200].copy(), 200)  # not wide


@settings(max_examples=100, deadline=None)
@given(generators, strategies.sampled_from([1e-10, 1, 1e10]))
def test_narrow_rows_bound_products(random, scale):
    features = (random.normal(size=(60, 64)) @ np.diag(0.9 ** np.arange(64)) * scale).astype(np.float32)
    features[random.integers(60, size=5)] = features[0]
    features[random.integers(60)] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("duoreid.core.numeric.projections.COLUMNS", 16)
        patch.setattr("duoreid.core.numeric.projections.MISSED", 1)
        points = narrowed(features, squared_norms(features), 16).points.astype(np.float64)
    exact = features.astype(np.float64) @ features.T.astype(np.float64)
    upper = points @ points.T
    assert (exact <= upper).all()
    assert (exact >= upper - 2 * np.outer(points[:, -1], points[:, -1])).all()


@settings(max_examples=40, deadline=None)
@given(generators, strategies.integers(1, 60), strategies.data())
def test_no_cluster_is_empty_and_everything_is_consistent(random, count, data):
    features = exact_unit_rows(random, count)[random.integers(count, size=count)]  # more duplicates
    clusters = data.draw(strategies.integers(1, count))
    result = kmeans(features, clusters, seed=int(random.integers(100)))
    assert result.labels.dtype == np.int32
    assert result.centroids.shape == (clusters, 16)
    assert (np.bincount(result.labels, minlength=clusters) > 0).all()
    means = np.stack([features[result.labels == c].mean(axis=0, dtype=np.float64) for c in range(clusters)])
    np.testing.assert_allclose(result.centroids, means, atol=1e-6)
    inertia = ((features.astype(np.float64) - result.centroids[result.labels]) ** 2).sum()
    assert result.inertia == pytest.approx(inertia, rel=1e-9, abs=1e-12)


def test_equals_scikit_learn_from_the_same_start():
    cluster = pytest.importorskip("sklearn.cluster")
    features, _ = clustered(np.random.default_rng(7), 3000, 40, width=64, noise=0.8)
    start = features[start_rows(features, 50, seed=3)]
    theirs = cluster.KMeans(50, init=start, n_init=1, tol=0, max_iter=300).fit(features)
    ours = lloyd(features, start, iterations=300)
    assert ours.inertia <= theirs.inertia_ * (1 + 1e-6)
    assert (ours.labels == theirs.labels_).mean() > 0.99


def test_finds_separate_clusters():
    features, member = clustered(np.random.default_rng(8), 600, 12, width=64, noise=0.05)
    result = kmeans(features, 12, seed=0, restarts=3)
    assert len(np.unique(np.stack([result.labels, member]), axis=1).T) == 12


def test_more_restarts_are_no_worse():
    features, _ = clustered(np.random.default_rng(9), 500, 30)
    assert kmeans(features, 20, seed=1, restarts=4).inertia <= kmeans(features, 20, seed=1).inertia


def test_start_rows_differ_and_depend_on_the_seed():
    features = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    for seed in range(5):
        assert len(np.unique(start_rows(features, 20, seed=seed))) == 20
        assert len(np.unique(features[start_rows(features, 4, seed=seed)].argmax(axis=1))) == 4
    assert (start_rows(features, 4, seed=0) != start_rows(features, 4, seed=1)).any()


@pytest.mark.parametrize("scale", [0, 1e-42, 1e-15, 1e15])
def test_any_scale(scale):
    features = (clustered(np.random.default_rng(12), 60, 5, width=200)[0] * scale).astype(np.float32)
    result = kmeans(features, 5, seed=0)
    assert np.bincount(result.labels, minlength=5).min() > 0
    assert np.isfinite(result.inertia)


def test_does_not_need_normalised_features_nor_modify_them():
    random = np.random.default_rng(10)
    features = random.normal(5, 30, (200, 7))
    before = features.copy()
    expected = kmeans(features.astype(np.float32), 5, seed=2)
    for converted in (features, np.asfortranarray(features)):
        np.testing.assert_array_equal(kmeans(converted, 5, seed=2).labels, expected.labels)
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"clusters": 4}, r"clusters must be at most .* 4 .* \(3, 3\)"),
        ({"clusters": 0}, "clusters must be an integer"),
        ({"clusters": 2, "restarts": 0}, "restarts"),
        ({"clusters": 2, "iterations": 0}, "iterations"),
    ],
)
def test_refuses(arguments, text):
    with pytest.raises(ValueError, match=text):
        kmeans(np.eye(3, dtype=np.float32), seed=0, **arguments)


def test_refuses_no_points_and_nan():
    with pytest.raises(ValueError, match="clusters must be at most"):
        kmeans(np.zeros((0, 3), np.float32), 1, seed=0)
    with pytest.raises(ValueError, match="finite"):
        kmeans(np.full((3, 3), np.nan, np.float32), 1, seed=0)
