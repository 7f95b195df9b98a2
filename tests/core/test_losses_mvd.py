"""The oracle losses of MVD: known values, finite differences, invariances and guards."""

import numpy as np
import pytest

from duoreid.core.losses import (
    centre_triplet,
    distillation,
    jensen_shannon,
    mutual_learning,
    ranked_list,
    sinkhorn,
    triplet,
)
from duoreid.core.random import rng
from tests.core.gradients import assert_gradient

LABELS = np.repeat([0, 1, 2], 4)
MODALITIES = np.tile([0, 0, 1, 1], 3)


def draw(*shape, step=0):
    return rng(0, "test losses of MVD", 0, step).normal(size=shape)


OBSERVATION, REPRESENTATION = 2 * draw(12, 5, step=1), 2 * draw(12, 5, step=2)
FEATURES = draw(12, 4, step=3)


def second(function):
    """(loss, gradient for the second input) of a loss of two inputs."""
    return lambda x: (lambda loss, _, gradient: (loss, gradient))(*function(x))


ON_LOGITS = {
    "paper": lambda x: distillation(OBSERVATION, x),
    "reference": lambda x: distillation(OBSERVATION, x, form="reference"),
    "jensen_shannon, first": lambda x: jensen_shannon(x, OBSERVATION),
    "jensen_shannon, second": second(lambda x: jensen_shannon(OBSERVATION, x)),
    "mutual_learning, first": lambda x: mutual_learning(x, OBSERVATION),
    "mutual_learning, second": second(lambda x: mutual_learning(OBSERVATION, x)),
    "guarded, first": lambda x: mutual_learning(x, OBSERVATION, form="reference"),
    "guarded, second": second(lambda x: mutual_learning(OBSERVATION, x, form="reference")),
}
ON_FEATURES = {
    "ranked_list": lambda x: ranked_list(x, LABELS, MODALITIES),
    "rank, one modality": lambda x: ranked_list(x, LABELS, 0 * MODALITIES),
    "rank, narrow": lambda x: ranked_list(x, LABELS, MODALITIES, within=(0.5, 1.3), across=(0.4, 1.2)),
    "centre_triplet": lambda x: centre_triplet(x, LABELS, MODALITIES, margin=1.0),
    "sinkhorn, first": lambda x: sinkhorn(x, draw(7, 4, step=4), epsilon=0.5),
    "sinkhorn, second": second(lambda x: sinkhorn(draw(7, 4, step=4), x, epsilon=0.5)),
    "guarded, first": lambda x: sinkhorn(x, draw(7, 4, step=4), epsilon=0.5, guarded=True),
    "guarded, second": second(lambda x: sinkhorn(draw(7, 4, step=4), x, epsilon=0.5, guarded=True)),
}


# Gradients


@pytest.mark.parametrize("name", ON_LOGITS)
def test_gradient_of_losses_on_logits(name):
    assert_gradient(ON_LOGITS[name], REPRESENTATION)


@pytest.mark.parametrize("name", ON_FEATURES)
def test_gradient_of_losses_on_features(name):
    assert_gradient(ON_FEATURES[name], FEATURES)


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("iterations", [1, 2, 5, 100])
def test_gradient_of_sinkhorn_after_any_number_of_iterations(iterations, guarded):
    x, y = draw(6, 3, step=5), draw(6, 3, step=6)
    options = {"epsilon": 0.3 if guarded else 1.0, "iterations": iterations, "threshold": 0.0, "guarded": guarded}
    assert_gradient(lambda x: sinkhorn(x, y, **options), x)


# Distillation


def test_distillation_by_hand():
    observation, representation = np.log([[1.0, 3.0]]), np.log([[1.0, 1.0]])
    paper = distillation(observation, representation)
    assert paper[0] == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    np.testing.assert_allclose(paper[1], [[0.25, -0.25]])
    reference = distillation(observation, representation, form="reference")
    assert reference[0] == pytest.approx((np.log(0.5) - 0.5) / 2)


def test_distillation_of_equal_outputs_is_zero_and_never_negative():
    loss, gradient = distillation(OBSERVATION, OBSERVATION + 3)
    assert loss == pytest.approx(0, abs=1e-15)
    assert np.abs(gradient).max() < 1e-15
    for step in range(20):
        assert distillation(3 * draw(4, 6, step=step), 3 * draw(4, 6, step=step + 50))[0] > 0


