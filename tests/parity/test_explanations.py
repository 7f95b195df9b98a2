"""Why float32 differs: the reasons that a report gives, measured again where they do not depend on the processor."""

import numpy as np
import pytest

from benchmarks.parity import bisect, explanations, judge
from benchmarks.parity.compare import Check
from core.random import rng

NAMES = ("torch", "mindspore")


def own(what, who, value):
    return Check("own, single", what, who, value, 1.0, "parity.own.float32")


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        ("layer3.0.downsample.0", "convolution, 1x1"),
        ("layer1.2.conv3", "convolution, 1x1"),
        ("layer1.2.conv2", "convolution"),
        ("conv1", "convolution"),
        ("layer1.0.bn1.BN", "batch norm"),
        ("layer1.0.bn1.IN", "instance norm"),
        ("neck.running_var", "running variance"),
        ("bottleneck.linear2", "linear"),
        ("layer1.0", "other"),
    ],
)
def test_kinds_of_layers(layer, kind):
    assert explanations.kind(layer) == kind


def test_the_farther_one_is_named_with_the_reason_on_the_cpu_only():
    checks = [
        own(f"train, layer{k}.0.bn1", who, value)
        for k in (1, 2)
        for who, value in zip(NAMES, (4e-6, 1e-6), strict=True)
    ]
    checks += [own("train, conv1", who, 1e-7) for who in NAMES]
    checks += [own("train, neck.running_var", "torch", np.inf)]
    title, *lines = explanations.farther(NAMES, checks, cpu=True)
    assert "errs more" in title
    assert lines[0].startswith("  batch norm, train: torch 4.0e-06, mindspore 1.0e-06: torch's kernel")
    assert not any("convolution" in line for line in lines)
    assert explanations.farther(NAMES, checks, cpu=False)[1] == "  batch norm, train: torch 4.0e-06, mindspore 1.0e-06"
    assert explanations.farther(NAMES, checks[4:], cpu=True) == []


def test_long_running_sums_err_more_than_short_ones():
    draw = rng(0, "test of bisection")
    x = draw.random((2, 128, 4, 3)).astype(np.float32)
    weight = draw.standard_normal((16, 128, 3, 3)).astype(np.float32)
    true = judge.convolve(x.astype(np.float64), weight.astype(np.float64), 1)
    long, short = (judge.distance(bisect.summed(x, weight, at_once), true) for at_once in (128, 8))
    assert 0 < short < 0.7 * long < 1e-5


def test_the_fused_adam_subtracts_its_beta_in_float32(elsewhere):
    """Where this fails, MindSpore has changed and the reason can go."""
    errors = dict(bisect.moments())
    assert errors["MindSpore's fused Adam, one step from 0"] == pytest.approx(errors["1 - 0.999 in float32"], rel=0.1)
    assert errors["1 - 0.999 in float32"] > 1e-5


def test_mindspore_s_exponential_errs_more_than_torch_s(elsewhere):
    """Where this fails, MindSpore has changed and the reason can go."""
    errors = dict(bisect.exponential())
    assert errors["torch, exp"] < 3e-7
    assert 1e-6 < errors["MindSpore, exp"] < 1e-5
