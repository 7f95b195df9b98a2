"""Losses in MindSpore: the device forms of core/losses. Inputs of one floating type; gradients by autograd.

`classes` is a 0-d integer tensor, the number of live classes: the columns of the logits behind it are outside the
softmax. Shapes stay fixed while it changes.

MindSpore's clamp, maximum, argmax and ReLU drop NaN, and its log_softmax computes in float32 whatever comes in: the
forms here use neither, and whatever is not finite in the inputs is not finite in the loss.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops

from backends.mindspore.layers import constant, exact, nothing, of

DEAD = -1e9  # a logit that no softmax sees
MINIMUM_SQUARED_DISTANCE = exact(1e-12)


def log_softmax(logits: Tensor) -> Tensor:
    """Logarithm of the softmax over the columns of (B, C); NaN where a row holds NaN."""
    shifted = logits - ops.stop_gradient(ops.amax(logits, 1, keepdims=True))
    return shifted - ops.log(ops.exp(shifted).sum(1, keepdims=True))


def masked_log_softmax(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, C) -> (log-probabilities (B, C) with 0 in dead columns, live mask (1, C))."""
    live = (ops.arange(logits.shape[1]) < classes).reshape((1, -1))
    logits = ops.where(live, logits, constant(DEAD, logits.dtype))
    return ops.where(live, log_softmax(logits), constant(0.0, logits.dtype)), live


def cross_entropy(logits: Tensor, labels: Tensor, classes: Tensor, smoothing: Tensor) -> Tensor:
    """Cross-entropy against (1 - smoothing) one-hot + smoothing / classes, mean over the batch.

    smoothing: a 0-d tensor of the logits' type: as a Python number it would be rounded to float32.
    """
    log_probabilities, _ = masked_log_softmax(logits, classes)
    picked = _pick(log_probabilities, labels)
    uniform = log_probabilities.sum(1) / classes.astype(logits.dtype)
    return -(picked + smoothing * (uniform - picked)).mean()


def soft_cross_entropy(logits: Tensor, teacher_logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy against the teacher's probabilities, mean over the batch (MMT, section 3.2)."""
    log_probabilities, live = masked_log_softmax(logits, classes)
    teacher, _ = masked_log_softmax(ops.stop_gradient(teacher_logits), classes)
    probabilities = ops.where(live, ops.exp(teacher), constant(0.0, logits.dtype))
    return -(probabilities * log_probabilities).sum(1).mean()


def euclidean_distances(x: Tensor) -> Tensor:
    """Features (B, D) -> distances (B, B), sqrt(max(d^2, 1e-12)) with an exact diagonal."""
    squares = (x * x).sum(1)
    squared = squares.reshape((-1, 1)) + squares.reshape((1, -1)) - 2 * ops.matmul(x, ops.transpose(x, (1, 0)))
    rows = ops.arange(x.shape[0])
    least = of(MINIMUM_SQUARED_DISTANCE, x.dtype)
    clipped = ops.logical_or(squared <= least, rows.reshape((-1, 1)) == rows.reshape((1, -1)))
    return ops.sqrt(ops.where(clipped, least, squared))


def batch_hard(distances: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Farthest positive (the anchor included) and nearest negative, first index on ties: (B,) each."""
    distances = ops.stop_gradient(distances)
    same = labels.reshape((-1, 1)) == labels.reshape((1, -1))
    positive = ops.argmax(ops.where(same, distances, constant(-1.0, distances.dtype)), 1)
    negative = ops.argmin(ops.where(same, constant(float("inf"), distances.dtype), distances), 1)
    return positive.astype(ms.int64), negative.astype(ms.int64)


def softmax_triplet(features: Tensor, labels: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Softmax triplet loss on batch-hard pairs (MMT, section 3.2): -m l_ap - (1 - m) l_an, mean over the batch.

    margin: a 0-d tensor of the features' type, or 0 or 1.
    """
    distances = euclidean_distances(features)
    pair = log_softmax(_hardest(distances, *batch_hard(distances, labels)))
    positive, negative = pair[:, 0], pair[:, 1]
    return -(negative + margin * (positive - negative)).mean() + nothing(features, (0, 1))


def soft_softmax_triplet(features: Tensor, teacher_features: Tensor, labels: Tensor) -> Tensor:
    """Softmax triplet loss against the teacher's softmax at the pairs mined on the student (MMT, section 3.2)."""
    teacher_features = ops.stop_gradient(teacher_features)
    distances = euclidean_distances(features)
    positive, negative = batch_hard(distances, labels)
    pair = log_softmax(_hardest(distances, positive, negative))
    teacher = ops.exp(log_softmax(_hardest(euclidean_distances(teacher_features), positive, negative)))
    return -(teacher * pair).sum(1).mean() + nothing(features, (0, 1)) + nothing(teacher_features, (0, 1))


def _pick(values: Tensor, columns: Tensor) -> Tensor:
    """Values (B, C) at one column a row -> (B,). A sum of one value and zeros: exact, and differentiable in float64."""
    chosen = ops.arange(values.shape[1]).reshape((1, -1)) == columns.reshape((-1, 1))
    return ops.where(chosen, values, constant(0.0, values.dtype)).sum(1)


def _hardest(distances: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Distances (B, B) -> (B, 2): to the mined positive and to the mined negative."""
    return ops.stack((_pick(distances, positive), _pick(distances, negative)), 1)
