"""What every layer should compute in float64: see core/losses/float64, whose names these are."""

from duoreid.core.losses.float64.network import choosing, distance, own_errors, stages, truth
from duoreid.core.losses.float64.operations import (
    EPSILON,
    MOMENTUM,
    attend,
    by_groups,
    convolve,
    max_places,
    max_pool,
    normalise,
)
from duoreid.core.losses.float64.walk import Choosing, Outputs, Source, Stage, output
from duoreid.core.networks.images import grey, standardise

__all__ = [
    "EPSILON",
    "MOMENTUM",
    "Choosing",
    "Outputs",
    "Source",
    "Stage",
    "attend",
    "by_groups",
    "choosing",
    "convolve",
    "distance",
    "grey",
    "max_places",
    "max_pool",
    "normalise",
    "output",
    "own_errors",
    "stages",
    "standardise",
    "truth",
]
