"""Gradients with float64's choices of ReLUs and pooled maxima, and which choices rounding has switched.

A ReLU's derivative is 0 or 1. Where the number before it is 0 up to rounding, float32 and float64 may choose
differently, and the gradient of everything before it jumps; so it does where another place of a pooling window is the
largest. So a backend computes the gradient of a batch in float32 as it is, and once more with float64's choices
(choices.py). If the last is near the gradient in float64 where the first is not, these choices are all that lay
between.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, NamedTuple

from duoreid.benchmarks.parity.choices import Choices, Held, differences, of_batch
from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.sampling import Arrays, relative, sample, together

SHOWN = 8
"""Places that are told of each batch."""


class Found(NamedTuple):
    """Of one batch. gradients: by tensor, with float64's choices. count: of choices. places: the switched ones."""

    gradients: Arrays
    count: int
    places: list[str]


def record(exam: Exam, backend: str, learner: Any) -> tuple[Arrays, list[dict[str, Any]]]:
    """Return samples of a learner's gradients with float64's choices, held/BATCH/TENSOR, and what switched.

    Where a step is compiled and these gradients are not: also those with their own choices, eager/BATCH/TENSOR, which
    are to be those of the step.
    """
    arrays, facts = {}, []
    for index in range(exam.batches):
        if _module(backend).COMPILED:
            eager = gradients(exam, backend, learner, index, {})[0]
            arrays |= {f"eager/{index}/{name}": sample(value) for name, value in eager.items()}
        found = held(exam, backend, learner, index)
        arrays |= {f"held/{index}/{name}": sample(value) for name, value in found.gradients.items()}
        facts.append({"choices": found.count, "switched": len(found.places), "places": found.places[:SHOWN]})
    return arrays, facts


def held(exam: Exam, backend: str, learner: Any, index: int) -> Found:
    """Return the gradients of a batch in the learner's precision with the choices of float64."""
    true = of_batch(exam, index)
    found, own = gradients(exam, backend, learner, index, true)
    pairs = [pair for role, made in true.items() for pair in zip(made, own[role], strict=False)]
    places = [words for pair in pairs for words in differences(*pair)]
    return Found(found, sum(choice.chosen.size for choice, _ in pairs), places)


def gradients(exam: Exam, backend: str, learner: Any, index: int, made: Choices) -> tuple[Arrays, Choices]:
    """Return the gradients of a batch by tensor with these choices, and those that the numbers would have made."""
    learner.import_state(exam.start)
    holding = Held(made)
    return _module(backend).gradients(learner, exam.batch(index), holding), holding.own


def _module(backend: str) -> ModuleType:
    return importlib.import_module(f"duoreid.benchmarks.parity.held_{backend}")


def apart(found: Arrays, true: Arrays) -> float:
    """L2 distance of whole gradients, relative to the true one's norm."""
    return relative(together(found, true), together(true, true))
