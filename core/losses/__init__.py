"""The oracle: every loss and its gradient in float64 NumPy, straight from the formula. Backends are held to it."""

from core.losses.classification import cross_entropy, soft_cross_entropy
from core.losses.cross_modality import centre_triplet, rank
from core.losses.distillation import distillation, jensen_shannon
from core.losses.metric import soft_softmax_triplet, softmax_triplet, triplet
from core.losses.mmt import mmt
from core.losses.mvd import mvd
from core.losses.transport import mutual_learning, sinkhorn

__all__ = [
    "centre_triplet",
    "cross_entropy",
    "distillation",
    "jensen_shannon",
    "mmt",
    "mutual_learning",
    "mvd",
    "rank",
    "sinkhorn",
    "soft_cross_entropy",
    "soft_softmax_triplet",
    "softmax_triplet",
    "triplet",
]
