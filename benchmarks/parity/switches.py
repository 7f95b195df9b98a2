"""`python -m benchmarks.parity.switches`: which ReLUs rounding has switched in a gradient, and whether they explain it.

A ReLU's derivative is 0 or 1. Where the number before it is 0 up to rounding, float32 and float64 may choose
differently, and the gradient of everything before it jumps; so it does where another place of a pooling window is the
largest. So torch computes the gradient of a batch in float64, in float32, and in float32 once more with float64's
choices held. If the last is near the first where the second is not, these choices are all that lay between.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from benchmarks.parity.exam import Exam
from benchmarks.parity.sampling import relative, sample
from core.command import guarded

SHOWN = 8
"""Places that are told of each batch."""

TIE = 1e-12
"""Two numbers of a pooling window no further apart, relative to the larger, are equal: either place is right."""


class Choice(NamedTuple):
    """What one call of a ReLU (or pooling) chose where a gradient flows.

    behind: the layer that ran last. before: its input (B, C, ...), float64. chosen: bool of that shape, or int64, the
    places of a window's maximum in the flattened (H, W).
    """

    behind: str
    before: np.ndarray
    chosen: np.ndarray


class Found(NamedTuple):
    """Of one batch. gradients: by tensor, with float64's choices. count: of choices. places: the switched ones."""

    gradients: dict[str, np.ndarray]
    count: int
    places: list[str]


def record(exam: Exam, learner: Any) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Return samples of a torch learner's gradients with float64's choices, HELD/BATCH/TENSOR, and what switched."""
    arrays, facts = {}, []
    for index in range(exam.batches):
        found = held(exam, learner, index)
        arrays |= {f"held/{index}/{name}": sample(value) for name, value in found.gradients.items()}
        facts.append({"choices": found.count, "switched": len(found.places), "places": found.places[:SHOWN]})
    return arrays, facts


def held(exam: Exam, learner: Any, index: int) -> Found:
    """Return the gradients of a batch in the learner's precision with the choices of float64."""
    from backends.torch import probe

    double = probe.make_learner(exam.learner, precision="float64")
    _, choices = gradients(exam, double, index)
    found, own = gradients(exam, learner, index, choices)
    places = [words for pair in zip(choices, own, strict=True) for words in differences(*pair)]
    return Found(found, sum(choice.chosen.size for choice in choices), places)


def gradients(
    exam: Exam, learner: Any, index: int, choices: Sequence[Choice] = ()
) -> tuple[dict[str, np.ndarray], list[Choice]]:
    """Return the gradients of a batch by tensor, and every choice that the numbers gave, in order.

    choices: to be made instead of these.
    """
    from backends.torch import probe

    learner.import_state(exam.start)
    with _recorded(learner.networks, choices) as own:
        _, found = probe.gradients_of(learner, exam.batch(index))
    return found, own


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


@contextmanager
def _recorded(networks: dict[str, Any], held: Sequence[Choice]) -> Iterator[list[Choice]]:
    """Note the choices of F.relu, F.leaky_relu and F.max_pool2d, and make those of `held`, until the block ends."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    choices: list[Choice] = []
    last = ""

    def note(name: str) -> Callable:
        def hook(*_: Any) -> None:
            nonlocal last
            last = name

        return hook

    def own(x: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Keep a choice; return the one to make."""
        if not x.requires_grad:  # a teacher's: no gradient asks for it
            return chosen
        number = len(choices)
        choices.append(Choice(last, x.detach().double().cpu().numpy().copy(), chosen.cpu().numpy().copy()))
        return torch.from_numpy(held[number].chosen).to(x.device) if held else chosen

    def leaky_relu(x: torch.Tensor, slope: float) -> torch.Tensor:
        return torch.where(own(x, x.detach() > 0), x, slope * x)

    def max_pool2d(x: torch.Tensor, *window: int) -> torch.Tensor:
        places = own(x, pool(x, *window, return_indices=True)[1].detach())
        return x.flatten(2).gather(2, places.flatten(2)).view(places.shape)

    hooks = [
        module.register_forward_hook(note(f"{role}.{name}"))
        for role, network in networks.items()
        for name, module in network.named_modules()
        if name and not list(module.children())
    ]
    before, pool = (F.relu, F.leaky_relu, F.max_pool2d), F.max_pool2d
    F.relu, F.leaky_relu, F.max_pool2d = (lambda x: leaky_relu(x, 0.0)), leaky_relu, max_pool2d
    try:
        yield choices
    finally:
        F.relu, F.leaky_relu, F.max_pool2d = before
        for hook in hooks:
            hook.remove()


def apart(found: dict[str, np.ndarray], true: dict[str, np.ndarray]) -> float:
    """L2 distance of whole gradients, relative to the true one's norm."""
    return relative(*(np.concatenate([one[name].reshape(-1) for name in true]) for one in (found, true)))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the switches of every batch of an exam, and its gradients' distances, for torch in float32 on the CPU."""
    from benchmarks.parity.__main__ import add_exam, exam_of

    made = argparse.ArgumentParser(
        prog="python -m benchmarks.parity.switches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_exam(made)
    given = made.parse_args(argv)
    return guarded(lambda: _print(exam_of(given)))


def _print(exam: Exam) -> None:
    from backends.torch import probe

    single, double = (probe.make_learner(exam.learner, precision=precision) for precision in ("float32", "float64"))
    for index in range(exam.batches):
        found = held(exam, single, index)
        true, raw = (gradients(exam, learner, index)[0] for learner in (double, single))
        print(f"Batch {index}: {len(found.places)} of {found.count} choices are not those of float64")
        print("".join(f"  {words}\n" for words in found.places[:SHOWN]), end="")
        print(f"  gradients {apart(raw, true):.1e} from float64's, {apart(found.gradients, true):.1e} with its choices")


if __name__ == "__main__":
    sys.exit(main())
