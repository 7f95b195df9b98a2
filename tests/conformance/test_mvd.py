"""MVD against NumPy in float64: its losses, its branches, whole steps with and without dropout, its optimisers.

Every configuration costs MindSpore a compilation, in float64 a long one: its whole steps are compared here in float32,
in two configurations that together have everything, of which one is long. tests/parity holds its float64 to torch's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from duoreid.core import losses
from duoreid.core.contract.state import FIRST, MOMENTUM, SECOND, expected_shapes, initial
from duoreid.core.contract.treatment import treatments
from duoreid.core.random import rng
from duoreid.core.settings.config import NetworkConfig
from tests.conformance.examples_mvd import CONFIGS, FULL, example_batch, example_state, fresh, variant
from tests.conformance.reference import adam
from tests.conformance.reference_mvd import ROLES, MVDObjective, embedding
from tests.conftest import learner_of, probe_of
from tests.tolerances import check_close

RATE = 1e-3
PRECISION = {"torch": "float64", "mindspore": "float32"}
COMPILED = {"full": (), "all the others": pytest.mark.long}
"""What MindSpore compiles: a minute for the second. Shorter: tests/golden holds MindSpore, without compiling, to the
losses, gradients and statistics of the port, which has most of these settings; other losses and SGD stand here."""

DTYPES = pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.long), np.float64])
"""A single function in float32 has shorter tests: itself in float64, and the whole steps in float32 below."""


def variants(*names):
    """Parametrize by backend and configuration: torch takes those named, MindSpore what is compiled of them."""
    chosen = [("torch", name) for name in names]
    chosen += [pytest.param("mindspore", name, marks=marks) for name, marks in COMPILED.items() if name in names]
    return pytest.mark.parametrize(("backend", "name"), chosen)


VARIANTS = variants(*CONFIGS)


def close(backend, kind, *values, **options):
    """check_close by the tolerance of the precision in which the backend was run."""
    check_close(f"{kind}.{PRECISION[backend]}", *values, **options)


# Losses


def draw(*shape, step=0, scale=1.0):
    return scale * rng(0, "conformance of MVD", 0, step).standard_normal(shape)


IDENTITIES = np.repeat([7, 0, 3, 9], 4)
MODALITIES = np.tile([0, 0, 1, 1], 4)
UNEVEN = np.array([2, 5, 2, 5, 5, 2, 1, 1]), np.array([0, 0, 1, 0, 1, 0, 0, 1])
FEATURES = {
    "plain": (draw(16, 12, step=1), IDENTITIES, MODALITIES),
    "shuffled": tuple(array[draw(16, step=2).argsort()] for array in (draw(16, 12, step=3), IDENTITIES, MODALITIES)),
    "uneven groups": (draw(8, 5, step=4), *UNEVEN),
    "one modality": (draw(16, 12, step=5), IDENTITIES, 0 * MODALITIES),
    "every image another": (draw(6, 3, step=6), np.arange(6), np.arange(6) % 2),
    "near classes": (draw(16, 12, step=7, scale=0.2) + 1.0, IDENTITIES, MODALITIES),
}
LOGITS = {
    "plain": (draw(16, 7, step=8), draw(16, 7, step=9), 7),
    "dead columns": (draw(12, 9, step=10, scale=3), draw(12, 9, step=11, scale=3), 5),
    "sharp": (draw(10, 6, step=12, scale=30), draw(10, 6, step=13, scale=30), 6),
    "equal": (draw(8, 6, step=14), draw(8, 6, step=14), 6),
    "one row": (draw(1, 4, step=15), draw(1, 4, step=16), 4),
}


def compare(kind, computed, expected, inputs):
    """Value and gradient of every input, at the scale of their size."""
    value, gradients = computed
    true, *true_gradients = expected
    check_close(kind, value, true, scale=max(abs(true), *(np.abs(x).max() for x in inputs)), what="value")
    for index, (gradient, exact) in enumerate(zip(gradients, true_gradients, strict=True)):
        size = max(np.abs(exact).max(), 0.1 / len(exact))
        check_close(kind, gradient, exact, scale=size, what=f"gradient of input {index}")


@DTYPES
@pytest.mark.parametrize("case", FEATURES)
@pytest.mark.parametrize("loss", ["ranked_list", "triplet", "centre_triplet"])
def test_metric_losses(probe, loss, case, dtype):
    features, *integers = FEATURES[case]
    features = features.astype(dtype)
    integers = integers[:1] if loss == "triplet" else integers
    computed = probe.gradients_of_loss(loss, (features,), tuple(integers))
    kind = f"loss.{np.dtype(dtype).name}" + (".cancelling" if case == "near classes" else "")
    compare(kind, computed, getattr(losses, loss)(features, *integers), (features,))


@pytest.mark.parametrize("loss", ["triplet", "centre_triplet"])
def test_margin(probe, loss):
    features, *integers = FEATURES["plain"]
    integers = integers[:1] if loss == "triplet" else integers
    narrow, wide = (probe.gradients_of_loss(loss, (features,), tuple(integers), margin=m)[0] for m in (0.3, 5.0))
    assert wide == pytest.approx(getattr(losses, loss)(features, *integers, 5.0)[0])
    assert wide > narrow + 4


@DTYPES
@pytest.mark.parametrize("case", LOGITS)
@pytest.mark.parametrize("form", ["paper", "reference"])
def test_distillation(probe, form, case, dtype):
    observation, representation, classes = LOGITS[case]
    pair = observation.astype(dtype), representation.astype(dtype)
    computed = probe.gradients_of_loss("distillation", pair, form=form, classes=classes)
    value, gradient = losses.distillation(*pair, form=form, classes=classes)
    compare(f"loss.{np.dtype(dtype).name}", computed, (value, np.zeros_like(gradient), gradient), pair)
    assert not computed[1][0].any(), "the target must be a constant"


@DTYPES
@pytest.mark.parametrize("case", LOGITS)
@pytest.mark.parametrize("loss", ["jensen_shannon", "mutual_learning"])
def test_mutual_losses(probe, loss, case, dtype):
    first, second, classes = LOGITS[case]
    pair = first.astype(dtype), second.astype(dtype)
    computed = probe.gradients_of_loss(loss, pair, classes=classes)
    kind = f"loss.{np.dtype(dtype).name}" + (".transport" if loss == "mutual_learning" else "")
    compare(kind, computed, getattr(losses, loss)(*pair, classes=classes), pair)


@DTYPES
@pytest.mark.parametrize("case", LOGITS)
def test_guarded_mutual_learning(probe, case, dtype):
    first, second, classes = LOGITS[case]
    pair = first.astype(dtype), second.astype(dtype)
    computed = probe.gradients_of_loss("mutual_learning", pair, classes=classes, form="reference")
    expected = losses.mutual_learning(*pair, classes=classes, form="reference")
    compare(f"loss.{np.dtype(dtype).name}.transport", computed, expected, pair)


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("iterations", [1, 3, 100])
@pytest.mark.parametrize("epsilon", [0.01, 0.5])
def test_sinkhorn_stops_where_the_oracle_stops(probe, iterations, epsilon, guarded):
    x, y = draw(6, 3, step=20, scale=0.3), draw(5, 3, step=21, scale=0.3)
    options = {"epsilon": epsilon, "iterations": iterations, "threshold": 0.01, "guarded": guarded}
    computed = probe.gradients_of_loss("sinkhorn", (x, y), **options)
    compare("loss.float64.transport", computed, losses.sinkhorn(x, y, **options), (x, y))


def test_points_far_apart_do_not_underflow(probe):
    """Costs of 2, the largest between two softmax outputs, are 200 epsilon: exp(-200) is 0 in float32."""
    x, y = np.eye(4, dtype=np.float32)[[0, 0]], np.eye(4, dtype=np.float32)[[1, 2]]
    value, gradients = probe.gradients_of_loss("sinkhorn", (x, y))
    assert value == pytest.approx(2, rel=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


# Whole steps

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


def trained_of(config):
    prefix = FIRST if config.optimiser == "adam" else MOMENTUM
    return [name.removeprefix(prefix) for name in expected_shapes(config) if name.startswith(prefix)]


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
    before = double(learner.export_state())
    for step in range(10):
        batch = example_batch(config, step % 2)
        learner.step(batch, RATE, 0.0)
        parts, after = learner.losses(), double(learner.export_state())
        for part, value in MVDObjective(config, before, batch).losses().items():
            close(backend, "step.losses", parts[part], value, scale=parts["total"], what=f"step {step}, {part}")
        for tensor in trained_of(config)[::9]:
            expected = moved(config, before, after, tensor, step + 1)
            close(backend, "step.parameters", after[tensor], expected, what=f"step {step}, {tensor}")
        before = after
        history.append(parts["total"])
    assert history[-2] < 0.98 * history[0]


def double(state):
    return {name: value.astype(np.float64) for name, value in state.items()}


def moved(config, before, after, tensor, step):
    """Where the optimiser's step number `step` puts a tensor, given its moments before and after."""
    rate = RATE * treatments(config, [tensor])[0].factor
    if config.optimiser == "adam":
        mean, square = after[FIRST + tensor] / (1 - 0.9**step), after[SECOND + tensor] / (1 - 0.999**step)
        return before[tensor] - rate * mean / (np.sqrt(square) + 1e-8)
    new, old = after[MOMENTUM + tensor], before[MOMENTUM + tensor]
    return before[tensor] - rate * (new - 0.9 * old + 0.9 * new)


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


