"""What is said of training that goes wrong."""

import re

import numpy as np
import pytest

from duoreid.core.training.divergence import HUGE, first_broken, largest, warning_of


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"a.weight": [1.0]}, "still finite"),
        ({"a.weight": [1.0], "b.weight": [np.nan, 1.0]}, r"first of 1 arrays \(of 2\) .* is b.weight$"),
        (
            {"a.weight": [np.nan], "a.running_mean": [0.0], "b.running_mean": [np.inf]},
            "is b.running_mean, so what",
        ),
    ],
)
def test_the_first_that_is_not_finite(state, told):
    message = first_broken({name: np.array(value, np.float32) for name, value in state.items()})
    assert re.search(told, message), message


def test_the_largest_number():
    state = {"a": np.array([1.0, -5.0]), "b": np.array([4.0]), "steps": np.int64(10**12), "none": np.zeros(0)}
    assert largest(state) == ("a", 5.0)
    assert largest({}) == ("", 0.0)


def test_the_warning():
    assert warning_of({"a": np.array([HUGE])}) == ""
    assert warning_of({"a": np.array([1.0]), "b": np.array([-2e29])}).startswith("warning: b has grown to 2e+29")
