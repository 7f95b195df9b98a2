"""Central finite differences: the reference for every gradient of the oracle."""

import numpy as np


def finite_differences(loss, x, step=1e-6):
    """Return the gradient of loss(x) -> float at x by central differences, in float64."""
    x = np.array(x, dtype=np.float64)
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        centre = x[index]
        x[index] = centre + step
        above = loss(x)
        x[index] = centre - step
        below = loss(x)
        x[index] = centre
        gradient[index] = (above - below) / (2 * step)
    return gradient


def assert_gradient(function, x, rtol=1e-6, step=1e-5):
    """function(x) -> (loss, gradient): hold the gradient to rtol of its largest entry."""
    loss, gradient = function(x)[:2]
    expected = finite_differences(lambda value: function(value)[0], x, step)
    assert np.isfinite(loss)
    assert gradient.shape == np.shape(x)
    assert np.abs(expected).max() > 1e-6, "a gradient of 0 everywhere proves nothing"
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=rtol * np.abs(expected).max())


DIRECTIONS = 16
"""Of `assert_slopes`: a wrong gradient is missed with a probability of at most 2 ** -16."""


def assert_slopes(function, x, rtol=1e-6, step=1e-6):
    """function(x) -> (loss, gradient): hold the slopes in random directions of -1 and 1 to rtol of the largest entry.

    For an objective whose every entry would take minutes. An entry that is wrong by twice the tolerance puts a slope
    outside for one sign of its own at least, whatever the others' errors are: a direction sees it in half of all cases.
    """
    loss, gradient = function(x)[:2]
    assert np.isfinite(loss)
    assert gradient.shape == np.shape(x)
    allowed = rtol * np.abs(gradient).max()
    assert allowed > 1e-6 * rtol, "a gradient of 0 everywhere proves nothing"
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (DIRECTIONS, *np.shape(x)))
    for sign in signs:
        slope = (function(x + step * sign)[0] - function(x - step * sign)[0]) / (2 * step)
        assert abs(slope - (gradient * sign).sum()) <= allowed
