"""Losses in MindSpore: the device forms of core/losses. Inputs of one floating type; gradients by autograd.

`classes` is a 0-d integer tensor, the number of live classes: the columns of the logits behind it are outside the
softmax. Shapes stay fixed while it changes.

A batch of one identity has no negatives: the triplet losses are 0 then, as is their gradient.

Where features and logits have axes in front of the batch, the loss has them too: several networks' outputs for the same
labels are compiled once.

MindSpore's clamp, maximum, argmax and ReLU drop NaN, and its log_softmax computes in float32 whatever comes in: the
forms here use neither, and whatever is not finite in the inputs is not finite in the loss.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from duoreid.backends.mindspore.layers import constant, exact, nothing, of, relu

DEAD = -1e9  # a logit that no softmax sees
MINIMUM_SQUARED_DISTANCE, MINIMUM_SQUARED_LENGTH = exact(1e-12), exact(1e-24)
GUARD = exact(1e-5)  # added to counts and sums of weights: an anchor without pairs of a kind costs 0
MARGIN = exact(0.3)  # of the triplet losses where none is given
WITHIN, ACROSS = (exact(2.2 - 0.9), exact(2.2)), (exact(2.0 - 1.0), exact(2.0))
"""Of the ranked-list loss, within a modality and across: the distance of positives, and that of negatives."""
LOG_2, LOG_GUARD = exact(math.log(2)), exact(math.log(1e-6))
MASS_GUARD = 1e-8  # with LOG_GUARD, of the guarded transport
EPSILON, THRESHOLD = exact(0.01), exact(0.1)  # of the transport, where none is given


def log_softmax(logits: Tensor) -> Tensor:
    """Logarithm of the softmax over the columns of (..., C); NaN where a row holds NaN."""
    shifted = logits - ops.stop_gradient(ops.amax(logits, -1, keepdims=True))
    return shifted - ops.log(ops.exp(shifted).sum(-1, keepdims=True))


def masked_log_softmax(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (..., C) -> (log-probabilities (..., C) with 0 in dead columns, live mask (1, C))."""
    live = (ops.arange(logits.shape[-1]) < classes).reshape((1, -1))
    logits = ops.where(live, logits, constant(DEAD, logits.dtype))
    return ops.where(live, log_softmax(logits), constant(0.0, logits.dtype)), live


def cross_entropy(logits: Tensor, labels: Tensor, classes: Tensor, smoothing: Tensor) -> Tensor:
    """Cross-entropy against (1 - smoothing) one-hot + smoothing / classes, mean over the batch.

    smoothing: a 0-d tensor of the logits' type: as a Python number it would be rounded to float32.
    """
    log_probabilities, _ = masked_log_softmax(logits, classes)
    picked = _pick(log_probabilities, labels)
    uniform = log_probabilities.sum(-1) / classes.astype(logits.dtype)
    return -(picked + smoothing * (uniform - picked)).mean(-1)