# Features of the test


@variants("full", "reference, attention", "the PyTorch code's", "the port's", "all the others")
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_feature_is_the_four_observations(backend, name, precision):
    if precision == "float64" and backend == "mindspore":
        pytest.skip("tests/parity holds it to torch's, beside the steps that it is compiled for")
    config = CONFIGS[name]
    learner, images = learner_of(backend, config, precision), example_batch(config, 3).images
    learner.import_state(example_state(config))
    images = np.concatenate([images[0], images[1, :3]])
    features = learner.embed([images[:5], images[5:]])
    assert features.shape == (1, 11, 4 * 16)
    assert features.dtype == precision
    kind = "network.float64" if precision == "float64" else "network.test.float32"
    check_close(kind, features[0], embedding(config, example_state(config), images))


# State


@variants("full", "reference, attention", "sgd, slow backbone", "all the others")
def test_state_round_trip_and_exact_resume(backend, name):
    config = CONFIGS[name]
    learner, state = learner_of(backend, config), example_state(config)
    learner.import_state(state)
    exported = learner.export_state()
    assert exported.keys() == expected_shapes(config).keys() == state.keys()
    for tensor, value in state.items():
        np.testing.assert_array_equal(exported[tensor], value, err_msg=tensor)
    for step in range(2):
        learner.step(example_batch(config, step), RATE, 0.0)
    middle = learner.export_state()
    learner.step(example_batch(config, 2), RATE, 0.0)
    straight = learner.export_state()
    learner.import_state(middle)
    learner.step(example_batch(config, 2), RATE, 0.0)
    again = learner.export_state()
    for tensor, value in straight.items():
        np.testing.assert_array_equal(again[tensor], value, err_msg=tensor)
    assert straight[f"{config.optimiser}.step"] == 10


