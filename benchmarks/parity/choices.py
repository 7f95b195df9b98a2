"""What every ReLU lets through and every pooled maximum picks in float64, to be made by a backend in float32.

The choices are those of core/losses/float64, so that they are the same for both backends and need no framework.
held_torch.py and held_mindspore.py make a backend take them; switches.py says where its own would have been others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from duoreid.benchmarks.parity.exam import Exam
from duoreid.core.contract.learner import Batch
from duoreid.core.losses.float64 import network as judge
from duoreid.core.losses.float64 import operations
from duoreid.core.networks.images import grey

TIE = 1e-12
"""Two numbers of a pooling window no further apart, relative to the larger, are equal: either place is right."""


class Choice(NamedTuple):
    """What one ReLU (or pooling) chose where a gradient flows.

    behind: what it is applied to, in words. before: its input (B, C, ...). chosen: bool of that shape, or int64, the
    places of a window's maximum in the flattened (H, W).
    """

    behind: str
    before: np.ndarray
    chosen: np.ndarray


Choices = dict[str, list[Choice]]
"""By trained network, in the order in which they are made."""


def seen(exam: Exam, batch: Batch) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Return by trained network its images (B, H, W, 3), from 0 to 255, and its noise for dropout."""
    views = batch.images
    if not exam.cross_modal:
        return {role: (views[index], None) for index, role in enumerate(exam.roles.students)}
    colour = views.reshape(-1, *views.shape[2:])
    plain, count, noise = grey(colour), len(colour), batch.noise
    parts = [None] * 3 if noise is None else [noise[:count], noise[count : 2 * count], noise[2 * count :]]
    images = (colour, plain, np.concatenate([colour, plain]))
    return dict(zip(exam.roles.students, zip(images, parts, strict=True), strict=True))


def of_batch(exam: Exam, index: int) -> Choices:
    """Return the choices of the starting state in float64 on a batch."""
    found = {}
    for role, (images, noise) in seen(exam, exam.batch(index)).items():
        found[role] = [
            Choice(
                f"{role}.{one.before.text}",
                before,
                operations.max_places(before, uneven=one.uneven) if one.windows else before > 0,
            )
            for one, before in judge.choosing(exam.learner, exam.started(role), images, noise)
        ]
    return found


class Held:
    """Hands a backend the choices to make, and notes what its own numbers would have chosen.

    Only the first pass through a network gets choices: a second one moves statistics and has no gradient. The same
    goes for teachers, and for a network that asks for other ones than float64 has made: it computes something else,
    which its layers and its gradients tell.
    """

    def __init__(self, choices: Choices) -> None:
        self.choices, self.own = choices, {role: [] for role in choices}
        self._left: Iterator[Choice] = iter(())

    def enter(self, role: str) -> None:
        """A network begins."""
        self._left = iter(self.choices[role] if role in self.own and not self.own[role] else ())
        self._noted = self.own.get(role, [])

    def make(self, before: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return the choice to make where a backend's numbers before it would choose `chosen`."""
        true = next(self._left, None)
        if true is None or true.chosen.shape != chosen.shape:
            return chosen
        self._noted.append(Choice(true.behind, before.copy(), chosen.copy()))
        return true.chosen


def differences(true: Choice, other: Choice) -> Iterator[str]:
    """Yield in words each place at which another choice than the true one was made, but for ties of equal numbers."""
    for place in np.argwhere(true.chosen != other.chosen):
        at = tuple(int(number) for number in place)
        where = f"behind {true.behind}, image {at[0]}, channel {at[1]}{f', place {at[2:]}' if at[2:] else ''}"
        if true.before.shape == true.chosen.shape:
            yield f"ReLU {where}: {other.before[at]:.2g}, in float64 {true.before[at]:.2g}"
            continue
        window = true.before[at[:2]].reshape(-1)
        right, wrong = window[true.chosen[at]], window[other.chosen[at]]
        if abs(right - wrong) > TIE * abs(right):
            yield f"largest of 3x3 {where}: in float64 {right:.9g} and {wrong:.9g}"
