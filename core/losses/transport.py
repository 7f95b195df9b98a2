"""The entropic Wasserstein distance, with its gradient, in float64: MVD's conventional mutual learning (CML)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from duoreid.core.losses.classification import live_logits, log_softmax

GUARD, MASS_GUARD = 1e-6, 1e-8
"""What MVD's public code adds to sums of exponentials and to the weights of points before it takes logarithms."""


def mutual_learning(
    first: np.ndarray, second: np.ndarray, *, classes: int | None = None, form: str = "paper"
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return `sinkhorn` between the rows of two softmax outputs, and the gradients for both logits.

    first, second: logits (B, capacity), of which the first `classes` are live. form: "paper", or "reference" for what
    the public code computes, which is guarded; it takes infrared rows first. Raises ValueError as `sinkhorn`, and on
    an unknown form.
    Source: Tian et al., "Farewell to Mutual Information", CVPR 2021 (CML).
    """
    if form not in ("paper", "reference"):
        raise ValueError(f"The form of mutual learning must be 'paper' or 'reference', but is {form!r}.")
    p, q = (np.exp(log_softmax(live_logits(logits, classes))) for logits in (first, second))
    loss, *upstream = sinkhorn(p, q, guarded=form == "reference")
    gradients = []
    for logits, probabilities, slope in zip((first, second), (p, q), upstream, strict=True):
        gradient = np.zeros(np.shape(logits))
        mean = (probabilities * slope).sum(axis=1, keepdims=True)
        gradient[:, : p.shape[1]] = probabilities * (slope - mean)
        gradients.append(gradient)
    return loss, *gradients


def sinkhorn(
    x: np.ndarray,
    y: np.ndarray,
    *,
    epsilon: float = 0.01,
    iterations: int = 100,
    threshold: float = 0.1,
    guarded: bool = False,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return <P, C>, the cost of the entropic transport plan between two point clouds, and both gradients.

    x: (B, D), y: (N, D), each point with equal weight. C_ij = |x_i - y_j|^2. In the log domain, from u = v = 0:
    u_i = epsilon (log 1/B - log sum_j exp((v_j - C_ij) / epsilon)), then v likewise from u and the columns,
    until sum_i |change of u_i| < threshold or `iterations` are done; P_ij = exp((u_i + v_j - C_ij) / epsilon).
    The gradient flows through all iterations and the plan, as automatic differentiation of the public algorithm
    gives it; their number is a constant. Holding P constant instead would give P as the gradient of C, which is
    that of the entropic cost <P, C> - epsilon H(P) at convergence, another function.

    guarded: as MVD's public code, which works on u_i + epsilon (log 1/B - log sum_j exp((u_i + v_j - C_ij) / epsilon))
    and adds 1e-6 to the sum and 1e-8 to 1/B before their logarithms. The log domain needs no guard; this one moves u
    and v where C exceeds about 14 epsilon, and with them the cost by some per cent.
    Raises ValueError on shapes that do not match, what is not finite, or epsilon or iterations not above 0.
    Source: Cuturi, "Sinkhorn Distances", NIPS 2013; Peyré, Cuturi, "Computational Optimal Transport", section 4.4.
    """
    x, y = _check(x, y, epsilon, iterations)
    costs = ((x[:, None] - y) ** 2).sum(axis=2)
    u, v = np.zeros(len(x)), np.zeros(len(y))  # in units of epsilon, as everything up to the plan
    history = []
    for _ in range(iterations):
        rows = _update(u, v - costs / epsilon, guarded)
        columns = _update(v, (rows.potential[:, None] - costs / epsilon).T, guarded)
        history.append((rows, columns))
        change = epsilon * np.abs(rows.potential - u).sum()
        u, v = rows.potential, columns.potential
        if change < threshold:
            break
    plan = np.exp(u[:, None] + v - costs / epsilon)
    slope = _backward(plan, costs, epsilon, history)
    return (
        float((plan * costs).sum()),
        2 * (slope.sum(axis=1)[:, None] * x - slope @ y),
        2 * (slope.sum(axis=0)[:, None] * y - slope.T @ x),
    )


class _Update(NamedTuple):
    """New potentials (n,) of points, the softmax of their exponents (n, m), and its share beside the guard (n,)."""

    potential: np.ndarray
    softmax: np.ndarray
    share: np.ndarray


def _update(potential: np.ndarray, exponents: np.ndarray, guarded: bool) -> _Update:
    """Return potentials that give each point its weight. exponents (n, m): of the others' potentials minus costs."""
    sums = _logsumexp(exponents, axis=1)
    softmax = np.exp(exponents - sums[:, None])
    if not guarded:
        return _Update(-np.log(len(potential)) - sums, softmax, np.ones(len(potential)))
    total = np.logaddexp(sums + potential, np.log(GUARD))
    updated = np.log(1 / len(potential) + MASS_GUARD) - total + potential
    return _Update(updated, softmax, np.exp(sums + potential - total))


def _backward(
    plan: np.ndarray, costs: np.ndarray, epsilon: float, history: list[tuple[_Update, _Update]]
) -> np.ndarray:
    """Return d<P, C> / dC, given the updates of each iteration.

    With R, s the softmax and share of the rows' update, in units of epsilon: du_i / d(old u_i) = 1 - s_i,
    du_i / dv_j = -s_i R_ij and du_i / dC_ij = s_i R_ij; of the columns' update likewise.
    """
    weighted = plan * costs / epsilon
    slope = plan - weighted
    to_u, to_v = weighted.sum(axis=1), weighted.sum(axis=0)
    for rows, columns in reversed(history):
        through = to_v * columns.share
        to_v = to_v - through
        to_u = to_u - through @ columns.softmax
        slope = slope + (columns.softmax * through[:, None]).T
        through = to_u * rows.share
        to_u = to_u - through
        to_v = to_v - through @ rows.softmax
        slope = slope + rows.softmax * through[:, None]
    return slope


def _logsumexp(x: np.ndarray, axis: int) -> np.ndarray:
    highest = x.max(axis=axis)
    return highest + np.log(np.exp(x - np.expand_dims(highest, axis)).sum(axis=axis))


def _check(x: np.ndarray, y: np.ndarray, epsilon: float, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not len(x) or not len(y):
        raise ValueError(f"Transport needs points (B, D) and (N, D), but got {x.shape} and {y.shape}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("Transport needs finite points, but some are NaN or infinite: training has diverged.")
    if not (epsilon > 0 and iterations > 0):
        raise ValueError(f"epsilon and iterations must be above 0, but are {epsilon} and {iterations}.")
    return x, y
