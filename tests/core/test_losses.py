"""The oracle losses of MMT: known values, finite differences, invariances and guards."""

import numpy as np
import pytest

from duoreid.core.losses import cross_entropy, mmt, soft_cross_entropy, soft_softmax_triplet, softmax_triplet, triplet
from duoreid.core.random import rng
from tests.core.gradients import assert_gradient

LABELS = np.array([0, 0, 1, 1, 2, 2, 4, 4])
WEIGHTS = ("hard_ce", "hard_triplet", "soft_ce", "soft_triplet")


def draw(*shape, step=0):
    return rng(0, "test losses", 0, step).normal(size=shape)


LOGITS, TEACHER_LOGITS = draw(8, 5, step=1), draw(8, 5, step=2)
FEATURES, TEACHER_FEATURES = draw(8, 3, step=3), draw(8, 3, step=4)

ON_LOGITS = {
    "hard": lambda logits: cross_entropy(logits, LABELS),
    "hard, no smoothing": lambda logits: cross_entropy(logits, LABELS, smoothing=0.0),
    "soft": lambda logits: soft_cross_entropy(logits, TEACHER_LOGITS),
}
ON_FEATURES = {
    "softmax triplet": lambda features: softmax_triplet(features, LABELS),
    "softmax triplet, margin": lambda features: softmax_triplet(features, LABELS, margin=0.3),
    "soft softmax triplet": lambda features: soft_softmax_triplet(features, TEACHER_FEATURES, LABELS),
    "triplet": lambda features: triplet(features, LABELS),
}


# Known values


def test_cross_entropy_by_hand():
    logits, labels = np.log([[3.0, 1.0], [1.0, 1.0]]), np.array([0, 1])
    loss, gradient = cross_entropy(logits, labels, smoothing=0.0)
    assert loss == pytest.approx(-(np.log(3 / 4) + np.log(1 / 2)) / 2)
    np.testing.assert_allclose(gradient, [[-1 / 8, 1 / 8], [1 / 4, -1 / 4]])


def test_smoothing_by_hand():
    loss, gradient = cross_entropy(np.log([[3.0, 1.0]]), np.array([0]), smoothing=0.2)
    assert loss == pytest.approx(-0.9 * np.log(3 / 4) - 0.1 * np.log(1 / 4))
    np.testing.assert_allclose(gradient, [[3 / 4 - 0.9, 1 / 4 - 0.1]])


def test_uniform_logits_cost_log_classes_whatever_the_smoothing():
    for smoothing in (0.0, 0.1, 0.7):
        assert cross_entropy(np.zeros((8, 5)), LABELS, smoothing=smoothing)[0] == pytest.approx(np.log(5))


def test_soft_cross_entropy_by_hand():
    loss, gradient = soft_cross_entropy(np.log([[3.0, 1.0]]), np.log([[1.0, 1.0]]))
    assert loss == pytest.approx(-0.5 * np.log(3 / 4) - 0.5 * np.log(1 / 4))
    np.testing.assert_allclose(gradient, [[1 / 4, -1 / 4]])


def test_softmax_triplet_by_hand():
    features, labels = np.array([[0.0], [1.0], [3.0]]), np.array([0, 0, 1])
    # d_ap, d_an: (1, 3), (1, 2) and (0, 2), the last anchor being its own positive.
    differences = np.array([1 - 3, 1 - 2, 1e-6 - 2])
    loss, gradient = softmax_triplet(features, labels)
    assert loss == pytest.approx(np.log1p(np.exp(differences)).mean())
    slope = 1 / (1 + np.exp(-differences)) / 3
    by_hand = [-slope[0] + slope[0] - slope[1], slope[0] + slope[1] + slope[1] + slope[2], 0]
    by_hand[2] = -sum(by_hand)
    np.testing.assert_allclose(gradient[:, 0], by_hand)


def test_softmax_triplet_margin_weighs_both_sides():
    apart, together = (softmax_triplet(FEATURES, LABELS, margin=margin)[0] for margin in (0.0, 1.0))
    assert softmax_triplet(FEATURES, LABELS, margin=0.3)[0] == pytest.approx(0.7 * apart + 0.3 * together)


def test_triplet_by_hand():
    features, labels = np.array([[0.0], [1.0], [1.2], [5.0]]), np.array([0, 0, 1, 1])
    # d_ap, d_an: (1, 1.2), (1, 0.2), (3.8, 0.2), (3.8, 4)
    loss, gradient = triplet(features, labels, margin=0.3)
    assert loss == pytest.approx((0.1 + 1.1 + 3.9 + 0.1) / 4)
    np.testing.assert_allclose(gradient[:, 0], np.array([-1, 5, -5, 1]) / 4)


