"""Gradients with float64's choices of ReLUs and pooled maxima, and which choices rounding has switched.

Where the number before a ReLU is 0 up to rounding, float32 and float64 may choose differently, and the gradient of
everything before it jumps; so it does where another place of a pooling window is the largest. So a backend computes the
gradient of a batch in float32 as it is, and once more with the choices that core/losses/float64 makes. If the last is
near the gradient in float64 where the first is not, these choices are all that lay between. A backend's
probe makes it take them.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.sampling import Arrays, sample, under
from duoreid.core.contract.learner import Batch
from duoreid.core.contract.pairs import rows_of_branches
from duoreid.core.losses.float64 import network as judge
from duoreid.core.losses.float64 import operations
from duoreid.core.networks.images import grey

SHOWN = 8
"""Places that are told of each batch."""

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


Choices = dict[str, list[list[Choice]]]
"""By trained network, of each pass through it in a step, in the order in which they are made."""


def seen(exam: Exam, batch: Batch) -> dict[str, list[tuple[np.ndarray, np.ndarray | None]]]:
    """Return by trained network, of each pass in a step, images (B, H, W, 3) from 0 to 255 and noise for dropout."""
    views, students, section = batch.images, exam.spec.students, exam.learner.section
    if not exam.cross_modal:
        return {role: [(views[index], None)] for index, role in enumerate(students)}
    colour = views.reshape(-1, *views.shape[2:])
    forms = (colour, grey(colour, section.grey_form))
    branches = rows_of_branches(len(colour))
    noise = [None if batch.noise is None else batch.noise[rows] for rows in branches]
    if section.shared_norm == "together":
        shared = [(np.concatenate(forms), noise[2])]
    else:
        halves = (None, None) if noise[2] is None else np.split(noise[2], 2)
        shared = list(zip(forms, halves, strict=True))[:: 1 if section.shared_norm == "colour-first" else -1]
    passes = ([(forms[0], noise[0])], [(forms[1], noise[1])], shared)
    return {
        role: [(exam.as_seen(images), exam.as_seen(kept)) for images, kept in listed]
        for role, listed in zip(students, passes, strict=True)
    }


def of_batch(exam: Exam, index: int) -> Choices:
    """Return the choices of the starting state in float64 on a batch."""

    def choice(role: str, one: judge.Choosing, before: np.ndarray) -> Choice:
        chosen = operations.max_places(before, uneven=one.uneven) if one.windows else before > 0
        return Choice(f"{role}.{one.before.text}", before, chosen)

    return {
        role: [
            [choice(role, *made) for made in judge.choosing(exam.learner, under(exam.start, f"{role}."), *given)]
            for given in passes
        ]
        for role, passes in seen(exam, exam.batch(index)).items()
    }


class Held:
    """Hands a backend the choices to make, and notes what its own numbers would have chosen.

    Teachers get none, nor does a pass that float64 has not made: it moves statistics and has no gradient. A network
    that asks for other choices than float64 has made computes something else, which its layers and gradients tell.
    """

    def __init__(self, choices: Choices) -> None:
        self.own: Choices = {role: [] for role in choices}
        self._passes = {role: iter(made) for role, made in choices.items()}
        self._left: Iterator[Choice] = iter(())
        self._noted: list[Choice] = []

    def enter(self, role: str) -> None:
        """A pass through a network begins."""
        self._left, self._noted = iter(next(self._passes.get(role, iter(())), ())), []
        self.own.setdefault(role, []).append(self._noted)

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


class Found(NamedTuple):
    """Of one batch. gradients: by tensor, with float64's choices. count: of choices. places: the switched ones."""

    gradients: Arrays
    count: int
    places: list[str]


def record(exam: Exam, probe: ModuleType, learner: Any) -> tuple[Arrays, list[dict[str, Any]]]:
    """Return samples of a learner's gradients with float64's choices, held/BATCH/TENSOR, and what switched.

    Where a step is compiled and these gradients are not: also those with their own choices, eager/BATCH/TENSOR, which
    are to be those of the step.
    """
    arrays, facts = {}, []
    for index in range(exam.batches):
        held_batch = held(exam, probe, learner, index)
        kinds = {"held": held_batch.gradients}
        if probe.COMPILED:
            kinds["eager"] = gradients(exam, probe, learner, index, {})[0]
        for kind, made in kinds.items():
            arrays |= {f"{kind}/{index}/{name}": sample(value) for name, value in made.items()}
        facts.append(
            {"choices": held_batch.count, "switched": len(held_batch.places), "places": held_batch.places[:SHOWN]}
        )
    return arrays, facts


def held(exam: Exam, probe: ModuleType, learner: Any, index: int) -> Found:
    """Return the gradients of a batch in the learner's precision with the choices of float64."""
    true = of_batch(exam, index)
    by_tensor, own = gradients(exam, probe, learner, index, true)
    passes = [pair for role, made in true.items() for pair in zip(made, own[role], strict=False)]
    pairs = [pair for made, noted in passes for pair in zip(made, noted, strict=False)]
    places = [words for pair in pairs for words in differences(*pair)]
    return Found(by_tensor, sum(choice.chosen.size for choice, _ in pairs), places)


def gradients(exam: Exam, probe: ModuleType, learner: Any, index: int, made: Choices) -> tuple[Arrays, Choices]:
    """Return the gradients of a batch by tensor with these choices, and those that the numbers would have made."""
    learner.import_state(exam.start)
    holding = Held(made)
    return probe.held_gradients(learner, exam.batch(index), holding), holding.own
