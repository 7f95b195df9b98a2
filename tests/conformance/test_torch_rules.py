"""What torch must and must not do on a device, as far as it can be seen without one."""

from contextlib import nullcontext

import pytest
import torch

from duoreid.backends.torch import layers, losses
from duoreid.backends.torch import learner as learner_module
from duoreid.backends.torch.learner import TorchLearner
from duoreid.backends.torch.processes import Single
from duoreid.backends.torch.runtime import Runtime, RuntimeConfig, _choose_kernels, open_runtime
from duoreid.core.errors import UserError
from tests.conformance import examples, examples_mvd

CONFIGS = {
    "source": examples.SOURCE,
    "baseline": examples.BASELINE,
    "mmt": examples.MMT,
    **{f"mvd, {name}": config for name, config in examples_mvd.CONFIGS.items()},
}
TOGETHER = ("mvd, full", "mvd, all the others")
"""Have every term and every setting of MVD: the other configurations, each with some of them, are long."""


def on_meta(config, monkeypatch):
    """A learner whose tensors have shapes but no numbers: to ask for a number, or a shape that needs one, raises."""
    monkeypatch.setattr(TorchLearner, "_autocast", lambda _: nullcontext())
    monkeypatch.setattr(learner_module, "make_optimiser", lambda *_: None)
    runtime = Runtime(
        torch.device("meta"), torch.float32, autocast=False, compile=False, graph=False, processes=Single()
    )
    return TorchLearner(config, runtime, seed=0)


def gradients_on_meta(learner, config):
    batch = (
        examples_mvd.example_batch(config)
        if config.method == "mvd"
        else examples.example_batch(views=examples.views_of(config))
    )
    learner._set_classes(config.classes)
    return learner._gradients(*learner._on_device(learner._arrays(batch)))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long) if name.startswith("mvd") and name not in TOGETHER else name
        for name in CONFIGS
    ],
)
def test_a_step_asks_its_device_for_nothing(name, monkeypatch):
    """So a CUDA graph can hold it, and without one Python runs ahead of the device."""
    learner = on_meta(CONFIGS[name], monkeypatch)
    values = gradients_on_meta(learner, CONFIGS[name])
    assert values.device.type == "meta"
    assert len(values) == len(learner._names)
    assert all(value.grad is not None for name, value in learner._trained() if "conv1" in name)


def test_a_step_that_asks_is_caught(monkeypatch):
    learner = on_meta(examples.MMT, monkeypatch)
    real = losses.euclidean_distances
    monkeypatch.setattr(losses, "euclidean_distances", lambda x: real(x) * float(x.sum().item() >= 0))
    with pytest.raises(RuntimeError, match="meta"):
        gradients_on_meta(learner, examples.MMT)


@pytest.mark.parametrize("group", [4, 2])
def test_grouped_norms_keep_channels_last(group):
    """Else every convolution behind them takes its images in the slower order, and copies them first."""
    x = torch.randn(8, 6, 5, 3).to(memory_format=torch.channels_last)
    out = layers.BatchNorm(6, group)(x)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_a_graph_is_for_cuda_alone():
    assert not open_runtime(RuntimeConfig(device="cpu")).graph


@pytest.mark.parametrize(
    ("precision", "deterministic", "searches"),
    [("float32", False, True), ("float32", True, False), ("bfloat16", False, False), ("float64", False, False)],
)
def test_kernels_are_searched_for_or_sum_in_a_fixed_order(precision, deterministic, searches, monkeypatch):
    """The flags of a process are those of the runtime that was opened last."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not searches)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(not deterministic)
    try:
        _choose_kernels(torch, RuntimeConfig(device="cuda", precision=precision, deterministic=deterministic))
        assert torch.backends.cudnn.benchmark is searches
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        assert torch.is_deterministic_algorithms_warn_only_enabled()  # max-pooling has no other backward pass
    finally:
        torch.use_deterministic_algorithms(before)


def test_bfloat16_is_refused_on_the_cpu():
    """torch's convolution (8, 64, 4, 2) -> (8, 128, 2, 1) of stride 2 returns NaN at random there."""
    with pytest.raises(UserError, match="--precision bfloat16 is for CUDA"):
        open_runtime(RuntimeConfig(device="cpu", precision="bfloat16"))
