"""Whole steps of MVD against NumPy in float64: losses, gradients, optimisers, statistics, dropout, ten steps on end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from duoreid.core.contract.state import FIRST, MOMENTUM
from duoreid.core.contract.treatment import treatments
from duoreid.core.settings.config import NetworkConfig
from tests.conformance.comparison_mvd import (
    PRECISION,
    RATE,
    VARIANTS,
    as_float64,
    close,
    draw,
    moved,
    trained_of,
    variants,
)
from tests.conformance.examples_mvd import CONFIGS, FULL, example_batch, example_state, fresh
from tests.conformance.reference import adam
from tests.conformance.reference_mvd import ROLES, MVDObjective
from tests.conftest import learner_of
from tests.tolerances import check_close

_steps: dict = {}


def step_of(backend, name):
    """One step, once a session: (state before, batch, losses, state after)."""
    if (backend, name) not in _steps:
        config = CONFIGS[name]
        before, batch = fresh(example_state(config, seed=5)), example_batch(config, 1)
        learner = learner_of(backend, config, PRECISION[backend])
        learner.import_state(before)
        learner.step(batch, RATE, 0.0)
        _steps[backend, name] = before, batch, learner.losses(), learner.export_state()
    return _steps[backend, name]


@VARIANTS
def test_losses_of_a_step(backend, name):
    before, batch, parts, _ = step_of(backend, name)
    expected = MVDObjective(CONFIGS[name], before, batch).losses()
    assert parts.keys() == expected.keys()
    wanted = {"id": {"id"}, "id+tri": {"id", "metric"}}.get(CONFIGS[name].section.objective, set())
    assert not wanted or set(parts) == wanted | {"total"}
    for part, value in expected.items():
        assert abs(value) > 1e-3, f"{part} is too small to tell anything"
        close(backend, "step.losses", parts[part], value, what=part)


def gradient_of(config, before, after, name):
    """The gradient that the optimiser received, without the weight decay, from its first moment."""
    prefix, share = (FIRST, 0.1) if config.optimiser == "adam" else (MOMENTUM, 1.0)
    return after[prefix + name] / share - config.weight_decay * before[name].astype(np.float64)


BEFORE_A_NORM = [f"bottleneck.{name}.bias" for name in ("linear1", "linear2", "hidden")]


@variants(
    "full",
    "reference, attention",
    "id+tri, triplet",
    "id+tri, centre",
    "sgd, slow backbone",
    "the PyTorch code's",
    "the port's",
    "all the others",
)
def test_gradients_of_a_step(backend, name):
    """Along the gradient, and for every tensor: attention and bottleneck included."""
    config = CONFIGS[name]
    before, batch, _, after = step_of(backend, name)
    objective = MVDObjective(config, before, batch)
    names = trained_of(config)
    assert any("attention3.gamma" in tensor for tensor in names) == config.section.channel_attention
    chosen = names[:: 2 if name == "full" else 7]
    for tensor in chosen + [tensor for tensor in names if tensor.endswith(".gamma")]:
        role, short = tensor.split(".", 1)
        gradient = gradient_of(config, before, after, tensor)
        length = np.linalg.norm(gradient)
        if short in BEFORE_A_NORM:
            assert length < 1e-4, "the batch norm behind it takes a bias away again"
            continue
        if config.section.metric != "ranked-list" and short == "bottleneck.linear3.bias":
            limit = 1e-10 if PRECISION[backend] == "float64" else 1e-5
            assert length < limit, "a shift of z changes no distance, and the batch norm behind it removes it"
            continue
        assert length > 1e-6, f"{tensor} has next to no gradient"
        along = objective.slope(role, short, gradient / length)
        kind = "gradient.along" if PRECISION[backend] == "float64" else "gradient.along.float32"
        check_close(kind, along, length, what=tensor)


def test_a_flipped_or_missing_term_is_caught(backend):
    before, batch, parts, _ = step_of(backend, "full")
    objective = MVDObjective(FULL, before, batch)
    for term in ("cml", "vsd", "vcd", "vml"):
        for wrong in (0.0, 2 * getattr(FULL.section, term)):
            with pytest.raises(AssertionError, match="differs by"):
                close(backend, "step.losses", parts["total"], objective.losses(**{term: wrong})["total"])


@VARIANTS
def test_the_optimiser_s_step(backend, name):
    """Heads at the full rate, backbones at their factor of it."""
    config = CONFIGS[name]
    before, _, _, after = step_of(backend, name)
    for tensor in trained_of(config)[::5]:
        rate = RATE * treatments(config, [tensor])[0].factor
        gradient = gradient_of(config, before, after, tensor)
        if config.optimiser == "adam":
            expected = adam(before[tensor], [gradient], [rate], config.weight_decay)
        else:
            expected = sgd(before[tensor], [gradient], [rate], config.weight_decay)
        close(backend, "step.parameters", after[tensor], expected, what=tensor)
    assert after[f"{config.optimiser}.step"] == 1


def sgd(parameter, gradients, rates, weight_decay):
    """SGD with Nesterov's momentum of 0.9 and weight decay added to the gradient."""
    parameter = np.asarray(parameter, np.float64)
    momentum = np.zeros_like(parameter)
    for gradient, rate in zip(gradients, rates, strict=True):
        gradient = np.asarray(gradient, np.float64) + weight_decay * parameter
        momentum = 0.9 * momentum + gradient
        parameter = parameter - rate * (gradient + 0.9 * momentum)
    return parameter


