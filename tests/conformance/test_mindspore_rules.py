"""Rules that this backend follows in MindSpore; why there are such rules, `test_mindspore_traps` shows."""

import ast
import importlib
import inspect
import os
import re
from dataclasses import replace
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from mindspore.graph import api

import duoreid.backends.mindspore
import duoreid.core.losses
from duoreid.backends.mindspore import layers, losses, optimiser, probe
from duoreid.backends.mindspore.learner import MindSporeLearner
from duoreid.backends.mindspore.runtime import RuntimeConfig, open_runtime
from duoreid.core.contract.probing import Probe
from duoreid.core.contract.treatment import Treatment
from duoreid.core.errors import UserError
from duoreid.core.settings.config import NetworkConfig
from tests.conformance import examples_mvd
from tests.conformance.examples import BASELINE, CLASSES, MMT, SHALLOW, example_batch, example_state, fresh
from tests.conformance.examples_mvd import FULL
from tests.conformance.reference import adam as reference
from tests.conftest import learner_of
from tests.tolerances import check_close

FOLDER = Path(duoreid.backends.mindspore.__file__).parent
TRAINING = (
    "__init__",
    "runtime",
    "layers",
    "networks",
    "losses",
    "methods",
    "multi_view",
    "optimiser",
    "learner",
    "probe",
)
BACKBONES = tuple(str(file.relative_to(FOLDER)) for file in sorted((FOLDER / "backbones").glob("*.py")))
TREES = {file: ast.parse((FOLDER / file).read_text()) for file in (*(f"{name}.py" for name in TRAINING), *BACKBONES)}
GRAPH_FILES = (*BACKBONES, "layers.py", "networks.py", "losses.py", "methods.py", "multi_view.py", "optimiser.py")


@pytest.fixture(scope="module", autouse=True)
def _cpu():
    open_runtime(RuntimeConfig(device="cpu"))


def nodes(kind):
    return [(name, node) for name, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, kind)]


# -- what the source may use ----------------------------------------------------------------------------------

NOT_OPERATIONS = {
    "ops.constexpr": "a decorator: runs while compiling",
    "ops.MultitypeFuncGraph": "a decorator",
    "nn.Cell": "the base class",
    "nn.CellList": "a container",
}


def operations():
    """Every name used after `ops.` or `nn.` in the backend."""
    names = {
        f"{node.value.id}.{node.attr}"
        for _, node in nodes(ast.Attribute)
        if isinstance(node.value, ast.Name) and node.value.id in ("ops", "nn")
    }
    return sorted(names - NOT_OPERATIONS.keys())


@pytest.mark.parametrize("name", operations())
def test_every_operation_runs_on_ascend(name):
    module, attribute = name.split(".")
    documentation = getattr({"ops": ops, "nn": nn}[module], attribute).__doc__
    platforms = re.search(r"Supported Platforms:\s*\n\s*(.+)", documentation or "")
    assert platforms, f"{name} does not say where it runs"
    assert "Ascend" in platforms[1], f"{name} runs on {platforms[1]} only"


def test_the_scan_sees_operations():
    assert {"ops.Conv2D", "ops.BatchNorm", "ops.Adam", "ops.group_norm", "nn.MaxPool2d"} <= set(operations())


