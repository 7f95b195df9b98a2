"""One whole step of a learner in float64 against NumPy: losses, gradients, Adam, mean teachers, statistics.

The reference forwards every network in training mode, takes the oracle's losses, and checks the gradients that
Adam received by central differences of that reference.
"""

from typing import NamedTuple

import numpy as np
import pytest

from duoreid.core.contract.learner import Batch
from duoreid.core.contract.state import FIRST, SECOND
from duoreid.core.losses.objectives import SOFT_AND_HARD
from duoreid.core.methods.registry import spec_of
from duoreid.core.random import rng
from duoreid.core.settings.config import LearnerConfig
from tests.conformance.examples import MMT, SOURCE, example_batch, example_state, fresh, views_of
from tests.conformance.reference import Objective, adam
from tests.conftest import learner_of
from tests.tolerances import check_close, tolerance

RATE, EMA = 1e-3, 0.75
CONFIGS = {"source": SOURCE, "mmt": MMT}

_steps: dict[tuple[str, str], "Step"] = {}


class Step(NamedTuple):
    """A step as a backend did it: the state before and after, and the losses."""

    config: LearnerConfig
    before: dict[str, np.ndarray]
    batch: Batch
    losses: dict[str, float]
    after: dict[str, np.ndarray]

    def gradient(self, name: str) -> np.ndarray:
        """The gradient of "total" that Adam received, without the weight decay, from its first moment."""
        return self.after[FIRST + name] / 0.1 - self.config.weight_decay * self.before[name].astype(np.float64)

    @property
    def trained(self) -> list[str]:
        return [name.removeprefix(FIRST) for name in self.before if name.startswith(FIRST)]


def step_of(backend: str, method: str) -> Step:
    """Do one step in float64, once a session for each backend and method."""
    key = (backend, method)
    if key not in _steps:
        config = CONFIGS[method]
        before, batch = fresh(example_state(config, seed=5)), example_batch(1, views=views_of(config))
        learner = learner_of(backend, config, "float64")
        learner.import_state(before)
        learner.step(batch, RATE, EMA)
        _steps[key] = Step(config, before, batch, learner.losses(), learner.export_state())
    return _steps[key]


METHODS = pytest.mark.parametrize("method", [pytest.param("source", marks=pytest.mark.long), "mmt"])
"""MMT's step has all of the terms of the source's, of which torch's statistics are tested beside it."""


@METHODS
def test_losses(backend, method):
    step = step_of(backend, method)
    expected = Objective(step.config, step.before, step.batch).losses()
    assert step.losses.keys() == expected.keys()
    for name, value in expected.items():
        assert abs(value) > 0.1
        check_close("step.losses.float64", step.losses[name], value, what=name)


@pytest.mark.parametrize("term", SOFT_AND_HARD)
def test_a_flipped_term_is_caught(backend, term):
    """Neither the total nor the gradient fits an objective in which one of the four terms has the other sign."""
    step = step_of(backend, "mmt")
    objective = Objective(step.config, step.before, step.batch)
    check_slopes(step, objective, every=20)
    flipped = objective.losses()["total"] - 2 * getattr(step.config.section, term) * objective.losses()[term]
    with pytest.raises(AssertionError, match="differs by"):
        check_close("step.losses.float64", step.losses["total"], flipped)
    true = objective.losses
    objective.losses = lambda: {"total": true()["total"] - 2 * getattr(step.config.section, term) * true()[term]}
    with pytest.raises(AssertionError, match="differs by"):
        check_slopes(step, objective, every=20)


def check_slopes(step: Step, objective: Objective, every: int = 1) -> None:
    """Compare the gradient of every so-manieth tensor with the objective's slope along itself and across."""
    for index, name in enumerate(step.trained[::every]):
        role, tensor = name.split(".", 1)
        gradient = step.gradient(name)
        length = np.linalg.norm(gradient)
        assert length > 1e-6, f"{name} has next to no gradient"
        along = objective.slope(role, tensor, gradient / length)
        check_close("gradient.along", along, length, what=name)
        direction = rng(index, "direction").standard_normal(gradient.shape)
        direction /= np.linalg.norm(direction)
        across = objective.slope(role, tensor, direction)
        expected = float((gradient * direction).sum())
        check_close("gradient.across", across, expected, scale=length / np.sqrt(gradient.size), what=f"{name}, across")


@METHODS
def test_gradients(backend, method):
    step = step_of(backend, method)
    assert len(step.trained) == (76 if method == "mmt" else 38)
    check_slopes(step, Objective(step.config, step.before, step.batch))