def test_triplet_is_zero_when_identities_are_far_apart():
    loss, gradient = triplet(np.array([[0.0], [0.1], [9.0], [9.1]]), np.array([0, 0, 1, 1]))
    assert loss == 0
    assert not gradient.any()


def test_the_hinge_itself_has_no_gradient():
    # d_ap - d_an + margin: 1 - 2.25 + 0.25, 1 - 1.25 + 0.25 = 0 and 0 - 1.25 + 0.25
    loss, gradient = triplet(np.array([[0.0], [1.0], [2.25]]), np.array([0, 0, 1]), margin=0.25)
    assert loss == 0
    assert not gradient.any()


def test_a_clipped_distance_has_no_gradient():
    # d_ap is clipped for all three; x_0 and x_1 move away from x_2 only.
    loss, gradient = triplet(np.array([[0.0], [1e-8], [5.0]]), np.array([0, 0, 1]), margin=10)
    assert loss == pytest.approx(5 + 1e-6)
    np.testing.assert_allclose(gradient[:, 0], np.array([1, 2, -3]) / 3)


def test_one_live_class_costs_nothing():
    loss, gradient = cross_entropy(LOGITS, 0 * LABELS, classes=1)
    assert loss == 0
    assert not gradient.any()


def test_a_teacher_equal_to_the_student_leaves_no_gradient():
    assert np.abs(soft_cross_entropy(LOGITS, LOGITS)[1]).max() < 1e-15
    assert np.abs(soft_softmax_triplet(FEATURES, FEATURES, LABELS)[1]).max() < 1e-15


def test_a_certain_teacher_equals_hard_labels():
    certain = 100.0 * np.eye(5)[LABELS]
    loss, gradient = soft_cross_entropy(LOGITS, certain)
    expected = cross_entropy(LOGITS, LABELS, smoothing=0.0)
    assert loss == pytest.approx(expected[0])
    np.testing.assert_allclose(gradient, expected[1], atol=1e-15)
    sure = 1000.0 * np.eye(5)[LABELS]
    assert soft_softmax_triplet(FEATURES, sure, LABELS)[0] == pytest.approx(softmax_triplet(FEATURES, LABELS)[0])


def test_soft_triplet_reads_the_teacher_at_the_students_indices():
    features, labels = np.array([[0.0], [1.0], [3.0]]), np.array([0, 0, 1])
    teacher = np.array([[0.0], [4.0], [1.0]])
    student_pairs = np.array([[1, 3], [1, 2], [1e-6, 2]])
    teacher_pairs = np.array([[4, 1], [4, 3], [1e-6, 3]])
    target = np.exp(teacher_pairs) / np.exp(teacher_pairs).sum(axis=1, keepdims=True)
    logs = student_pairs - np.log(np.exp(student_pairs).sum(axis=1, keepdims=True))
    assert soft_softmax_triplet(features, teacher, labels)[0] == pytest.approx(-(target * logs).sum(axis=1).mean())


# Gradients


@pytest.mark.parametrize("name", ON_LOGITS)
def test_gradient_of_losses_on_logits(name):
    assert_gradient(ON_LOGITS[name], LOGITS)


@pytest.mark.parametrize("name", ON_FEATURES)
def test_gradient_of_losses_on_features(name):
    assert_gradient(ON_FEATURES[name], FEATURES)


def test_gradient_where_each_identity_has_one_image():
    assert_gradient(lambda features: softmax_triplet(features, np.arange(6)), draw(6, 3, step=5))


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0])
def test_one_identity_has_no_negatives_and_costs_nothing(margin):
    losses = (
        softmax_triplet(FEATURES, LABELS * 0, margin),
        triplet(FEATURES, LABELS * 0, margin),
        soft_softmax_triplet(FEATURES, TEACHER_FEATURES, LABELS * 0),
    )
    for value, gradient in losses:
        assert value == 0
        assert gradient.shape == FEATURES.shape
        assert not gradient.any()


def test_gradient_of_equal_features_is_finite():
    features = np.repeat(draw(4, 3, step=6), 2, axis=0)
    for name, function in ON_FEATURES.items():
        assert np.isfinite(function(features)[1]).all(), name