FORBIDDEN = {
    "set_data": "detaches a parameter from functions compiled before: use optimiser.load",
    "assign_value": "as set_data",
    "load_param_into_net": "as set_data",
    "set_train": "ignored by functions compiled before: networks take `train` as an argument",
    "from_numpy": "shares memory with an array that may change while the device still reads",
    "relu": "turns NaN to 0: use layers.relu",
    "clamp": "drops NaN",
    "pad": "its gradient is wrong from the second call of a compiled function on",
    "log_softmax": "computes in float32 whatever comes in",
    "norm": "has gradient NaN at 0",
    "set_seed": "backends draw nothing, and this one seeds NumPy too",
    "add_": "in-place arithmetic changes nothing on the CPU without compilation",
    "mul_": "as add_",
    "sub_": "as add_",
    "div_": "as add_",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_no_forbidden_operation(name):
    used = [
        f"{file}:{node.lineno}"
        for file, node in nodes(ast.Attribute)
        if node.attr == name and ast.unparse(node) not in (f"np.linalg.{name}", f"layers.{name}", f"parts.{name}")
    ]
    assert not used, f".{name} in {used}: {FORBIDDEN[name]}"


def test_no_slice_has_a_step():
    used = [f"{file}:{node.lineno}" for file, node in nodes(ast.Slice) if node.step is not None]
    assert not used, f"gradients through slices with a step are wrong or crash: {used}"


def test_no_in_place_arithmetic_in_compiled_files():
    used = [
        f"{file}:{node.lineno}"
        for file, node in nodes(ast.AugAssign)
        if file in GRAPH_FILES and ast.unparse(node) != "self.steps += 1"
    ]
    assert not used, used


def test_constants_that_single_precision_rounds_are_refused():
    for value in (0.0, -1.0, float("inf"), 0.5, layers.PADDING):
        assert layers.constant(value, ms.float64).asnumpy() == value
    with pytest.raises(ValueError, match=r"0\.1 is rounded by float32"):
        layers.constant(0.1, ms.float64)


@pytest.mark.parametrize("dtype", [ms.float32, ms.float64])
def test_running_statistics_are_exact_when_a_layer_is_called_again(dtype):
    """In two calls of a compiled function: inside one, a float64 parameter written and read again is rounded."""
    layer = layers.BatchNorm(3, dtype, group=4)

    @ms.jit
    def forward(x):
        return layer(x, True)

    x, y = np.random.default_rng(0).standard_normal((2, 8, 3))
    optimiser.load(layer.running_mean, [1.0, -2.0, 3.0])
    forward(Tensor(x, dtype))
    forward(Tensor(y, dtype))
    expected = 0.9 * (0.9 * np.array([1.0, -2.0, 3.0]) + 0.1 * x.mean(0)) + 0.1 * y.mean(0)
    kind = "network.float64" if dtype == ms.float64 else "network.train.float32"
    check_close(kind, layer.running_mean.asnumpy().copy(), expected)


def test_asnumpy_is_copied():
    """On the CPU it is a view of memory that training goes on writing to: each use copies, divides or reads."""
    uses = [(file, line) for file in TREES for line in (FOLDER / file).read_text().splitlines() if ".asnumpy()" in line]
    assert len(uses) >= 6
    for file, line in uses:
        assert re.search(r"\.copy\(\)|/ self\._count|float\(|tolist\(\)", line), f"{file}: {line.strip()}"


def test_names_in_the_backend_mirror_torch():
    torch_files = {path.name for path in (FOLDER.parent / "torch").glob("*.py")}
    assert {"runtime.py", "networks.py", "losses.py", "methods.py", "optimiser.py", "learner.py", "probe.py"} <= (
        TREES.keys() & torch_files
    )
    ours, theirs = (importlib.import_module(f"duoreid.backends.{name}.probe") for name in ("mindspore", "torch"))
    promised = {name: value for name, value in vars(Probe).items() if not name.startswith("_")}
    assert len(promised) >= 12
    for name, value in promised.items():
        expected = list(inspect.signature(value).parameters)[1:]
        for module in (ours, theirs):
            assert list(inspect.signature(getattr(module, name)).parameters) == expected, f"{module.__name__}.{name}"


# -- parameters and layers ------------------------------------------------------------------------------------


TREATMENTS = [
    Treatment(factor, decay) for factor, decay in ((1.0, 1e-3), (0.1, 1e-3), (1.0, 0.0), (1.0, 1e-3), (0.1, 1e-3))
]


@pytest.mark.parametrize("graph", [True, False], ids=["compiled", "one by one"])
def test_parameters_of_several_treatments_are_each_updated_as_theirs_says(graph):
    draw = np.random.default_rng(0)
    arrays, gradients = (draw.standard_normal((5, 3)).astype(np.float32) for _ in range(2))
    parameters = [Parameter(Tensor(array), name=f"parameter{index}") for index, array in enumerate(arrays)]
    adam = optimiser.Adam(parameters, TREATMENTS, graph=graph)
    order = [int(parameter.name[-1]) for parameter in adam.parameters]
    assert order == [0, 3, 1, 4, 2], "parameters of one treatment lie side by side"
    for rate in (0.1, 0.01):
        adam.step(tuple(Tensor(gradients[index]) for index in order), rate)
    updated = [parameter.asnumpy().copy() for parameter in parameters]
    assert np.abs(updated - arrays).min() > 1e-3
    moments = [parameter.name for parameter in adam.moments()[1]]
    assert [name.split(".")[-1] for name in moments] == [f"parameter{index}" for index in range(5)]
    for array, gradient, treatment, moved in zip(arrays, gradients, TREATMENTS, updated, strict=True):
        expected = reference(array, [gradient] * 2, [0.1 * treatment.factor, 0.01 * treatment.factor], treatment.decay)
        check_close("adam.float32", moved, expected, scale=0.11)


def test_parameters_loaded_after_compilation_reach_it():
    parameter = Parameter(Tensor(np.zeros(2, np.float32)), name="loaded")

    @ms.jit
    def double():
        return parameter * 2

    assert double().asnumpy().tolist() == [0, 0]
    optimiser.load(parameter, np.ones(2))
    assert double().asnumpy().tolist() == [2, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pooling(dtype):
    """Odd sizes, negative values around the border, NaN; equal values give their gradient to the first."""
    pool = layers.MaxPool2d(ms.float64 if dtype == np.float64 else ms.float32)
    x = -1.0 - np.random.default_rng(0).random((2, 3, 7, 5)).astype(dtype)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    np.testing.assert_array_equal(pool(Tensor(x)).asnumpy(), windows.max(axis=(4, 5)))
    gradient = ms.jit(ms.grad(lambda_sum(pool)))
    for _ in range(3):
        slopes = gradient(Tensor(np.ones((1, 1, 4, 4), dtype))).asnumpy()
        assert slopes[0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert np.isnan(pool(Tensor(np.full((1, 1, 4, 4), np.nan, dtype))).asnumpy()).all()


def lambda_sum(layer):
    def total(x):
        return layer(x).sum()

    return total


# -- compilation ----------------------------------------------------------------------------------------------


def test_one_compilation_across_epochs():
    """Steps, losses, states, embeddings of any number of images and relabels below the capacity compile nothing new."""
    learner, images = learner_of("mindspore", MMT), example_batch().images[0]
    learner.import_state(example_state(MMT))
    learner.step(example_batch(), 1e-3, 0.5)
    learner.embed([images])
    before = len(api.ms_compile_cache)
    assert before >= 4
    for epoch, clusters in enumerate((CLASSES, 3, MMT.capacity)):
        learner.embed([images, images[:3]])
        learner.relabel(np.random.default_rng(epoch).standard_normal((clusters, 256)).astype(np.float32))
        for step in range(2):
            batch = example_batch(step)
            batch = batch._replace(labels=batch.labels % clusters)  # those of this epoch's clusters
            learner.step(batch, 1e-3 / (1 + step), 0.5 + 0.1 * step)
        learner.losses()
        learner.import_state(learner.export_state())
    assert len(api.ms_compile_cache) == before


def test_one_compilation_of_mvd_across_epochs():
    learner, batch = learner_of("mindspore", FULL), examples_mvd.example_batch(FULL)
    learner.import_state(examples_mvd.example_state(FULL))
    learner.step(batch, 1e-3, 0.0)
    learner.embed([batch.images[0]])
    before = len(api.ms_compile_cache)
    for epoch in range(2):
        learner.embed([batch.images[0], batch.images[0, :3]])
        for step in range(2):
            learner.step(examples_mvd.example_batch(FULL, step), 1e-3 / (1 + epoch), 0.0)
        learner.losses()
        learner.import_state(learner.export_state())
    assert len(api.ms_compile_cache) == before


def test_the_transport_s_loop_ends_on_the_device_where_the_oracle_ends():
    """One compiled function for inputs that need a few to 100 iterations, with the gradient through each of them."""

    limit = Tensor(1e-6, ms.float64)

    def cost(x, y):
        return losses.sinkhorn(x, y, threshold=limit)

    differentiated = ms.value_and_grad(cost, (0, 1))

    @ms.jit
    def compiled(x, y):
        return differentiated(x, y)

    compiled_before, done = len(api.ms_compile_cache), set()
    for draw, scale in enumerate((0.02, 0.1, 0.3, 1.0)):
        x, y = scale * np.random.default_rng(draw).standard_normal((2, 6, 4))
        value, gradients = compiled(Tensor(x), Tensor(y))
        expected = duoreid.core.losses.sinkhorn(x, y, threshold=1e-6)
        for computed, true in zip((value, *gradients), expected, strict=True):
            check_close("loss.float64.transport", computed.asnumpy(), true, scale=max(1.0, np.abs(true).max()))
        done.add(
            next(
                n
                for n in range(1, 101)
                if duoreid.core.losses.sinkhorn(x, y, iterations=n, threshold=1e-6)[0] == expected[0]
            )
        )
    assert len(done) >= 3, "all inputs stop alike"
    assert len(api.ms_compile_cache) == compiled_before + 1


def test_another_shape_is_seen_as_a_compilation():
    """The tests that count compilations count what they should."""
    learner = learner_of("mindspore", MMT)
    learner.import_state(example_state(MMT))
    before = len(api.ms_compile_cache)
    learner.embed([np.concatenate([example_batch().images[0]] * 2)])
    assert len(api.ms_compile_cache) == before + 1


@pytest.mark.long
def test_without_compilation_the_step_is_the_same():
    state, batch = fresh(example_state(SHALLOW)), example_batch(views=1)
    plain = open_runtime(RuntimeConfig(device="cpu", precision="float64", mode="pynative"))
    runs = []
    for learner in (learner_of("mindspore", SHALLOW, "float64"), MindSporeLearner(SHALLOW, plain, seed=0)):
        learner.import_state(state)
        before = len(api.ms_compile_cache)
        for _ in range(2):
            learner.step(batch, 1e-3, 0.5)
        assert learner.runtime.graph or len(api.ms_compile_cache) == before
        runs.append((learner.losses(), learner.export_state()))
    (losses, compiled), (others, plain) = runs
    for name, value in losses.items():
        check_close("parity.float64", others[name], value, what=name)
    for name, value in compiled.items():
        check_close("parity.float64", plain[name], value, what=name)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_grouped_and_plain_batch_norm_agree(precision):
    """One group of the whole batch by hand is what the operation computes, running statistics included."""
    config = NetworkConfig("tiny")
    state = {name: value.astype(precision) for name, value in example_state(BASELINE).items()}
    state = {name.removeprefix("student."): value for name, value in state.items() if name.startswith("student.")}
    images = np.concatenate([example_batch().images[0]] * 2)  # both groups of 8 have the same statistics
    plain = probe.forward(config, state, images[:8], train=True)
    grouped = probe.forward(replace(config, batch_norm_group=8), state, images, train=True)
    for name, value in plain.items():
        kind = "network.float64" if precision == "float64" else "network.train.float32"
        check_close(kind, grouped[name][:8] if value.ndim == 2 else grouped[name], value, what=name)


# -- the runtime ----------------------------------------------------------------------------------------------


def test_the_environment_limits_onednn_before_mindspore_is_imported():
    tree = ast.parse((FOLDER / "__init__.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= {"os", "platform"}
    assert os.environ["ONEDNN_MAX_CPU_ISA"]


def test_runtime_imports_no_framework():
    tree = TREES["runtime.py"]
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not [ast.unparse(node) for node in top if "mindspore" in ast.unparse(node)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "ascend"}, r"--device ascend[\s\S]*no Ascend device[\s\S]*--device cpu"),
        ({"device": "gpu"}, r"--device gpu[\s\S]*no GPU device"),
        ({"device": "cpu", "device_id": 2}, "no meaning on the CPU"),
    ],
)
def test_a_device_that_is_not_there(options, message):
    with pytest.raises(UserError, match=message):
        open_runtime(RuntimeConfig(**options))


def test_auto_takes_what_there_is():
    runtime = open_runtime(RuntimeConfig())
    assert (runtime.device, runtime.graph, runtime.name) == ("cpu", True, "CPU")
