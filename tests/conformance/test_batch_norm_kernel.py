"""Batch norm's kernels: interpreted on the CPU, or compiled with `--torch-device cuda`; see batch_norm_cases.py."""

import json
import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from duoreid.backends.torch import layers
from duoreid.backends.torch.kernels import choice, plans
from duoreid.backends.torch.kernels.batch_norm import batch_norm
from duoreid.backends.torch.runtime import Runtime, RuntimeConfig, _triton
from tests.conformance.batch_norm_cases import CASES
from tests.tolerances import tolerance

ROOT = Path(__file__).resolve().parent.parent.parent
CPU = torch.device("cpu")

linux = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="triton is published for x86-64 Linux"
)


def child(module, *arguments, **environment):
    """Return what a module prints in a process of its own."""
    given = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    given |= {"PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", f"tests.conformance.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def device(request):
    return request.config.getoption("--torch-device")


@pytest.fixture(scope="module")
def results(device):
    return child("batch_norm_cases", device, **({"TRITON_INTERPRET": "1"} if device == "cpu" else {}))


@linux
@pytest.mark.parametrize("name", CASES)
def test_kernels_compute_what_float64_does(name, results):
    report, case = results[name], CASES[name]
    kind = str(case.dtype).removeprefix("torch.")
    own = {"y", "dx", "dresidual"}  # which have the type of x; the others are float32 always
    names = {"y", "dx", "dweight", "dbias", "mean", "variance", *(["dresidual"] if case.residual else [])}
    assert report["kernel"].keys() == names
    for what, error in report["kernel"].items():
        limit = f"norm.kernel.{kind if what in own else 'float32'}" + (".far" if case.far else "")
        assert error <= tolerance(limit), (what, error)
    assert report["types"] == [str(case.dtype), str(case.dtype), "torch.float32"]
    assert report["channels last"]
    assert report["same bits"]


@linux
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.dtype == torch.float32])
def test_plain_torch_computes_the_same(name, results):
    """In bfloat16 it rounds before the sum, so that its ReLU lets others pass than float64 does."""
    limit = "norm.kernel.float32.far" if CASES[name].far else "norm.kernel.float32"
    assert max(results[name]["plain"].values()) <= tolerance(limit)


@linux
def test_a_graph_holds_the_kernels(results, device):
    if device == "cpu":
        pytest.skip("needs CUDA: --torch-device cuda")
    assert results["works"]
    assert max(results["replayed"].values()) <= tolerance("norm.kernel.float32")
    assert len(results["trained"]) > 40
    assert max(results["trained"].values()) <= tolerance("network.train.float32")


@linux
def test_kernels_compile_for_an_h100_without_atomic_operations(tmp_path):
    """What a driver would load, made by Triton's compiler and NVIDIA's assembler on the CPU."""
    programs = child("batch_norm_compiled", TRITON_CACHE_DIR=str(tmp_path))
    assert {name.split(",")[0] for name in programs} == {
        *("moments", "statistics", "normalise", "gradient_sums", "gradient_totals", "gradient_input"),
    }
    for name, program in programs.items():
        assert program["bytes"] > 1000, name
        assert not program["atomic"], name
        assert program["wide"] or "odd" in name, f"{name} does not read 16 bytes at a time"


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("channels", [1, 3, 64, 70, 2048])
@pytest.mark.parametrize("rows", [2, 16, 2048, 131072])
def test_a_plan_shares_out_every_row_and_channel_once(rows, channels, groups):
    plan = plans.plan(rows, channels, groups)
    chunks = [range(start, min(start + plan.chunk, rows)) for start in range(0, rows, plan.chunk)]
    assert len(chunks) == plan.splits <= plans.SPLITS
    assert all(len(chunk) for chunk in chunks)
    assert plan.chunk % plan.block_rows == 0
    assert plan.grid[0] == groups * plan.splits
    assert (plan.grid[1] - 1) * plan.block_columns < channels <= plan.grid[1] * plan.block_columns
    assert plan.joint["BLOCK_S"] >= plan.splits
    assert plan.joint_grid[0] * plan.joint["BLOCK_C"] >= channels
    for size in (plan.block_rows, plan.block_columns, *list(plan.joint.values())[:2]):
        assert size & (size - 1) == 0, "Triton's blocks are powers of two"


def inputs(shape=(4, 3, 2, 2), dtype=torch.float32):
    return torch.ones(shape, dtype=dtype), *(torch.ones(shape[1]) for _ in range(4))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (inputs(dtype=torch.float64), {}, "float32 or bfloat16; got"),
        (inputs((4, 3, 2)), {}, r"takes x \(B, C\) or \(B, C, H, W\)"),
        (inputs(), {"groups": 3}, "share the batch evenly"),
        (inputs(), {"groups": 0}, "share the batch evenly"),
        (inputs((4, 3, 1, 1)), {"groups": 4}, "two values of a channel or more"),
        ((*inputs()[:4], torch.ones(5)), {}, r"running statistics \(3,\) of float32"),
        ((*inputs()[:4], torch.ones(3).double()), {}, r"got \(3,\) of float64"),
        (inputs(), {"residual": torch.ones(4, 3, 2, 1)}, "a residual of x's shape and type"),
        (inputs(), {"residual": torch.ones(4, 3, 2, 2, device="meta")}, "everything on one device"),
        (inputs(), {}, "the kernels of batch norm need CUDA"),
    ],
)
def test_wrong_inputs_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        batch_norm(*arguments, **options)