@pytest.mark.parametrize("student", [0, 1])
@pytest.mark.parametrize("weights", [{}, *({other: 0.0 for other in WEIGHTS if other != name} for name in WEIGHTS)])
def test_gradient_of_mmt(student, weights):
    students, teachers = networks()

    def on(output):
        def function(value):
            changed = [list(outputs) for outputs in students]
            changed[student][output] = value
            loss, _, gradients = mmt(changed, teachers, LABELS, classes=5, **weights)
            return loss, gradients[student][output]

        return function

    logits_weigh = weights.get("hard_ce", 1) + weights.get("soft_ce", 1) > 0
    features_weigh = weights.get("hard_triplet", 1) + weights.get("soft_triplet", 1) > 0
    for output, weighs in enumerate((logits_weigh, features_weigh)):
        if weighs:
            assert_gradient(on(output), students[student][output])
        else:
            assert not on(output)(students[student][output])[1].any()


# Invariances


@pytest.mark.parametrize("name", ON_LOGITS)
def test_shifting_logits_changes_nothing(name):
    shifted = ON_LOGITS[name](LOGITS + 1000 * draw(8, 1, step=7))
    expected = ON_LOGITS[name](LOGITS)
    assert shifted[0] == pytest.approx(expected[0])
    np.testing.assert_allclose(shifted[1], expected[1], atol=1e-11)


@pytest.mark.parametrize("dead", [0.0, -1e9, 1e9, np.nan])
def test_dead_columns_change_nothing_and_have_no_gradient(dead):
    padded = np.concatenate([LOGITS, np.full((8, 3), dead)], axis=1)
    teacher = np.concatenate([TEACHER_LOGITS, np.full((8, 3), dead)], axis=1)
    pairs = [
        (cross_entropy(padded, LABELS, classes=5), cross_entropy(LOGITS, LABELS)),
        (soft_cross_entropy(padded, teacher, classes=5), soft_cross_entropy(LOGITS, TEACHER_LOGITS)),
    ]
    for (loss, gradient), (expected, expected_gradient) in pairs:
        assert loss == expected
        np.testing.assert_array_equal(gradient[:, :5], expected_gradient)
        assert not gradient[:, 5:].any()


def test_losses_follow_a_permutation_of_the_batch():
    order = rng(0, "order").permutation(8)
    pairs = [
        (cross_entropy(LOGITS, LABELS), cross_entropy(LOGITS[order], LABELS[order])),
        (soft_cross_entropy(LOGITS, TEACHER_LOGITS), soft_cross_entropy(LOGITS[order], TEACHER_LOGITS[order])),
        (softmax_triplet(FEATURES, LABELS), softmax_triplet(FEATURES[order], LABELS[order])),
        (triplet(FEATURES, LABELS), triplet(FEATURES[order], LABELS[order])),
        (
            soft_softmax_triplet(FEATURES, TEACHER_FEATURES, LABELS),
            soft_softmax_triplet(FEATURES[order], TEACHER_FEATURES[order], LABELS[order]),
        ),
    ]
    for (loss, gradient), (permuted, permuted_gradient) in pairs:
        assert permuted == pytest.approx(loss)
        np.testing.assert_allclose(permuted_gradient, gradient[order], atol=1e-14)


@pytest.mark.parametrize("name", ON_FEATURES)
def test_moving_all_features_together_changes_nothing(name):
    rotation = np.linalg.qr(draw(3, 3, step=8))[0]
    loss, gradient = ON_FEATURES[name](FEATURES)
    moved, moved_gradient = ON_FEATURES[name](FEATURES @ rotation + 1)
    assert moved == pytest.approx(loss)
    np.testing.assert_allclose(moved_gradient, gradient @ rotation, atol=1e-12)
    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-15)


def test_logits_gradients_sum_to_zero_for_each_image():
    for function in ON_LOGITS.values():
        np.testing.assert_allclose(function(LOGITS)[1].sum(axis=1), 0, atol=1e-15)


def test_float32_input_is_computed_in_float64_and_left_untouched():
    logits, features = LOGITS.astype(np.float32), FEATURES.astype(np.float32)
    before = logits.copy(), features.copy()
    assert cross_entropy(logits, LABELS)[1].dtype == softmax_triplet(features, LABELS)[1].dtype == np.float64
    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(features, before[1])
    assert softmax_triplet(features, LABELS)[0] == softmax_triplet(features.astype(float), LABELS)[0]


# MMT