def test_the_reference_form_stays_in_its_narrow_range():
    lowest = -(np.log(395) + 1 / 395) / 395
    assert lowest == pytest.approx(-0.0151, abs=5e-5)
    assert distillation(draw(2, 395), np.zeros((2, 395)), form="reference")[0] == pytest.approx(lowest)
    for scale in (0.1, 1, 10, 100):
        value = distillation(scale * draw(8, 395), scale * draw(8, 395, step=1), form="reference")[0]
        assert lowest <= value <= 0


def test_descending_the_reference_form_raises_entropy():
    logits = 3 * draw(4, 20)
    _, gradient = distillation(draw(4, 20, step=1), logits, form="reference")

    def entropy(x):
        p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        return -(p * np.log(p)).sum()

    assert entropy(logits - 10 * gradient) > entropy(logits)


# Jensen-Shannon


def test_jensen_shannon_by_hand():
    p, q = np.array([0.25, 0.75]), np.array([0.5, 0.5])
    m = (p + q) / 2
    expected = 0.5 * (p * np.log(p / m)).sum() + 0.5 * (q * np.log(q / m)).sum()
    assert jensen_shannon(np.log([p]), np.log([q]))[0] == pytest.approx(expected)


def test_jensen_shannon_is_symmetric_and_bounded():
    loss, first, other = jensen_shannon(OBSERVATION, REPRESENTATION)
    swapped = jensen_shannon(REPRESENTATION, OBSERVATION)
    assert swapped[0] == pytest.approx(loss)
    np.testing.assert_allclose(swapped[1], other)
    np.testing.assert_allclose(swapped[2], first)
    assert 0 < loss < np.log(2)
    assert jensen_shannon(OBSERVATION, OBSERVATION)[0] == pytest.approx(0, abs=1e-15)
    apart = 1000 * np.eye(2)
    assert jensen_shannon(apart, apart[::-1])[0] == pytest.approx(np.log(2))


# Sinkhorn


def test_sinkhorn_of_one_point_each_is_the_cost():
    loss, to_x, to_y = sinkhorn(np.array([[1.0, 2.0]]), np.array([[4.0, 6.0]]))
    assert loss == pytest.approx(25)
    np.testing.assert_allclose(to_x, [[-6, -8]])
    np.testing.assert_allclose(to_y, [[6, 8]])


def test_sinkhorn_of_one_iteration_by_hand():
    x, y, epsilon = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]]), 2.0
    costs = np.array([[0.0, 4.0], [1.0, 1.0]])
    kernel = np.exp(-costs / epsilon)
    a = 0.5 / kernel.sum(axis=1)
    b = 0.5 / (a @ kernel)
    plan = a[:, None] * kernel * b
    assert sinkhorn(x, y, epsilon=epsilon, iterations=1)[0] == pytest.approx((plan * costs).sum())


@pytest.mark.parametrize("scale", [0.1, 0.3, 1.0])
def test_guarded_sinkhorn_is_the_public_arrangement(scale):
    """Sums of exponentials themselves, not of their logarithms, with 1e-6 and 1e-8 added."""
    x, y = scale * draw(6, 3, step=8), scale * draw(5, 3, step=9)
    costs = ((x[:, None] - y) ** 2).sum(axis=2)
    u, v, epsilon = np.zeros(6), np.zeros(5), 0.01
    for _ in range(100):
        before = u
        kernel = np.exp((u[:, None] + v - costs) / epsilon)
        u = u + epsilon * (np.log(1 / 6 + 1e-8) - np.log(kernel.sum(axis=1) + 1e-6))
        kernel = np.exp((u[:, None] + v - costs) / epsilon)
        v = v + epsilon * (np.log(1 / 5 + 1e-8) - np.log(kernel.sum(axis=0) + 1e-6))
        if np.abs(u - before).sum() < 0.1:
            break
    expected = (np.exp((u[:, None] + v - costs) / epsilon) * costs).sum()
    assert sinkhorn(x, y, guarded=True)[0] == pytest.approx(expected, rel=1e-9)
    if scale == 1.0:
        assert abs(sinkhorn(x, y)[0] / expected - 1) > 1e-3