def test_too_many_places_are_refused():
    x = torch.empty((2**16, 2**15), dtype=torch.bfloat16, device="meta")
    with pytest.raises(ValueError, match="counts places in 32 bits"):
        batch_norm(x, *(torch.empty(2**15, device="meta") for _ in range(4)))


@pytest.fixture
def on_cpu(monkeypatch):
    """Let kernels be chosen on the CPU, where none is run."""
    monkeypatch.setattr(choice, "DEVICES", ("cpu",))
    monkeypatch.setattr(choice, "works", lambda _: True)


def test_what_fits(on_cpu):
    x, weight = torch.ones(4, 3, 2, 2), torch.ones(3)
    assert choice.fits(x, weight, 2)
    assert choice.fits(x, weight, 2, x)
    assert choice.fits(x.bfloat16(), weight, 2)
    assert choice.fits(torch.ones(4, 3), weight, 2)
    assert not choice.fits(torch.ones(4, 3), weight, 4)  # no variance
    assert not choice.fits(x.double(), weight.double(), 2)
    assert not choice.fits(x, weight, 2, x.bfloat16())
    assert not choice.fits(x, weight, 2, x[:, :, :1])
    assert not choice.fits(x[:0], weight, 1)
    assert not choice.fits(torch.ones(4, 3, 2), weight, 2)


def test_nothing_fits_on_the_cpu():
    assert not choice.fits(torch.ones(4, 3, 2, 2), torch.ones(3), 2)


@pytest.mark.parametrize(("group", "groups"), [(0, 1), (2, 2), (4, 1), (8, 1)])
def test_a_layer_takes_the_kernel_in_training_alone(group, groups, on_cpu, monkeypatch):
    calls = []
    monkeypatch.setattr(layers, "batch_norm", lambda x, *_, **options: calls.append(options) or x)
    x, norm = torch.ones(4, 3, 2, 2), layers.BatchNorm(3, group)
    norm(x)
    norm.rectified(x, x)
    assert not calls  # not asked for
    layers.take_triton([norm], True)
    norm(x)
    norm.rectified(x, x)
    norm.rectified(x)
    assert [(call["groups"], call["relu"], call["residual"] is x) for call in calls] == [
        *((groups, False, False), (groups, True, True), (groups, True, False))
    ]
    norm.eval()
    norm(x)
    norm.rectified(x, x)
    norm.train()
    with layers.plain([norm]):
        norm.rectified(x, x)
    assert len(calls) == 3
    assert norm.triton


def test_a_group_that_does_not_divide_the_batch_is_refused_as_without_kernels(on_cpu):
    norm = layers.BatchNorm(3, 3)
    norm.triton = True
    with pytest.raises(ValueError, match="batch_norm_group 3 must divide the batch of 4"):
        norm.rectified(torch.ones(4, 3, 2, 2))


@linux
@pytest.mark.parametrize("broken", [RuntimeError("Failed to find C compiler"), OSError("ptxas"), None])
def test_kernels_that_cannot_be_built_or_are_wrong_are_left_out_with_a_warning(broken, monkeypatch, caplog):
    def errors(*_):
        if broken:
            raise broken
        return ["dx of float32 is off by 0.5"]

    monkeypatch.setattr(choice, "errors", errors)
    choice.works.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert not choice.works(CPU)
    choice.works.cache_clear()
    assert (str(broken) if broken else "dx of float32 is off by 0.5") in caplog.text
    assert "--no-triton" in caplog.text


def test_a_wrong_sum_is_seen(monkeypatch):
    """The trial on a few numbers: of what is exact nothing is said, of a gradient without its mean everything."""
    monkeypatch.setattr(choice, "batch_norm", choice.exact)
    assert choice.errors(CPU, torch.float32, True) == []

    def without_mean(x, *arguments, **options):
        return choice.exact(x, *arguments, **options) + 0.1 * (x - x.detach()).sum()

    monkeypatch.setattr(choice, "batch_norm", without_mean)
    assert "dx of float32" in choice.errors(CPU, torch.float32, False)[0]


def test_who_takes_triton(monkeypatch, caplog):
    monkeypatch.setattr("duoreid.backends.torch.runtime.find_spec", lambda _: True)
    assert _triton(RuntimeConfig())
    assert not _triton(RuntimeConfig(triton=False))
    assert not _triton(RuntimeConfig(compile=True))
    assert not _triton(RuntimeConfig(precision="float64"))
    assert not caplog.text
    monkeypatch.setattr("duoreid.backends.torch.runtime.find_spec", lambda _: None)
    assert not _triton(RuntimeConfig())
    assert "triton cannot be imported" in caplog.text
    assert not Runtime(CPU, torch.float32, False, False, False, None).triton
