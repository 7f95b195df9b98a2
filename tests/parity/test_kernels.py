"""Why float32 differs: the causes that docs/parity-kernels.md names, where they do not depend on the processor."""

import numpy as np
import pytest

from duoreid.backends.torch import probe
from duoreid.benchmarks import kernels
from duoreid.benchmarks.parity import choices
from duoreid.benchmarks.parity.exam import Exam
from duoreid.core.losses.float64 import network as judge
from duoreid.core.losses.float64 import operations
from duoreid.core.random import rng
from tests.parity.gradients import apart


def test_distances_out_of_large_squares_lose_digits(elsewhere):
    errors = dict(kernels.distances())
    assert errors["torch, that in float64, rounded"] < 0.5 * errors["torch, x x + y y - 2 x y"] < 1.5e-5


def test_long_running_sums_err_more_than_short_ones():
    draw = rng(0, "test of bisection")
    x = draw.random((2, 128, 4, 3)).astype(np.float32)
    weight = draw.standard_normal((16, 128, 3, 3)).astype(np.float32)
    true = operations.convolve(x.astype(np.float64), weight.astype(np.float64), 1)
    long, short = (judge.distance(kernels.summed(x, weight, at_once), true) for at_once in (128, 8))
    assert 0 < short < 0.7 * long < 1e-5


def test_the_fused_adam_subtracts_its_beta_in_float32(elsewhere):
    """Where this fails, MindSpore has changed and the reason can go."""
    errors = dict(kernels.moments())
    assert errors["MindSpore's fused Adam, one step from 0"] == pytest.approx(errors["1 - 0.999 in float32"], rel=0.1)
    assert errors["1 - 0.999 in float32"] > 1e-5


def test_mindspore_s_exponential_errs_more_than_torch_s(elsewhere):
    """Where this fails, MindSpore has changed and the reason can go."""
    errors = dict(kernels.exponential())
    assert errors["torch, exp"] < 3e-7
    assert 1e-6 < errors["MindSpore, exp"] < 1e-5


def test_a_switched_relu_is_found_and_makes_the_gradient_jump():
    """One choice of float64's turned over: named with its place, and all that lies between the gradients."""
    exam = Exam(size="32x16", identities=2, images=2, people=3, steps=1, batches=1)
    single, double = (probe.make_learner(exam.learner, precision=precision) for precision in ("float32", "float64"))
    right = choices.of_batch(exam, 0)
    true, own = choices.gradients(exam, probe, double, 0, right)
    for role, made in right.items():
        for expected, relu in zip(made[0], own[role][0], strict=True):
            np.testing.assert_array_equal(relu.chosen, expected.chosen, err_msg=expected.behind)
    number, at = next(
        (number, tuple(place))
        for number, choice in enumerate(right["student1"][0])
        if choice.behind == "student1.layer1.0.bn1"
        for place in np.argwhere(choice.chosen)
    )
    turned = right["student1"][0][number].chosen.copy()
    turned[at] = False
    made = list(right["student1"][0])
    made[number] = made[number]._replace(chosen=turned)
    wrong = right | {"student1": [made]}
    (told,) = choices.differences(right["student1"][0][number], made[number])
    place = tuple(int(index) for index in at[2:])
    assert told.startswith(f"ReLU behind student1.layer1.0.bn1, image {at[0]}, channel {at[1]}, place {place}: ")
    held, jumped = (choices.gradients(exam, probe, single, 0, chosen)[0] for chosen in (right, wrong))
    assert apart(held, true) < 1e-4
    assert apart(jumped, true) > 10 * apart(held, true)
    arrays, facts = choices.record(exam, probe, single)
    np.testing.assert_array_equal(arrays["held/0/student1.neck.weight"], held["student1.neck.weight"])
    assert facts[0]["choices"] == sum(choice.chosen.size for (made,) in right.values() for choice in made)


def test_equal_numbers_of_a_pooling_window_are_no_switch():
    before = np.array([[[[2.0, 2.0], [1.0, 0.0]]]])
    true, tie, wrong = (choices.Choice("bn1", before, np.array([[[[k]]]])) for k in (0, 1, 2))
    assert not list(choices.differences(true, tie))
    assert list(choices.differences(true, wrong)) == [
        "largest of 3x3 behind bn1, image 0, channel 0, place (0, 0): in float64 2 and 1"
    ]
