"""Losses in torch: the device forms of core/losses. Inputs of one floating type; gradients by autograd.

`classes` is a 0-d integer tensor, the number of live classes: the columns of the logits behind it are outside the
softmax. Shapes stay fixed while it changes.

A batch of one identity has no negatives: the triplet losses are 0 then, as is their gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

DEAD = -1e9  # a logit that no softmax sees
MASS_GUARD, LOG_GUARD = 1e-8, math.log(1e-6)  # of the guarded transport
GUARD = 1e-5  # added to counts and sums of weights: an anchor without pairs of a kind costs 0


def masked_log_softmax(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, C) -> (log-probabilities (B, C) with 0 in dead columns, live mask (C,))."""
    live = torch.arange(logits.shape[1], device=logits.device) < classes
    logits = torch.where(live, logits, logits.new_full((), DEAD))
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


def _several(labels: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where labels (B,) show several identities; 0 where they show one, so that no anchor has a negative."""
    return (labels != labels[0]).any().to(dtype)


def softmax_triplet(features: Tensor, labels: Tensor, margin: float = 0.0) -> Tensor:
    """Softmax triplet loss on batch-hard pairs (MMT, section 3.2): -m l_ap - (1 - m) l_an, mean over the batch."""
    distances = euclidean_distances(features)
    pair = torch.log_softmax(_hardest(distances, *batch_hard(distances, labels)), dim=1)
    return -(margin * pair[:, 0] + (1 - margin) * pair[:, 1]).mean() * _several(labels, pair.dtype)


def soft_softmax_triplet(features: Tensor, teacher_features: Tensor, labels: Tensor) -> Tensor:
    """Softmax triplet loss against the teacher's softmax at the pairs mined on the student (MMT, section 3.2)."""
    distances = euclidean_distances(features)
    mined = batch_hard(distances, labels)
    pair = torch.log_softmax(_hardest(distances, *mined), dim=1)
    teacher = torch.softmax(_hardest(euclidean_distances(teacher_features.detach()), *mined), dim=1)
    return -(teacher * pair).sum(1).mean() * _several(labels, pair.dtype)


def triplet(features: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """Triplet loss on batch-hard pairs: max(0, d_ap - d_an + margin), mean over the batch."""
    distances = euclidean_distances(features)
    pairs = _hardest(distances, *batch_hard(distances, labels))
    return (pairs[:, 0] - pairs[:, 1] + margin).relu().mean() * _several(labels, pairs.dtype)


def centre_triplet(features: Tensor, labels: Tensor, modalities: Tensor, margin: float = 0.3) -> Tensor:
    """Triplet loss on the centres of each identity in each modality, mean over the centres.

    Every row carries its group's centre, so that shapes do not depend on the labels; the first row of a group stands
    for it: only these are anchors, and only these are mined.
    """
    same_group = (labels[:, None] == labels) & (modalities[:, None] == modalities)
    averaging = same_group.to(features.dtype)
    distances = euclidean_distances(averaging @ features / averaging.sum(1, keepdim=True))
    first = ~same_group.tril(-1).any(1)
    same = labels[:, None] == labels
    positive = distances.detach().masked_fill(~(same & first), -1.0).argmax(1)
    negative = distances.detach().masked_fill(same | ~first, torch.inf).argmin(1)
    pairs = _hardest(distances, positive, negative)
    hinge = (pairs[:, 0] - pairs[:, 1] + margin).relu()
    return torch.where(first, hinge, hinge.new_zeros(())).sum() / first.sum() * _several(labels, hinge.dtype)


def ranked_list(
    features: Tensor,
    labels: Tensor,
    modalities: Tensor,
    within: tuple[float, float] = (0.9, 2.2),
    across: tuple[float, float] = (1.0, 2.0),
) -> Tensor:
    """Ranked-list loss within a modality plus that across (MVD's public code); within, across: (margin, alpha).

    For all anchors at once. Features (B, D) are normalised here.
    """
    distances = euclidean_distances(torch.nn.functional.normalize(features))
    same_modality = modalities[:, None] == modalities
    same_identity = labels[:, None] == labels
    others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    zero, total = distances.new_zeros(()), distances.new_zeros(())
    for kind, (margin, alpha) in ((same_modality, within), (~same_modality, across)):
        positive = kind & same_identity & others
        beyond = torch.where(positive, (distances - (alpha - margin)).relu(), zero)
        pull = beyond.sum(1) / (positive.to(beyond.dtype).sum(1) + GUARD)
        violation = torch.where(kind & ~same_identity, (alpha - distances).relu(), zero)
        weights = torch.where(violation > 0, violation.exp(), zero)
        push = (weights * violation).sum(1) / (weights.sum(1) + GUARD)
        total = total + (pull + push).mean()
    return total


def distillation(observation: Tensor, representation: Tensor, classes: Tensor, form: str = "paper") -> Tensor:
    """What VSD and VCD minimise, with p the constant softmax of the observation and q the representation's.

    "paper": KL(p || q), mean over the batch. "reference": q (log q - p), mean over batch and classes, which the
    public code computes instead.
    """
    p, live = masked_log_softmax(observation.detach(), classes)
    q, _ = masked_log_softmax(representation, classes)
    zero = q.new_zeros(())
    if form == "paper":
        return (torch.where(live, p.exp(), zero) * (p - q)).sum(1).mean()
    return torch.where(live, q.exp() * (q - p.exp()), zero).sum() / (len(q) * classes)


def jensen_shannon(first: Tensor, second: Tensor, classes: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two softmax outputs, mean over the batch: VML."""
    p, live = masked_log_softmax(first, classes)
    q, _ = masked_log_softmax(second, classes)
    middle = torch.logaddexp(p, q) - math.log(2)
    terms = p.exp() * (p - middle) + q.exp() * (q - middle)
    return 0.5 * torch.where(live, terms, terms.new_zeros(())).sum(1).mean()


def mutual_learning(first: Tensor, second: Tensor, classes: Tensor, form: str = "paper") -> Tensor:
    """Entropic Wasserstein distance between the rows of two softmax outputs: CML. form "reference": guarded."""
    (p, live), (q, _) = masked_log_softmax(first, classes), masked_log_softmax(second, classes)
    zero = p.new_zeros(())
    points = torch.where(live, p.exp(), zero), torch.where(live, q.exp(), zero)
    return sinkhorn(*points, guarded=form == "reference")


def sinkhorn(
    x: Tensor,
    y: Tensor,
    epsilon: float = 0.01,
    iterations: int = 100,
    threshold: float = 0.1,
    guarded: bool = False,
) -> Tensor:
    """Cost of the entropic transport plan between points (B, D) and (N, D), see core/losses/transport.py.

    In the log domain. After the iteration in which the change falls below the threshold the potentials stay as they
    are; the gradient flows through all iterations before. On the CPU the loop ends there; on a device, where asking
    would wait for it, the rest of the iterations pass without effect.
    """
    costs = (x[:, None] - y).square().sum(2)
    scaled = costs / epsilon
    u, v = costs.new_zeros(len(x)), costs.new_zeros(len(y))
    running = torch.ones((), dtype=torch.bool, device=costs.device)
    for _ in range(iterations):
        # u and v in units of epsilon
        updated = _potential(u, torch.logsumexp(v - scaled, 1), guarded)
        change = epsilon * (updated - u).detach().abs().sum()
        u = torch.where(running, updated, u)
        v = torch.where(running, _potential(v, torch.logsumexp(u[:, None] - scaled, 0), guarded), v)
        running = running & (change >= threshold)
        if costs.device.type == "cpu" and not running:
            break
    return ((u[:, None] + v - scaled).exp() * costs).sum()


def _potential(old: Tensor, sums: Tensor, guarded: bool) -> Tensor:
    """Potentials (n,) that give each point the weight 1 / n, given its logarithmic sum over the other points."""
    if not guarded:
        return -math.log(len(old)) - sums
    return math.log(1 / len(old) + MASS_GUARD) - torch.logaddexp(sums + old, sums.new_full((), LOG_GUARD)) + old
