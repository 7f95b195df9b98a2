"""Losses in torch: the device forms of core/losses. Inputs of one floating type; gradients by autograd.

`classes` is a 0-d integer tensor, the number of live classes: the columns of the logits behind it are outside the
softmax. Shapes stay fixed while it changes.
"""

from __future__ import annotations

import torch
from torch import Tensor

DEAD = -1e9  # a logit that no softmax sees


def masked_log_softmax(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, C) -> (log-probabilities (B, C) with 0 in dead columns, live mask (C,))."""
    live = torch.arange(logits.shape[1], device=logits.device) < classes
    logits = torch.where(live, logits, logits.new_tensor(DEAD))
    return torch.where(live, torch.log_softmax(logits, dim=1), logits.new_zeros(())), live


def cross_entropy(logits: Tensor, labels: Tensor, classes: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy against (1 - smoothing) one-hot + smoothing / classes, mean over the batch."""
    log_probabilities, _ = masked_log_softmax(logits, classes)
    picked = log_probabilities.gather(1, labels[:, None])[:, 0]
    uniform = log_probabilities.sum(1) / classes
    return -((1 - smoothing) * picked + smoothing * uniform).mean()


def soft_cross_entropy(logits: Tensor, teacher_logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy against the teacher's probabilities, mean over the batch (MMT, section 3.2)."""
    log_probabilities, _ = masked_log_softmax(logits, classes)
    teacher, live = masked_log_softmax(teacher_logits.detach(), classes)
    probabilities = torch.where(live, teacher.exp(), teacher.new_zeros(()))
    return -(probabilities * log_probabilities).sum(1).mean()


def euclidean_distances(x: Tensor) -> Tensor:
    """Features (B, D) -> distances (B, B), sqrt(max(d^2, 1e-12)) with an exact diagonal."""
    squares = x.square().sum(1)
    squared = squares[:, None] + squares[None, :] - 2 * x @ x.T
    squared = squared.masked_fill(torch.eye(len(x), dtype=torch.bool, device=x.device), 0)
    return squared.clamp(min=1e-12).sqrt()


def batch_hard(distances: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Farthest positive (the anchor included) and nearest negative, first index on ties: int64 (B,) each."""
    same = labels[:, None] == labels[None, :]
    positive = distances.detach().masked_fill(~same, -1.0).argmax(1)
    negative = distances.detach().masked_fill(same, torch.inf).argmin(1)
    return positive, negative


def _hardest(distances: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Distances (B, B) -> (B, 2): to the mined positive and to the mined negative."""
    return torch.cat([distances.gather(1, positive[:, None]), distances.gather(1, negative[:, None])], dim=1)


def softmax_triplet(features: Tensor, labels: Tensor, margin: float = 0.0) -> Tensor:
    """Softmax triplet loss on batch-hard pairs (MMT, section 3.2): -m l_ap - (1 - m) l_an, mean over the batch."""
    distances = euclidean_distances(features)
    pair = torch.log_softmax(_hardest(distances, *batch_hard(distances, labels)), dim=1)
    return -(margin * pair[:, 0] + (1 - margin) * pair[:, 1]).mean()


def soft_softmax_triplet(features: Tensor, teacher_features: Tensor, labels: Tensor) -> Tensor:
    """Softmax triplet loss against the teacher's softmax at the pairs mined on the student (MMT, section 3.2)."""
    distances = euclidean_distances(features)
    mined = batch_hard(distances, labels)
    pair = torch.log_softmax(_hardest(distances, *mined), dim=1)
    teacher = torch.softmax(_hardest(euclidean_distances(teacher_features.detach()), *mined), dim=1)
    return -(teacher * pair).sum(1).mean()