def soft_cross_entropy(logits: Tensor, teacher_logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy against the teacher's probabilities, mean over the batch (MMT, section 3.2)."""
    log_probabilities, live = masked_log_softmax(logits, classes)
    teacher, _ = masked_log_softmax(ops.stop_gradient(teacher_logits), classes)
    probabilities = ops.where(live, ops.exp(teacher), constant(0.0, logits.dtype))
    return -(probabilities * log_probabilities).sum(-1).mean(-1)


def euclidean_distances(x: Tensor) -> Tensor:
    """Features (..., B, D) -> distances (..., B, B), sqrt(max(d^2, 1e-12)) with an exact diagonal."""
    squares = (x * x).sum(-1, keepdims=True)
    squared = squares + ops.swapaxes(squares, -1, -2) - 2 * ops.matmul(x, ops.swapaxes(x, -1, -2))
    rows = ops.arange(x.shape[-2])
    least = of(MINIMUM_SQUARED_DISTANCE, x.dtype)
    clipped = ops.logical_or(squared <= least, rows.reshape((-1, 1)) == rows.reshape((1, -1)))
    return ops.sqrt(ops.where(clipped, least, squared))


def batch_hard(distances: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (..., B, B) -> farthest positive (the anchor included) and nearest negative, (..., B) each.

    First index on ties.
    """
    distances = ops.stop_gradient(distances)
    same = labels.reshape((-1, 1)) == labels.reshape((1, -1))
    positive = ops.argmax(ops.where(same, distances, constant(-1.0, distances.dtype)), -1)
    negative = ops.argmin(ops.where(same, constant(float("inf"), distances.dtype), distances), -1)
    return positive.astype(ms.int64), negative.astype(ms.int64)


def _several(labels: Tensor, dtype: ms.dtype) -> Tensor:
    """1 where labels (B,) show several identities; 0 where they show one, so that no anchor has a negative."""
    return ((labels != labels[:1]).astype(ms.int32).sum() > 0).astype(dtype)


def softmax_triplet(features: Tensor, labels: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Softmax triplet loss on batch-hard pairs (MMT, section 3.2): -m l_ap - (1 - m) l_an, mean over the batch.

    margin: a 0-d tensor of the features' type, or 0 or 1.
    """
    distances = euclidean_distances(features)
    pair = log_softmax(_hardest(distances, *batch_hard(distances, labels)))
    positive, negative = pair[..., 0], pair[..., 1]
    loss = -(negative + margin * (positive - negative)).mean(-1)
    return loss * _several(labels, loss.dtype) + nothing(features, (-1, -2))


def soft_softmax_triplet(features: Tensor, teacher_features: Tensor, labels: Tensor) -> Tensor:
    """Softmax triplet loss against the teacher's softmax at the pairs mined on the student (MMT, section 3.2)."""
    teacher_features = ops.stop_gradient(teacher_features)
    distances = euclidean_distances(features)
    positive, negative = batch_hard(distances, labels)
    pair = log_softmax(_hardest(distances, positive, negative))
    teacher = ops.exp(log_softmax(_hardest(euclidean_distances(teacher_features), positive, negative)))
    loss = -(teacher * pair).sum(-1).mean(-1) * _several(labels, pair.dtype)
    return loss + nothing(features, (-1, -2)) + nothing(teacher_features, (-1, -2))


def triplet(features: Tensor, labels: Tensor, margin: Tensor | None = None) -> Tensor:
    """Triplet loss on batch-hard pairs: max(0, d_ap - d_an + margin), mean over the batch.

    margin: a 0-d tensor of the features' type; None: 0.3.
    """
    distances = euclidean_distances(features)
    hinge = _hinge(_hardest(distances, *batch_hard(distances, labels)), margin)
    return hinge.mean(-1) * _several(labels, hinge.dtype) + nothing(features, (-1, -2))


def centre_triplet(features: Tensor, labels: Tensor, modalities: Tensor, margin: Tensor | None = None) -> Tensor:
    """Triplet loss on the centres of each identity in each modality, mean over the centres.

    Every row carries its group's centre, so that shapes do not depend on the labels; the first row of a group stands
    for it: only these are anchors, and only these are mined. margin: as in `triplet`.
    """
    same = labels.reshape((-1, 1)) == labels.reshape((1, -1))
    same_group = ops.logical_and(same, modalities.reshape((-1, 1)) == modalities.reshape((1, -1)))
    averaging = same_group.astype(features.dtype)
    distances = euclidean_distances(ops.matmul(averaging, features) / averaging.sum(1, keepdims=True))
    rows = ops.arange(labels.shape[0])
    earlier = ops.logical_and(same_group, rows.reshape((1, -1)) < rows.reshape((-1, 1)))
    first = earlier.astype(ms.int32).sum(1) == 0
    candidate, constants = first.reshape((1, -1)), ops.stop_gradient(distances)
    positives = ops.where(ops.logical_and(same, candidate), constants, constant(-1.0, distances.dtype))
    others = ops.logical_and(ops.logical_not(same), candidate)
    negatives = ops.where(others, constants, constant(float("inf"), distances.dtype))
    hinge = _hinge(_hardest(distances, ops.argmax(positives, -1), ops.argmin(negatives, -1)), margin)
    kept = ops.where(first, hinge, constant(0.0, hinge.dtype))
    loss = kept.sum(-1) / first.astype(hinge.dtype).sum()
    return loss * _several(labels, hinge.dtype) + nothing(features, (-1, -2))


def ranked_list(features: Tensor, labels: Tensor, modalities: Tensor) -> Tensor:
    """Ranked-list loss within a modality plus that across (MVD's public code), for all anchors at once.

    Features (..., B, D) are normalised here.
    """
    distances = euclidean_distances(_unit(features))
    same_modality = modalities.reshape((-1, 1)) == modalities.reshape((1, -1))
    same_identity = labels.reshape((-1, 1)) == labels.reshape((1, -1))
    rows = ops.arange(labels.shape[0])
    positive = ops.logical_and(same_identity, rows.reshape((-1, 1)) != rows.reshape((1, -1)))
    negative = ops.logical_not(same_identity)
    total = constant(0.0, features.dtype)
    for kind, limits in ((same_modality, WITHIN), (ops.logical_not(same_modality), ACROSS)):
        reach, alpha = of(limits[0], features.dtype), of(limits[1], features.dtype)
        pull = _pull(distances, ops.logical_and(kind, positive), reach)
        push = _push(distances, ops.logical_and(kind, negative), alpha)
        total = total + (pull + push).mean(-1)
    return total


def _unit(features: Tensor) -> Tensor:
    squared = (features * features).sum(-1, keepdims=True)
    least = of(MINIMUM_SQUARED_LENGTH, features.dtype)
    return features / ops.sqrt(ops.where(squared <= least, least, squared))


def _pull(distances: Tensor, positive: Tensor, reach: Tensor) -> Tensor:
    """Each anchor's mean excess of its positives' distances over what they may have, (..., B)."""
    beyond = ops.where(positive, relu(distances - reach), constant(0.0, distances.dtype))
    return beyond.sum(-1) / (positive.astype(distances.dtype).sum(-1) + of(GUARD, distances.dtype))


def _push(distances: Tensor, negative: Tensor, alpha: Tensor) -> Tensor:
    """Each anchor's mean violation of its near negatives, weighted by the exponential of itself, (..., B)."""
    zero = constant(0.0, distances.dtype)
    violation = ops.where(negative, relu(alpha - distances), zero)
    weights = ops.where(violation > 0, ops.exp(violation), zero)
    return (weights * violation).sum(-1) / (weights.sum(-1) + of(GUARD, distances.dtype))


def distillation(observation: Tensor, representation: Tensor, classes: Tensor, form: str = "paper") -> Tensor:
    """What VSD and VCD minimise, with p the constant softmax of the observation and q the representation's.

    "paper": KL(p || q), mean over the batch. "reference": q (log q - p), mean over batch and classes, which the
    public code computes instead.
    """
    p, live = masked_log_softmax(ops.stop_gradient(observation), classes)
    q, _ = masked_log_softmax(representation, classes)
    zero = constant(0.0, q.dtype)
    if form == "paper":
        return (ops.where(live, ops.exp(p), zero) * (p - q)).sum(-1).mean(-1)
    terms = ops.where(live, ops.exp(q) * (q - ops.exp(p)), zero)
    return terms.sum(-1).mean(-1) / classes.astype(q.dtype)


def jensen_shannon(first: Tensor, second: Tensor, classes: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two softmax outputs, mean over the batch: VML."""
    p, live = masked_log_softmax(first, classes)
    q, _ = masked_log_softmax(second, classes)
    larger = ops.stop_gradient(ops.where(p > q, p, q))
    middle = larger + ops.log(ops.exp(p - larger) + ops.exp(q - larger)) - of(LOG_2, p.dtype)
    terms = ops.exp(p) * (p - middle) + ops.exp(q) * (q - middle)
    return ops.where(live, terms, constant(0.0, p.dtype)).sum(-1).mean(-1) / 2


def mutual_learning(first: Tensor, second: Tensor, classes: Tensor, form: str = "paper") -> Tensor:
    """Entropic Wasserstein distance between the rows of two softmax outputs: CML. form "reference": guarded."""
    p, live = masked_log_softmax(first, classes)
    q, _ = masked_log_softmax(second, classes)
    zero = constant(0.0, p.dtype)
    guarded = form == "reference"
    return sinkhorn(ops.where(live, ops.exp(p), zero), ops.where(live, ops.exp(q), zero), guarded=guarded)


def sinkhorn(
    x: Tensor,
    y: Tensor,
    epsilon: Tensor | None = None,
    iterations: int = 100,
    threshold: Tensor | None = None,
    guarded: bool = False,
) -> Tensor:
    """Cost of the entropic transport plan between points (B, D) and (N, D), see core/losses/transport.py.

    In the log domain. The loop is the compiler's own: compiled once, it ends on the device after the iteration in which
    the change falls below the threshold, and the gradient flows through the iterations that were done. Written out, a
    hundred iterations take ten times as long to compile. epsilon, threshold: 0-d tensors of the points' type;
    None: 0.01 and 0.1.
    """
    epsilon = of(EPSILON, x.dtype) if epsilon is None else epsilon
    threshold = of(THRESHOLD, x.dtype) if threshold is None else threshold
    difference = x.expand_dims(1) - y.expand_dims(0)
    costs = (difference * difference).sum(2)
    scaled = costs / epsilon
    mass = MASS_GUARD if guarded else 0.0
    rows, columns = log_weight(x.shape[0], mass, x.dtype), log_weight(y.shape[0], mass, x.dtype)
    u, v = ops.zeros((x.shape[0], 1), x.dtype), ops.zeros((1, y.shape[0]), x.dtype)  # in units of epsilon
    done, change = ops.zeros((), ms.int32), constant(float("inf"), x.dtype)
    while ops.logical_and(done < iterations, change >= threshold):
        updated = rows - _log_sum(u, v - scaled, 1, guarded)
        change = epsilon * ops.abs(ops.stop_gradient(updated - u)).sum()
        u = updated
        v = columns - _log_sum(v, u - scaled, 0, guarded)
        done = done + 1
    return (ops.exp(u + v - scaled) * costs).sum()


@ops.constexpr
def log_weight(count: int, added: float, dtype: ms.dtype) -> Tensor:
    """Return log(1 / count + added) as a 0-d tensor; exactly -log(count) where nothing is added."""
    return Tensor(np.log(1 / count + added) if added else -np.log(count), dtype)


def _log_sum(old: Tensor, exponents: Tensor, axis: int, guarded: bool) -> Tensor:
    """Logarithm of the sum of exponentials over an axis; guarded: of exp(-old) times 1e-6 more."""
    sums = _log_sum_exp(exponents, axis)
    if not guarded:
        return sums
    guard = of(LOG_GUARD, sums.dtype) - old
    highest = ops.stop_gradient(ops.where(sums > guard, sums, guard))
    return highest + ops.log(ops.exp(sums - highest) + ops.exp(guard - highest))


def _log_sum_exp(x: Tensor, axis: int) -> Tensor:
    """Logarithm of the sum of exponentials over an axis, which stays as one of length 1."""
    highest = ops.stop_gradient(ops.amax(x, axis, keepdims=True))
    return highest + ops.log(ops.exp(x - highest).sum(axis, keepdims=True))


def _pick(values: Tensor, columns: Tensor) -> Tensor:
    """Values (..., B, C) at one column a row, (B,) or (..., B) -> (..., B).

    A sum of one value and zeros: exact, and differentiable in float64.
    """
    chosen = ops.arange(values.shape[-1]) == columns.expand_dims(-1)
    return ops.where(chosen, values, constant(0.0, values.dtype)).sum(-1)


def _hardest(distances: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Distances (..., B, B) -> (..., B, 2): to the mined positive and to the mined negative."""
    return ops.stack((_pick(distances, positive), _pick(distances, negative)), -1)


def _hinge(pairs: Tensor, margin: Tensor | None) -> Tensor:
    """Distances (..., 2) to a positive and a negative -> max(0, difference + margin), (...)."""
    margin = of(MARGIN, pairs.dtype) if margin is None else margin
    return relu(pairs[..., 0] - pairs[..., 1] + margin)


def weigh(parts: tuple[Tensor, ...], weights: Tensor) -> tuple[Tensor, Tensor]:
    """Losses () and their weights (n,) -> (total, all losses with the total behind them (n + 1,), constants)."""
    stacked = ops.stack(parts)
    total = (stacked * weights).sum()
    return total, ops.stop_gradient(ops.cat((stacked, total.reshape((1,)))))
