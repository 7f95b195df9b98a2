"""The oracle: every loss and its gradient in float64 NumPy, straight from the formula. Backends are held to it."""

from duoreid.core.losses.classification import cross_entropy, soft_cross_entropy
from duoreid.core.losses.cross_modality import centre_triplet, ranked_list
from duoreid.core.losses.distillation import distillation, jensen_shannon
from duoreid.core.losses.metric import soft_softmax_triplet, softmax_triplet, triplet
from duoreid.core.losses.mmt import mmt
from duoreid.core.losses.mvd import mvd
from duoreid.core.losses.transport import mutual_learning, sinkhorn

__all__ = [
    "centre_triplet",
    "cross_entropy",
    "distillation",
    "jensen_shannon",
    "mmt",
    "mutual_learning",
    "mvd",
    "ranked_list",
    "sinkhorn",
    "soft_cross_entropy",
    "soft_softmax_triplet",
    "softmax_triplet",
    "triplet",
]