def networks():
    students = [(draw(8, 7, step=10), draw(8, 3, step=11)), (draw(8, 7, step=12), draw(8, 3, step=13))]
    teachers = [(draw(8, 7, step=14), draw(8, 3, step=15)), (draw(8, 7, step=16), draw(8, 3, step=17))]
    return students, teachers


def test_mmt_is_the_sum_of_its_parts_with_crossed_teachers():
    (one, two), (teacher_one, teacher_two) = networks()
    total, parts, _ = mmt((one, two), (teacher_one, teacher_two), LABELS, classes=5)
    expected = {
        "hard_ce": sum(cross_entropy(logits, LABELS, classes=5)[0] for logits, _ in (one, two)),
        "hard_triplet": sum(softmax_triplet(features, LABELS)[0] for _, features in (one, two)),
        "soft_ce": soft_cross_entropy(one[0], teacher_two[0], classes=5)[0]
        + soft_cross_entropy(two[0], teacher_one[0], classes=5)[0],
        "soft_triplet": soft_softmax_triplet(one[1], teacher_two[1], LABELS)[0]
        + soft_softmax_triplet(two[1], teacher_one[1], LABELS)[0],
    }
    assert parts == pytest.approx(expected)
    weights = {"hard_ce": 0.5, "hard_triplet": 0.2, "soft_ce": 0.5, "soft_triplet": 0.8}
    assert total == pytest.approx(sum(weights[name] * expected[name] for name in WEIGHTS))


def test_each_weight_of_mmt_switches_its_part():
    students, teachers = networks()
    full, parts, _ = mmt(students, teachers, LABELS)
    for name, weight in zip(WEIGHTS, (0.5, 0.2, 0.5, 0.8), strict=True):
        without = mmt(students, teachers, LABELS, **{name: 0.0})[0]
        assert full - without == pytest.approx(weight * parts[name])
        assert parts[name] > 0


def test_mmt_is_symmetric_in_the_two_pairs():
    students, teachers = networks()
    total, _, gradients = mmt(students, teachers, LABELS)
    swapped, _, swapped_gradients = mmt(students[::-1], teachers[::-1], LABELS)
    assert swapped == pytest.approx(total)
    np.testing.assert_array_equal(swapped_gradients[0][1], gradients[1][1])


# Guards


def refusals():
    students, teachers = networks()
    infinite = np.where(np.arange(5) == 2, np.inf, LOGITS)
    return [
        (lambda: cross_entropy(LOGITS, LABELS + 1), "live classes"),
        (lambda: cross_entropy(LOGITS, LABELS, classes=4), "live classes"),
        (lambda: cross_entropy(LOGITS, LABELS - 1), "outliers"),
        (lambda: cross_entropy(LOGITS, LABELS, classes=6), "capacity"),
        (lambda: cross_entropy(LOGITS, LABELS, classes=0), "capacity"),
        (lambda: cross_entropy(LOGITS, LABELS[:5]), "Labels must be integers"),
        (lambda: cross_entropy(LOGITS, LABELS.astype(float)), "Labels must be integers"),
        (lambda: cross_entropy(LOGITS, LABELS, smoothing=1.0), "smoothing"),
        (lambda: cross_entropy(LOGITS * np.nan, LABELS), "finite"),
        (lambda: cross_entropy(np.zeros((0, 5)), LABELS[:0]), "shape"),
        (lambda: soft_cross_entropy(LOGITS, TEACHER_LOGITS[:, :4]), "capacity"),
        (lambda: soft_cross_entropy(LOGITS, infinite), "finite"),
        (lambda: softmax_triplet(FEATURES * np.nan, LABELS), "finite"),
        (lambda: softmax_triplet(FEATURES * np.nan, LABELS * 0), "finite"),
        (lambda: softmax_triplet(FEATURES, LABELS * 0.0), "integer labels"),
        (lambda: softmax_triplet(FEATURES[:0], LABELS[:0]), "2 identities"),
        (lambda: softmax_triplet(FEATURES, LABELS, margin=1.5), "margin"),
        (lambda: soft_softmax_triplet(FEATURES, TEACHER_FEATURES * np.nan, LABELS), "teacher"),
        (lambda: soft_softmax_triplet(FEATURES, TEACHER_FEATURES[:6], LABELS), "one batch"),
        (lambda: mmt(students[:1], teachers, LABELS), "two students"),
    ]


@pytest.mark.parametrize("number", range(len(refusals())))
def test_bad_input_is_refused(number):
    call, text = refusals()[number]
    with pytest.raises(ValueError, match=text):
        call()
