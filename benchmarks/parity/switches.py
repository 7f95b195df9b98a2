"""`python -m benchmarks.parity.switches`: which ReLUs rounding has switched in a gradient, and whether they explain it.

A ReLU's derivative is 0 or 1. Where the number before it is 0 up to rounding, float32 and float64 may choose
differently, and the gradient of everything before it jumps; so it does where another place of a pooling window is the
largest. So a backend computes the gradient of a batch in float32 as it is, and once more with float64's choices
(choices.py). If the last is near the gradient in float64 where the first is not, these choices are all that lay
between.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from duoreid.benchmarks.parity import choices
from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.sampling import relative, sample
from duoreid.core.commands.command import guarded

SHOWN = 8
"""Places that are told of each batch."""


class Found(NamedTuple):
    """Of one batch. gradients: by tensor, with float64's choices. count: of choices. places: the switched ones."""

    gradients: dict[str, np.ndarray]
    count: int
    places: list[str]


def record(exam: Exam, backend: str, learner: Any) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
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
    true = choices.of_batch(exam, index)
    found, own = gradients(exam, backend, learner, index, true)
    pairs = [pair for role, made in true.items() for pair in zip(made, own[role], strict=False)]
    places = [words for pair in pairs for words in choices.differences(*pair)]
    return Found(found, sum(choice.chosen.size for choice, _ in pairs), places)


def gradients(
    exam: Exam, backend: str, learner: Any, index: int, made: choices.Choices
) -> tuple[dict[str, np.ndarray], choices.Choices]:
    """Return the gradients of a batch by tensor with these choices, and those that the numbers would have made."""
    learner.import_state(exam.start)
    holding = choices.Held(made)
    return _module(backend).gradients(learner, exam.batch(index), holding), holding.own


def _module(backend: str) -> ModuleType:
    return importlib.import_module(f"duoreid.benchmarks.parity.held_{backend}")


def apart(found: dict[str, np.ndarray], true: dict[str, np.ndarray]) -> float:
    """L2 distance of whole gradients, relative to the true one's norm."""
    return relative(*(np.concatenate([one[name].reshape(-1) for name in true]) for one in (found, true)))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the switches of every batch of an exam, and its gradients' distances, for torch in float32 on the CPU."""
    from duoreid.benchmarks.parity.__main__ import add_exam, exam_of

    made = argparse.ArgumentParser(
        prog="python -m benchmarks.parity.switches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_exam(made)
    words = "images in memory as (B, C, H, W), for which torch's kernels sum in another order than in training"
    made.add_argument("--channels-first", action="store_true", help=words)
    given = made.parse_args(argv)
    return guarded(lambda: _print(exam_of(given), given.channels_first))


def _print(exam: Exam, channels_first: bool) -> None:
    from duoreid.backends.torch import probe
    from duoreid.benchmarks.parity.held_torch import to_channels_first

    single, double = (probe.make_learner(exam.learner, precision=precision) for precision in ("float32", "float64"))
    if channels_first:
        to_channels_first(single)
    for index in range(exam.batches):
        found = held(exam, "torch", single, index)
        true, raw = (gradients(exam, "torch", learner, index, {})[0] for learner in (double, single))
        print(f"Batch {index}: {len(found.places)} of {found.count} choices are not those of float64")
        print("".join(f"  {words}\n" for words in found.places[:SHOWN]), end="")
        print(f"  gradients {apart(raw, true):.1e} from float64's, {apart(found.gradients, true):.1e} with its choices")


if __name__ == "__main__":
    import duoreid.benchmarks.parity.switches as module

    sys.exit(module.main())