@METHODS
def test_adam_moved_the_students(backend, method):
    step = step_of(backend, method)
    for name in step.trained:
        gradient = step.gradient(name)
        expected = adam(step.before[name], [gradient], [RATE], step.config.weight_decay)
        check_close("step.parameters.float64", step.after[name], expected, what=name)
        decayed = gradient + step.config.weight_decay * step.before[name].astype(np.float64)
        check_close("step.parameters.float64", step.after[SECOND + name], 0.001 * decayed**2, what=name)
    assert step.after["adam.step"] == 1


@METHODS
def test_the_neck_bias_is_frozen_and_used(backend, method):
    step = step_of(backend, method)
    for role in spec_of(method).students:
        bias = step.before[f"{role}.neck.bias"]
        assert np.abs(bias).max() > 0.1
        np.testing.assert_array_equal(step.after[f"{role}.neck.bias"], bias)
        assert f"{FIRST}{role}.neck.bias" not in step.after


def teacher_parameters(state: dict[str, np.ndarray], k: int) -> list[tuple[str, str]]:
    """Pairs of names (teacher, student) of what the average covers."""
    names = [name for name in state if name.startswith(f"teacher{k}.") and ".running_" not in name]
    assert len(names) == 39
    return [(name, name.replace("teacher", "student")) for name in names]


@pytest.mark.parametrize("k", [1, 2])
def test_teachers_follow_the_parameters_after_the_update(backend, k):
    step = step_of(backend, "mmt")
    too_early = 0
    for teacher, student in teacher_parameters(step.before, k):
        old = step.before[teacher].astype(np.float64)
        expected = EMA * old + (1 - EMA) * step.after[student]
        check_close("ema.float64", step.after[teacher], expected, what=teacher)
        stale = EMA * old + (1 - EMA) * step.before[student]
        too_early += np.abs(stale - expected).max() > tolerance("ema.float64") * np.abs(expected).max()
    assert too_early >= 38, "the students hardly moved: an average over the old students would pass"


def statistics(values: dict[str, np.ndarray], role: str) -> dict[str, np.ndarray]:
    """The running statistics of one network of a state."""
    prefix = f"{role}."
    running = {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix) and ".running_" in n}
    assert len(running) == 26
    return running


def compare_statistics(running, expected):
    for name, value in expected.items():
        check_close("network.float64", running[name], value, what=name)


@METHODS
def test_statistics_come_from_each_network_s_own_forwards(backend, method):
    step = step_of(backend, method)
    objective = Objective(step.config, step.before, step.batch)
    for role in spec_of(method).all:
        compare_statistics(statistics(step.after, role), objective.networks[role].buffers)


@pytest.mark.parametrize("k", [1, 2])
def test_other_rules_for_the_teachers_statistics_are_caught(backend, k):
    """Copied from the student, averaged with the student's, left alone, or taken from the other view."""
    step = step_of(backend, "mmt")
    teacher = statistics(step.after, f"teacher{k}")
    old, student = statistics(step.before, f"teacher{k}"), statistics(step.after, f"student{k}")
    exchanged = step.batch._replace(images=step.batch.images[::-1])
    other_view = Objective(step.config, step.before, exchanged).networks[f"teacher{k}"].buffers
    averaged = {name: EMA * old[name].astype(np.float64) + (1 - EMA) * student[name] for name in old}
    for wrong in (student, averaged, old, other_view):
        with pytest.raises(AssertionError, match="differs by"):
            compare_statistics(teacher, wrong)


def test_the_second_view_of_the_source_method_moves_statistics(backend):
    """The tests above hold it to moving nothing else; without it the statistics would be others, layer by layer."""
    step = step_of(backend, "source")
    running = statistics(step.after, "student")
    alone = Objective(step.config, step.before, step.batch._replace(images=step.batch.images[:1]))
    exchanged = Objective(step.config, step.before, step.batch._replace(images=step.batch.images[::-1]))
    for wrong in (alone, exchanged):
        for name, value in wrong.networks["student"].buffers.items():
            with pytest.raises(AssertionError, match="differs by"):
                check_close("network.float64", running[name], value)


def test_the_first_update_copies_the_student(backend):
    learner = learner_of(backend, MMT)
    learner.import_state(fresh(example_state(MMT)))
    learner.step(example_batch(), RATE, 0.0)
    state = learner.export_state()
    for k in (1, 2):
        for teacher, student in teacher_parameters(state, k):
            np.testing.assert_array_equal(state[teacher], state[student], err_msg=teacher)
        same = [np.array_equal(state[f"teacher{k}.{n}"], v) for n, v in statistics(state, f"student{k}").items()]
        assert not any(same), "statistics belong to each network, the first update included"