@variants("full", "sgd, slow backbone", "all the others")
def test_imported_moments_move_their_own_numbers(backend, name):
    """Each number of a tensor by its own moment, however a backend lays tensors out in memory."""
    config = CONFIGS[name]
    learner = learner_of(backend, config, PRECISION[backend])
    learner.import_state(example_state(config))
    before = double(learner.export_state())
    learner.step(example_batch(config), RATE, 0.0)
    after = double(learner.export_state())
    for tensor in trained_of(config):
        expected = moved(config, before, after, tensor, 8)
        close(backend, "step.parameters", after[tensor], expected, what=tensor)


def test_a_new_learner_has_the_canonical_initial_state(backend):
    config = variant(channel_attention=True)
    state = probe_of(backend).make_learner(config, seed=4).export_state()
    for tensor, value in initial(config, 4).items():
        np.testing.assert_array_equal(state[tensor], value, err_msg=tensor)


def test_centroids_are_refused(backend):
    with pytest.raises(ValueError, match="true labels"):
        learner_of(backend, FULL).relabel(np.zeros((4, 16), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: batch._replace(noise=None), "noise for 64 rows of z, got none"),
        (lambda batch: batch._replace(noise=batch.noise[:-1]), "noise for 64 rows of z, got 63 rows"),
        (lambda batch: batch._replace(images=batch.images[:1]), r"mvd takes 2 views .*visible.*infrared.*got 1"),
    ],
)
def test_a_batch_that_is_not_whole_is_refused(backend, change, message):
    learner = learner_of(backend, FULL)
    learner.import_state(example_state(FULL))
    with pytest.raises(ValueError, match=message):
        learner.step(change(example_batch(FULL)), RATE, 0.0)


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
