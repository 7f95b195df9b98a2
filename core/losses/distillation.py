"""Losses between two softmax outputs, with their gradients, in float64: MVD's distillation terms.

classes: as in `core.losses.classification`. Logits are (B, capacity), one row per image.
"""

from __future__ import annotations

import numpy as np

from duoreid.core.losses.classification import live_logits, log_softmax, soft_cross_entropy


def distillation(
    observation: np.ndarray, representation: np.ndarray, *, form: str = "paper", classes: int | None = None
) -> tuple[float, np.ndarray]:
    """Return what VSD and VCD minimise, and its gradient for the representation's logits only.

    observation, representation: logits (B, capacity), with softmax p and q over C live classes; p is a constant.

    form "paper": mean_b KL(p || q) = mean_b sum_c p (log p - log q).
    form "reference": mean_b mean_c q (log q - p), what the public code computes: it hands p, not log p, to a
    divergence whose first argument is log-probabilities and whose second is the target, the representation, and
    which averages over all B * C numbers. It lies in [-(log C + 1 / C) / C, 0], -0.0151 to 0 at 395 classes; since p is
    at most 1, minimising it mainly raises the entropy of q.

    Raises ValueError on another form, unequal shapes or what is not finite.
    Source: Tian et al., "Farewell to Mutual Information", CVPR 2021 (VSD, VCD); its public code.
    """
    if form not in ("paper", "reference"):
        raise ValueError(f"The form of distillation must be 'paper' or 'reference', but is {form!r}.")
    p, q, _ = _pair(observation, representation, classes)
    if form == "paper":
        loss, gradient = soft_cross_entropy(representation, observation, classes=classes)
        return loss + float((np.exp(p) * p).sum(axis=1).mean()), gradient
    loss = float((np.exp(q) * (q - np.exp(p))).mean())
    # d loss / d q = (log q + 1 - p) / (B C); the softmax cancels the constant.
    return loss, _through_softmax(q, (q - np.exp(p)) / p.size, np.shape(representation))


def jensen_shannon(
    first: np.ndarray, second: np.ndarray, *, classes: int | None = None
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return mean_b (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, and the gradients for both logits.

    first, second: logits (B, capacity), with softmax p and q. Lies in [0, log 2].
    Raises ValueError on unequal shapes or what is not finite.
    Source: Tian et al., "Farewell to Mutual Information", CVPR 2021, the mutual learning of VML.
    """
    p, q, middle = _pair(first, second, classes)
    loss = 0.5 * (np.exp(p) * (p - middle) + np.exp(q) * (q - middle)).sum(axis=1).mean()
    # d loss / d p = (log p - log m) / 2: the terms through m cancel, since p and q sum to 1.
    gradients = (_through_softmax(x, 0.5 * (x - middle) / len(x), np.shape(first)) for x in (p, q))
    return float(loss), *gradients


def _pair(first: np.ndarray, second: np.ndarray, classes: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log p, log q and log((p + q) / 2), float64 (B, C)."""
    if np.shape(first) != np.shape(second):
        raise ValueError(
            f"Two softmax outputs are compared row by row, but have shapes {np.shape(first)} and "
            f"{np.shape(second)}: pass logits of the same images over the same classes."
        )
    p, q = (log_softmax(live_logits(logits, classes)) for logits in (first, second))
    return p, q, np.logaddexp(p, q) - np.log(2)


def _through_softmax(log_probabilities: np.ndarray, upstream: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the logits' gradient at the full capacity, given that of their softmax (B, C)."""
    probabilities = np.exp(log_probabilities)
    gradient = np.zeros(shape)
    mean = (probabilities * upstream).sum(axis=1, keepdims=True)
    gradient[:, : upstream.shape[1]] = probabilities * (upstream - mean)
    return gradient