def test_converged_sinkhorn_with_little_entropy_is_the_best_assignment():
    from scipy.optimize import linear_sum_assignment

    x, y = draw(8, 3, step=7), draw(8, 3, step=8)
    costs = ((x[:, None] - y) ** 2).sum(axis=2)
    expected = costs[linear_sum_assignment(costs)].mean()
    assert sinkhorn(x, y, iterations=5000, threshold=1e-9)[0] == pytest.approx(expected, rel=1e-3)


def test_sinkhorn_stops_when_its_potentials_rest():
    x, y = draw(6, 3, step=9), draw(6, 3, step=10)
    changes, u, v = [], np.zeros(6), np.zeros(6)
    costs = ((x[:, None] - y) ** 2).sum(axis=2)
    for _ in range(50):
        updated = -(np.log(6) + np.log(np.exp(v - costs).sum(axis=1)))
        v = -(np.log(6) + np.log(np.exp(updated[:, None] - costs).sum(axis=0)))
        changes.append(np.abs(updated - u).sum())
        u = updated
    done = next(i for i, change in enumerate(changes) if change < 0.1) + 1
    assert 1 < done < 50
    stopped, fixed = (
        sinkhorn(x, y, epsilon=1.0, iterations=count, threshold=threshold)[0]
        for count, threshold in ((100, 0.1), (done, 0.0))
    )
    assert stopped == fixed
    assert sinkhorn(x, y, epsilon=1.0, iterations=done - 1)[0] != stopped


def test_sinkhorn_is_stable_where_the_kernel_underflows():
    loss, *gradients = sinkhorn(1000 * draw(5, 3), 1000 * draw(5, 3, step=1))
    assert np.isfinite(loss)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_mutual_learning_of_equal_outputs_is_almost_zero():
    sure = 20 * np.eye(6)
    assert mutual_learning(sure, sure)[0] == pytest.approx(0, abs=1e-6)
    assert mutual_learning(sure, np.roll(20 * np.eye(6)[:3], 1, axis=1).repeat(2, axis=0))[0] > 0.1


# Rank and centres


def brute_force_rank(features, labels, modalities, within, across):
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    total = 0.0
    for i in range(len(labels)):
        for same, (margin, alpha) in ((True, within), (False, across)):
            pulled, pushed = [], []
            for j in range(len(labels)):
                distance = np.linalg.norm(features[i] - features[j])
                if j == i or (modalities[i] == modalities[j]) != same:
                    continue
                if labels[i] == labels[j]:
                    pulled.append(max(0.0, distance - (alpha - margin)))
                elif distance < alpha:
                    pushed.append((np.exp(alpha - distance), alpha - distance))
            total += sum(pulled) / (len(pulled) + 1e-5)
            total += sum(w * s for w, s in pushed) / (sum(w for w, _ in pushed) + 1e-5)
    return total / len(labels)


@pytest.mark.parametrize("within", [(0.9, 2.2), (0.2, 1.0)])
def test_rank_equals_brute_force(within):
    expected = brute_force_rank(FEATURES, LABELS, MODALITIES, within, (1.0, 2.0))
    assert ranked_list(FEATURES, LABELS, MODALITIES, within=within)[0] == pytest.approx(expected)
    assert expected > 0


def test_centres_of_one_identity_cost_nothing():
    value, gradient = centre_triplet(FEATURES, LABELS * 0, MODALITIES)
    assert value == 0
    assert not gradient.any()


def test_rank_pulls_positives_and_pushes_negatives():
    pair = np.array([[1.0, 0.0], [np.cos(2), np.sin(2)]])
    only_positive = ranked_list(pair, np.array([0, 0]), np.array([0, 0]))
    distance = 2 * np.sin(1)
    assert only_positive[0] == pytest.approx((distance - 1.3) / 1.00001)
    after = ranked_list(pair - 0.01 * only_positive[1], np.array([0, 0]), np.array([0, 0]))[0]
    assert after < only_positive[0]
    only_negative = ranked_list(pair, np.array([0, 1]), np.array([0, 1]))
    weight = np.exp(2 - distance)
    assert only_negative[0] == pytest.approx((2 - distance) * weight / (weight + 1e-5))