def test_sgd_over_steps(probe):
    parameters = [draw(3, 4, step=30), draw(5, step=31)]
    gradients = [[draw(3, 4, step=32 + k), draw(5, step=42 + k)] for k in range(8)]
    rates = [0.1 * (1 + k % 3) for k in range(8)]
    moved = probe.sgd(parameters, gradients, rates, 5e-4)
    for index, parameter in enumerate(parameters):
        expected = sgd(parameter, [step[index] for step in gradients], rates, 5e-4)
        assert np.abs(expected - parameter).max() > 0.1
        check_close("adam.float64", moved[index], expected, scale=sum(rates), what=f"tensor {index}")


@VARIANTS
def test_statistics_of_a_step(backend, name):
    """The shared branch takes its statistics over both forms at once."""
    config = CONFIGS[name]
    before, batch, _, after = step_of(backend, name)
    objective = MVDObjective(config, before, batch)
    for role in ROLES:
        for buffer, value in objective.networks[role].buffers.items():
            kind = "network.float64" if PRECISION[backend] == "float64" else "network.train.float32"
            check_close(kind, after[f"{role}.{buffer}"], value, what=f"{role}.{buffer}")


@variants("full", "no dropout", "all the others")
def test_ten_steps_against_the_reference(backend, name):
    """Each from where the last one ended: losses, and the optimiser's step from its moments."""
    config, history = CONFIGS[name], []
    learner = learner_of(backend, config, PRECISION[backend])
    learner.import_state(fresh(example_state(config, seed=6)))
    before = as_float64(learner.export_state())
    for step in range(10):
        batch = example_batch(config, step % 2)
        learner.step(batch, RATE, 0.0)
        parts, after = learner.losses(), as_float64(learner.export_state())
        for part, value in MVDObjective(config, before, batch).losses().items():
            close(backend, "step.losses", parts[part], value, scale=parts["total"], what=f"step {step}, {part}")
        for tensor in trained_of(config)[::9]:
            expected = moved(config, before, after, tensor, step + 1)
            close(backend, "step.parameters", after[tensor], expected, what=f"step {step}, {tensor}")
        before = after
        history.append(parts["total"])
    assert history[-2] < 0.98 * history[0]


def test_float32_follows_float64_over_ten_steps():
    """In torch, with SGD, whose steps do not magnify the rounding of small gradients as Adam's do."""
    config, curves = CONFIGS["sgd, slow backbone"], {}
    for precision in ("float32", "float64"):
        learner = learner_of("torch", config, precision)
        learner.import_state(fresh(example_state(config, seed=6)))
        curves[precision] = []
        for step in range(10):
            learner.step(example_batch(config, step % 2), 3e-3, 0.0)
            curves[precision].append(learner.losses())
    assert curves["float64"][-2]["total"] < 0.95 * curves["float64"][0]["total"], "ten steps must change something"
    for single, double in zip(curves["float32"], curves["float64"], strict=True):
        for part, value in double.items():
            check_close("mvd.ten_steps.float32", single[part], value, scale=double["total"], what=part)


def test_noise_decides_what_is_dropped(backend):
    learner, state, batch = learner_of(backend, FULL, PRECISION[backend]), example_state(FULL), example_batch(FULL)
    id_losses = []
    for noise in (batch.noise, batch.noise, 1 - batch.noise, np.ones_like(batch.noise)):
        learner.import_state(state)
        learner.step(batch._replace(noise=noise), RATE, 0.0)
        id_losses.append(learner.losses()["id"])
    assert id_losses[0] == id_losses[1]
    assert len(set(id_losses)) == 3


def test_groups_of_batch_norm():
    """The shared branch's batch is twice that of the others; each branch's groups hold as many images.

    MindSpore's are those of "all the others".
    """
    backend = "torch"
    config = replace(FULL, network=NetworkConfig("shallow", batch_norm_group=4))
    learner, state, batch = learner_of(backend, config, "float64"), example_state(config), example_batch(config)
    learner.import_state(state)
    learner.step(batch, RATE, 0.0)
    parts = learner.losses()
    for part, value in MVDObjective(config, state, batch).losses().items():
        check_close("step.losses.float64", parts[part], value, what=part)
    assert parts["total"] != pytest.approx(MVDObjective(FULL, state, batch).losses()["total"], rel=1e-3)
