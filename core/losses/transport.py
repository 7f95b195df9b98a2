"""The entropic Wasserstein distance, with its gradient, in float64: MVD's conventional mutual learning (CML)."""

from __future__ import annotations

import numpy as np

from duoreid.core.losses.classification import live_logits, log_softmax


def mutual_learning(
    first: np.ndarray, second: np.ndarray, *, classes: int | None = None
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return `sinkhorn` between the rows of two softmax outputs, and the gradients for both logits.

    first, second: logits (B, capacity), of which the first `classes` are live. Raises ValueError as `sinkhorn`.
    Source: Tian et al., "Farewell to Mutual Information", CVPR 2021 (CML).
    """
    p, q = (np.exp(log_softmax(live_logits(logits, classes))) for logits in (first, second))
    loss, *upstream = sinkhorn(p, q)
    gradients = []
    for logits, probabilities, slope in zip((first, second), (p, q), upstream, strict=True):
        gradient = np.zeros(np.shape(logits))
        mean = (probabilities * slope).sum(axis=1, keepdims=True)
        gradient[:, : p.shape[1]] = probabilities * (slope - mean)
        gradients.append(gradient)
    return loss, *gradients


def sinkhorn(
    x: np.ndarray, y: np.ndarray, *, epsilon: float = 0.01, iterations: int = 100, threshold: float = 0.1
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return <P, C>, the cost of the entropic transport plan between two point clouds, and both gradients.

    x: (B, D), y: (N, D), each point with equal weight. C_ij = |x_i - y_j|^2. In the log domain, from u = v = 0:
    u_i = epsilon (log 1/B - log sum_j exp((v_j - C_ij) / epsilon)), then v likewise from u and the columns,
    until sum_i |change of u_i| < threshold or `iterations` are done; P_ij = exp((u_i + v_j - C_ij) / epsilon).
    The gradient flows through all iterations and the plan, as automatic differentiation of the public algorithm
    gives it; their number is a constant. Holding P constant instead would give P as the gradient of C, which is
    that of the entropic cost <P, C> - epsilon H(P) at convergence, another function.
    Raises ValueError on shapes that do not match, what is not finite, or epsilon or iterations not above 0.

    MVD's public code sums as here, but adds 1e-6 inside the logarithm against underflow, which biases u and v
    where C exceeds about 14 epsilon; the log domain needs no guard.
    Source: Cuturi, "Sinkhorn Distances", NIPS 2013; Peyré, Cuturi, "Computational Optimal Transport", section 4.4.
    """
    x, y = _check(x, y, epsilon, iterations)
    costs = ((x[:, None] - y) ** 2).sum(axis=2)
    u, v = np.zeros(len(x)), np.zeros(len(y))
    history = []
    for _ in range(iterations):
        by_rows = (v - costs) / epsilon
        updated = -epsilon * (np.log(len(x)) + _logsumexp(by_rows, axis=1))
        by_columns = (updated[:, None] - costs) / epsilon
        v = -epsilon * (np.log(len(y)) + _logsumexp(by_columns, axis=0))
        history.append((_softmax(by_rows, axis=1), _softmax(by_columns, axis=0)))
        change, u = np.abs(updated - u).sum(), updated
        if change < threshold:
            break
    plan = np.exp((u[:, None] + v - costs) / epsilon)
    slope = _backward(plan, costs, epsilon, history)
    return (
        float((plan * costs).sum()),
        2 * (slope.sum(axis=1)[:, None] * x - slope @ y),
        2 * (slope.sum(axis=0)[:, None] * y - slope.T @ x),
    )


def _backward(
    plan: np.ndarray, costs: np.ndarray, epsilon: float, history: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Return d<P, C> / dC, given the softmaxes of each iteration over rows R and columns S.

    du_i / dv_j = -R_ij and du_i / dC_ij = R_ij; dv_j / du_i = -S_ij and dv_j / dC_ij = S_ij.
    """
    weighted = plan * costs / epsilon
    slope = plan - weighted
    to_u, to_v = weighted.sum(axis=1), weighted.sum(axis=0)
    for rows, columns in reversed(history):
        to_u = to_u - columns @ to_v
        slope = slope + columns * to_v + rows * to_u[:, None]
        to_u, to_v = np.zeros_like(to_u), -(to_u @ rows)
    return slope


def _logsumexp(x: np.ndarray, axis: int) -> np.ndarray:
    highest = x.max(axis=axis)
    return highest + np.log(np.exp(x - np.expand_dims(highest, axis)).sum(axis=axis))


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    return np.exp(x - np.expand_dims(_logsumexp(x, axis), axis))


def _check(x: np.ndarray, y: np.ndarray, epsilon: float, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not len(x) or not len(y):
        raise ValueError(f"Transport needs points (B, D) and (N, D), but got {x.shape} and {y.shape}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("Transport needs finite points, but some are NaN or infinite: training has diverged.")
    if not (epsilon > 0 and iterations > 0):
        raise ValueError(f"epsilon and iterations must be above 0, but are {epsilon} and {iterations}.")
    return x, y