def test_rank_ignores_the_length_of_features():
    loss, gradient = ranked_list(FEATURES, LABELS, MODALITIES)
    longer, longer_gradient = ranked_list(5 * FEATURES, LABELS, MODALITIES)
    assert longer == pytest.approx(loss)
    np.testing.assert_allclose(5 * longer_gradient, gradient)
    np.testing.assert_allclose((gradient * FEATURES).sum(axis=1), 0, atol=1e-14)


def test_centre_triplet_is_the_triplet_of_centres():
    centres = FEATURES.reshape(6, 2, 4).mean(axis=1)
    loss, gradient = centre_triplet(FEATURES, LABELS, MODALITIES)
    expected = triplet(centres, np.repeat([0, 1, 2], 2))
    assert loss == pytest.approx(expected[0])
    np.testing.assert_allclose(gradient, np.repeat(expected[1], 2, axis=0) / 2)


def test_centre_triplet_of_uneven_groups():
    keep = np.array([0, 1, 2, 4, 6, 7, 8, 9, 11])
    centres = [FEATURES[keep[keep // 2 == group]].mean(axis=0) for group in range(6)]
    loss = centre_triplet(FEATURES[keep], LABELS[keep], MODALITIES[keep])[0]
    assert loss == pytest.approx(triplet(np.array(centres), np.repeat([0, 1, 2], 2))[0])


# Invariances of all


@pytest.mark.parametrize("dead", [0.0, 1e9, np.nan])
def test_dead_columns_change_nothing_and_have_no_gradient(dead):
    first, other = (
        np.concatenate([logits, np.full((12, 2), dead)], axis=1) for logits in (OBSERVATION, REPRESENTATION)
    )
    for function in (
        distillation,
        lambda a, b, classes=None: distillation(a, b, form="reference", classes=classes),
        jensen_shannon,
        mutual_learning,
    ):
        loss, *gradients = function(first, other, classes=5)
        expected, *expected_gradients = function(OBSERVATION, REPRESENTATION)
        assert loss == expected
        for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
            np.testing.assert_array_equal(gradient[:, :5], expected_gradient)
            assert not gradient[:, 5:].any()


def test_losses_follow_a_permutation_of_the_batch():
    order = rng(0, "order").permutation(12)
    for function in (distillation, jensen_shannon, mutual_learning):
        loss, *gradients = function(OBSERVATION, REPRESENTATION)
        permuted, *permuted_gradients = function(OBSERVATION[order], REPRESENTATION[order])
        assert permuted == pytest.approx(loss)
        np.testing.assert_allclose(permuted_gradients[-1], gradients[-1][order], atol=1e-12)
    for function in (ranked_list, centre_triplet):
        loss, gradient = function(FEATURES, LABELS, MODALITIES)
        permuted, permuted_gradient = function(FEATURES[order], LABELS[order], MODALITIES[order])
        assert permuted == pytest.approx(loss)
        np.testing.assert_allclose(permuted_gradient, gradient[order], atol=1e-14)


# Guards


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: distillation(OBSERVATION, REPRESENTATION, form="other"), "paper"),
        (lambda: distillation(OBSERVATION, REPRESENTATION[:, :4]), "shapes"),
        (lambda: distillation(OBSERVATION * np.nan, REPRESENTATION), "finite"),
        (lambda: jensen_shannon(OBSERVATION[:3], REPRESENTATION), "shapes"),
        (lambda: mutual_learning(OBSERVATION[:, :3], REPRESENTATION), "points"),
        (lambda: mutual_learning(OBSERVATION, REPRESENTATION, form="other"), "'paper' or 'reference', but is 'other'"),
        (lambda: sinkhorn(FEATURES * np.inf, FEATURES), "finite"),
        (lambda: sinkhorn(FEATURES, FEATURES, epsilon=0.0), "above 0"),
        (lambda: sinkhorn(FEATURES[:0], FEATURES), "points"),
        (lambda: ranked_list(FEATURES * 0, LABELS, MODALITIES), "length 0"),
        (lambda: ranked_list(FEATURES * np.nan, LABELS, MODALITIES), "finite"),
        (lambda: ranked_list(FEATURES, LABELS, MODALITIES[:3]), "modality"),
        (lambda: centre_triplet(FEATURES, LABELS[:3], MODALITIES), "modality"),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
