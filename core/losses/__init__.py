"""The oracle: every loss and its gradient in float64 NumPy, straight from the formula. Backends are held to it."""

from core.losses.classification import cross_entropy, soft_cross_entropy
from core.losses.metric import soft_softmax_triplet, softmax_triplet, triplet
from core.losses.mmt import mmt

__all__ = [
    "cross_entropy",
    "mmt",
    "soft_cross_entropy",
    "soft_softmax_triplet",
    "softmax_triplet",
    "triplet",
]
