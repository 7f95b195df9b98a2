"""The canonical state of a learner: names, shapes and the check that a state is whole.

For each network `ROLE.TENSOR` (names of core/networks/network.py); for each trained tensor of a student Adam's
moments `adam.first.ROLE.TENSOR` and `adam.second.ROLE.TENSOR`, or SGD's momentum `sgd.momentum.ROLE.TENSOR`;
`adam.step` or `sgd.step`, and `classes` (live classes), both int64 (); the method's own arrays, each under its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from duoreid.core.errors import UserError
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.tensors import Entry, draw
from duoreid.core.settings.config import LearnerConfig

FIRST, SECOND, MOMENTUM = "adam.first.", "adam.second.", "sgd.momentum."
MOMENTS = {"adam": (FIRST, SECOND), "sgd": (MOMENTUM,)}
"""What each optimiser remembers of every trained tensor, by the prefix of its name."""


def tensors_of(config: LearnerConfig) -> list[Entry]:
    """Return the tensors that each network of a learner has."""
    return spec_of(config.method).tensors(config)


def arrays_of(config: LearnerConfig) -> list[Entry]:
    """Return the arrays that the method itself keeps on the device."""
    return spec_of(config.method).arrays(config)


def expected_shapes(config: LearnerConfig) -> dict[str, tuple[int, ...]]:
    """Return every name of the state with its shape."""
    tensors = tensors_of(config)
    shapes = {}
    for role in spec_of(config.method).all:
        shapes.update({f"{role}.{entry.name}": entry.shape for entry in tensors})
    for role in spec_of(config.method).students:
        for entry in tensors:
            if entry.trained:
                shapes.update({f"{prefix}{role}.{entry.name}": entry.shape for prefix in MOMENTS[config.optimiser]})
    shapes.update({entry.name: entry.shape for entry in arrays_of(config)})
    return shapes | {step_name(config): (), "classes": ()}


def step_name(config: LearnerConfig) -> str:
    """Return the name of the optimiser's count of steps."""
    return f"{config.optimiser}.step"


def initial(config: LearnerConfig, seed: int, dtype: type = np.float32) -> dict[str, np.ndarray]:
    """Return the state at the start: students i drawn from seed + i, teachers equal to them, moments at zero."""
    chosen, state = spec_of(config.method), {}
    for index, role in enumerate(chosen.students):
        drawn = draw(tensors_of(config), seed + index)
        for twin in (role, *chosen.teachers[index : index + 1]):
            state.update({f"{twin}.{name}": value.astype(dtype) for name, value in drawn.items()})
    state.update({name: value.astype(dtype) for name, value in draw(arrays_of(config), seed).items()})
    for name, shape in expected_shapes(config).items():
        if name not in state:
            state[name] = np.zeros(shape, dtype)
    return state | {step_name(config): np.int64(0), "classes": np.int64(config.classes)}


def at_rest(config: LearnerConfig, dtype: type = np.float32) -> dict[str, np.ndarray]:
    """Return the state at the start without the networks: moments at zero, counters, the method's own arrays.

    What stands beside networks that come from a file: to draw their weights first would take seconds.
    """
    state = {name: value.astype(dtype) for name, value in draw(arrays_of(config), 0).items()}
    networks = tuple(f"{role}." for role in spec_of(config.method).all)
    for name, shape in expected_shapes(config).items():
        if name not in state and not name.startswith(networks):
            state[name] = np.zeros(shape, dtype)
    return state | {step_name(config): np.int64(0), "classes": np.int64(config.classes)}


def check_state(state: Mapping[str, np.ndarray], config: LearnerConfig, where: str = "the state") -> None:
    """Raise UserError that lists what is missing, unexpected, of another shape, not finite or out of range."""
    expected, problems = expected_shapes(config), []
    for name in sorted(expected.keys() - state.keys()):
        problems.append(f"missing: {name} {expected[name]}")
    for name in sorted(state.keys() - expected.keys()):
        problems.append(f"unexpected: {name} {np.shape(state[name])}")
    for name in sorted(expected.keys() & state.keys()):
        if tuple(np.shape(state[name])) != tuple(expected[name]):
            problems.append(f"shape: {name} is {np.shape(state[name])}, expected {expected[name]}")
        elif not np.isfinite(state[name]).all():
            problems.append(f"not finite: {name}")
    live = state.get("classes")
    if np.shape(live) == () and live is not None and not 1 <= live <= config.capacity:
        problems.append(f"classes: {live} live ones, expected 1 to {config.capacity}, the rows of the classifiers")
    if problems:
        shown = "\n  ".join(problems[:20]) + (f"\n  ... and {len(problems) - 20} more" if len(problems) > 20 else "")
        raise UserError(
            f"{where} does not fit method {config.method!r} with {config.network.arch} and {config.capacity} classes:\n"
            f"  {shown}\nGive the method, architecture and class count that the state was made with."
        )


def network(state: Mapping[str, np.ndarray], role: str) -> dict[str, np.ndarray]:
    """Return the tensors of one network without its role's prefix."""
    prefix = f"{role}."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def capacity_of(state: Mapping[str, np.ndarray], config: LearnerConfig) -> int:
    """Return the rows of the state's classifiers, or the configured capacity where it has none."""
    name = f"{spec_of(config.method).students[0]}.classifier.weight"
    return int(np.shape(state[name])[0]) if name in state else config.capacity


def overlay(
    state: Mapping[str, np.ndarray], method: str, networks: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return the state with student i, and its teacher, started from network i; classifiers stay as they are."""
    chosen, changed = spec_of(method), dict(state)
    for index, tensors in enumerate(networks):
        for role in (chosen.students[index], *chosen.teachers[index : index + 1]):
            kept = {f"{role}.{name}": value for name, value in tensors.items() if name != "classifier.weight"}
            changed.update(kept)
    return changed
