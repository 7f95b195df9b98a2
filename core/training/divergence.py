"""Training that goes wrong: where numbers stop to be finite, and when they grow beyond all use."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from duoreid.core.contract.learner import Learner
from duoreid.core.errors import UserError

HUGE = 1e8
"""Weights, moments and statistics of networks that learn stay far below; at 1e19 a square is infinite in float32."""

STATISTICS = ("running_mean", "running_var")


def check_losses(means: Mapping[str, float], where: str, learner: Learner) -> None:
    """Raise UserError where a mean of losses is not finite, with the first array of the networks that is not.

    where: between which iterations, in words.
    """
    bad = [f"{name} = {value}" for name, value in means.items() if not math.isfinite(value)]
    if bad:
        raise UserError(
            f"{', '.join(bad)} {where}: training has diverged and stops here{first_broken(learner.export_state())}. "
            "The states saved before are good. Lower the learning rate, or look for what is unusual in the data; "
            "--loss-every 1 stops at the very iteration."
        )


def first_broken(state: Mapping[str, np.ndarray]) -> str:
    """Return words for the first array of a state that is not finite.

    Batch norm's statistics are looked at first, in the order of the layers: a forward pass writes them before the
    update that follows spreads what is not finite over all weights.
    """
    bad = [name for name, value in state.items() if not np.isfinite(value).all()]
    if not bad:
        return "; the networks are still finite, so the loss itself is what overflows"
    first = next((name for name in bad if name.endswith(STATISTICS)), bad[0])
    place = f"{first}, so what goes into that layer is not" if first.endswith(STATISTICS) else first
    return f"; the first of {len(bad)} arrays (of {len(state)}) that are not finite is {place}"


def largest(state: Mapping[str, np.ndarray]) -> tuple[str, float]:
    """Return the name of the array with the largest magnitude, and that; counters are left out."""
    sizes = {name: float(np.abs(value).max()) for name, value in state.items() if value.ndim and value.size}
    name = max(sizes, key=lambda one: sizes[one], default="")
    return name, sizes.get(name, 0.0)


def warning_of(state: Mapping[str, np.ndarray]) -> str:
    """Return a warning where numbers have grown beyond all use, else ""."""
    name, size = largest(state)
    if size <= HUGE:
        return ""
    return (
        f"warning: {name} has grown to {size:.0e}: the networks learn nothing any more, though every number is still "
        "finite. Lower the learning rate."
    )
