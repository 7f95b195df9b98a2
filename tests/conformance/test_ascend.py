"""What can be known without an Ascend device: the documentation of everything in use, and shapes that never change."""

import ast
import re
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops
from mindspore._c_expression import JitExecutor_
from mindspore.graph import api

import duoreid.backends.mindspore
from tests.conformance.examples import MMT, example_batch, example_state
from tests.conftest import learner_of

FOLDER = Path(duoreid.backends.mindspore.__file__).parent
HOST = {"__init__.py", "evaluate.py", "export.py", "probe.py", "runtime.py", "train.py"}
TREES = {path.name: ast.parse(path.read_text()) for path in FOLDER.glob("*.py") if path.name not in HOST}
"""The files whose code runs on the device, new ones included."""

MODULES = {"ops", "nn", "ms", "np", "math", "log", "self", "api"}
"""Names in front of a dot that are no tensor."""

HOST_METHODS = {
    "asnumpy": "a copy to the host",
    "clone": "of a ParameterTuple, when it is built",
    "index": "of a tuple of names",
    "register": "of a MultitypeFuncGraph, when the file is read",
}

OPERATORS = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.USub: "neg",
    ast.Eq: "equal",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
}
"""What Python's operators do to tensors. Others on tensors, such as %, do not occur; on numbers they do no harm."""


def platforms(thing):
    """The platforms that a documentation lists, or None."""
    match = re.search(r"Supported Platforms:\s*\n\s*(.+)", thing.__doc__ or "")
    return match and match[1]


def methods():
    """Names of Tensor's methods that are called on something other than a module."""
    names = set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                plain = isinstance(owner, ast.Name) and owner.id in MODULES
                if not plain and hasattr(Tensor, node.func.attr) and not node.func.attr.startswith("__"):
                    names.add(node.func.attr)
    return sorted(names - HOST_METHODS.keys())


def operators():
    """Names of the operations behind Python's operators."""
    kinds = set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, (ast.BinOp, ast.UnaryOp)):
                kinds.add(type(node.op))
            elif isinstance(node, ast.Compare):
                kinds |= {type(op) for op in node.ops}
    return sorted(OPERATORS[kind] for kind in kinds if kind in OPERATORS)


@pytest.mark.parametrize("name", methods())
def test_every_method_of_a_tensor_runs_on_ascend(name):
    """By its own documentation or, where that only refers to it, that of the function of the same name."""
    devices = platforms(getattr(Tensor, name)) or platforms(getattr(ops, name, None))
    assert devices, f"Tensor.{name} does not say where it runs"
    assert "Ascend" in devices, f"Tensor.{name} runs on {devices} only"


@pytest.mark.parametrize("name", operators())
def test_every_operator_runs_on_ascend(name):
    assert "Ascend" in platforms(getattr(ops, name)), name


@pytest.mark.parametrize("name", ["jit", "value_and_grad"])
def test_every_transformation_runs_on_ascend(name):
    assert "Ascend" in platforms(getattr(ms, name)), name


def test_the_scans_see_what_is_there():
    assert {"mean", "sum", "reshape", "astype"} <= set(methods())
    assert {"add", "sub", "mul", "div", "equal", "less"} <= set(operators())
    assert {"layers.py", "networks.py", "losses.py", "methods.py", "optimiser.py", "learner.py"} <= TREES.keys()


DATA_DEPENDENT = {"nonzero", "unique", "masked_select", "argwhere", "count_nonzero", "unique_consecutive", "nms"}
"""Operations whose results' shapes depend on the numbers that come in."""


def test_no_operation_has_a_shape_that_depends_on_the_data():
    used = [
        f"{file}:{node.lineno} {node.attr}"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in DATA_DEPENDENT
    ]
    assert not used, used


@pytest.mark.long
def test_compiled_functions_see_fixed_shapes_whatever_the_clusters(monkeypatch):
    """Epochs with other numbers of clusters hand arguments of the same shapes and types to the compiled functions."""
    learner, shapes = learner_of("mindspore", MMT), []
    learner.import_state(example_state(MMT))

    def watched(function):
        def call(*tensors):
            assert all(isinstance(tensor, Tensor) for tensor in tensors), "not a tensor: a constant of the compiler"
            shapes.append(tuple((tensor.shape, str(tensor.dtype)) for tensor in tensors))
            return function(*tensors)

        return call

    learner.step(example_batch(), 1e-3, 0.5)
    monkeypatch.setattr(learner, "_losses_and_gradients", watched(learner._losses_and_gradients))
    parts = [(treatment, part, watched(run)) for treatment, part, run in learner.optimiser._parts]
    monkeypatch.setattr(learner.optimiser, "_parts", parts)
    monkeypatch.setattr(learner.teachers, "_run", watched(learner.teachers._run))
    before = len(api.ms_compile_cache)
    for epoch, clusters in enumerate((3, 7, MMT.capacity)):
        learner.relabel(np.random.default_rng(epoch).standard_normal((clusters, 256)).astype(np.float32))
        batch = example_batch(epoch)
        learner.step(batch._replace(labels=batch.labels % clusters), 1e-3, 0.5)
    assert len(shapes) == 9
    assert len(set(shapes)) == 3, "one set of shapes for each of the three compiled functions"
    assert all(-1 not in shape for call in set(shapes) for shape, _ in call)
    assert len(api.ms_compile_cache) == before
    learner.losses()


def calls_python(phase):
    """Whether the compiled function of a phase leaves the device to ask Python for something."""
    return b"PyExecute" in JitExecutor_.get_instance().get_func_graph_proto(phase, "anf_ir", False)


def test_no_compiled_function_calls_back_into_python():
    learner = learner_of("mindspore", MMT)
    learner.import_state(example_state(MMT))
    learner.step(example_batch(), 1e-3, 0.5)
    learner.embed([example_batch().images[0]])
    learner.losses()
    for name in ("losses_and_gradients", "embed", "optimiser.run"):
        assert any(f".{name}." in phase for phase in api.ms_compile_cache), name
    ours = [phase for phase in api.ms_compile_cache if phase.startswith("backends.")]
    wrong = [phase.split("/")[0] for phase in ours if calls_python(phase)]
    assert not wrong, f"{wrong}: does a compiled function return nothing?"


def test_the_scan_sees_a_function_that_returns_nothing():
    @ms.jit
    def nothing(x):
        ops.assign(parameter, x)

    parameter = ms.Parameter(Tensor(np.zeros(2)), name="zeros")
    before = set(api.ms_compile_cache)
    nothing(Tensor(np.ones(2)))
    (phase,) = set(api.ms_compile_cache) - before
    assert calls_python(phase)
