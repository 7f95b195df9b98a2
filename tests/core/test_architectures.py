"""The networks as data: names, counts that the literature gives, and initial weights."""

import math

import numpy as np
import pytest

from duoreid.core.errors import UserError
from duoreid.core.networks.architectures import (
    ARCHITECTURES,
    Architecture,
    architecture,
    blocks,
    entries,
    initial_state,
)

BACKBONES = {"resnet18": 11_176_512, "resnet50": 23_508_032}
"""Parameters without the classifier, of the published networks (11,689,512 and 25,557,032 with ImageNet's)."""
IMAGENET = {"resnet18": 11_689_512, "resnet50": 25_557_032}


def count(arch, keep):
    return sum(math.prod(entry.shape) for entry in entries(arch, 1000) if keep(entry))


def is_parameter(entry):
    return ".running_" not in entry.name


def in_backbone(entry):
    return is_parameter(entry) and not entry.name.startswith(("neck.", "classifier."))


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_of_the_published_backbones(name):
    arch = architecture(name)
    assert count(arch, in_backbone) == BACKBONES[name]
    weight = [entry for entry in entries(arch, 1000) if entry.name == "classifier.weight"]
    assert count(arch, in_backbone) + math.prod(weight[0].shape) + 1000 == IMAGENET[name]


def test_ibn_splits_norms_and_adds_no_parameter():
    plain, ibn = architecture("resnet50"), architecture("resnet50_ibn_a")
    assert count(ibn, in_backbone) == count(plain, in_backbone)
    names = {entry.name: entry.shape for entry in entries(ibn, 2)}
    assert names["layer3.5.bn1.IN.weight"] == names["layer3.5.bn1.BN.weight"] == (128,)
    assert "layer3.5.bn1.IN.running_mean" not in names
    assert "layer3.5.bn2.running_mean" in names
    split = {name.split(".bn1.")[0] for name in names if ".IN." in name}
    assert split == {f"layer{k}.{i}" for k, depth in ((1, 3), (2, 4), (3, 6)) for i in range(depth)}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_are_unique_and_the_frozen_neck_bias_is_the_only_untrained_parameter(name):
    found = entries(architecture(name), 7)
    assert len({entry.name for entry in found}) == len(found)
    untrained = [entry.name for entry in found if is_parameter(entry) and not entry.trained]
    assert untrained == ["neck.bias"]
    assert not any(entry.trained for entry in found if not is_parameter(entry))
    assert found[-1].shape == (7, architecture(name).features)


def test_torchvision_names_and_shapes():
    names = {entry.name: entry.shape for entry in entries(architecture("resnet50"), 2)}
    assert names["conv1.weight"] == (64, 3, 7, 7)
    assert names["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert names["layer4.2.conv2.weight"] == (512, 512, 3, 3)
    assert names["layer4.0.conv1.weight"] == (512, 1024, 1, 1)
    assert "layer4.1.downsample.0.weight" not in names
    basic = {entry.name for entry in entries(architecture("resnet18"), 2)}
    assert "layer1.0.downsample.0.weight" not in basic
    assert "layer2.0.downsample.1.running_var" in basic


def test_strides():
    for last in (1, 2):
        strides = [[block.stride for block in layer] for layer in blocks(architecture("resnet50"), last)]
        assert strides == [[1, 1, 1], [2, 1, 1, 1], [2, 1, 1, 1, 1, 1], [last, 1, 1]]


@pytest.mark.parametrize("stride", [0, 3, -1])
def test_another_last_stride_is_refused(stride):
    with pytest.raises(ValueError, match=rf"1 or 2 .* got {stride}"):
        blocks(architecture("tiny"), stride)


def test_an_unknown_architecture_names_the_closest():
    with pytest.raises(UserError, match=r"'resnet5'\. Did you mean 'resnet50'\? Known: resnet18, resnet50"):
        architecture("resnet5")


def test_initial_deviations():
    """Convolutions sqrt(2 / (kernel area x output channels)), classifier 0.001, norms (1, 0), statistics (0, 1)."""
    state = initial_state(architecture("resnet18"), 500, 1)
    fans = {"conv1.weight": 49 * 64, "layer2.0.downsample.0.weight": 128, "layer4.1.conv2.weight": 9 * 512}
    for name, fan_out in fans.items():
        value, deviation = state[name], math.sqrt(2 / fan_out)
        error = 5 / math.sqrt(value.size)  # five standard errors of the mean; the deviation's are smaller
        assert abs(value.std() / deviation - 1) < error, name
        assert abs(value.mean()) < error * deviation, name
    assert state["classifier.weight"].std() == pytest.approx(0.001, rel=0.02)
    for name, value in state.items():
        assert value.dtype == np.float32, name
        if value.ndim == 1:
            ones = name.endswith(("weight", "running_var"))
            np.testing.assert_array_equal(value, float(ones), err_msg=name)


def test_weights_are_keyed_by_seed_and_name():
    first, again, other = (initial_state(architecture("tiny"), 5, seed) for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        if value.ndim > 1:
            assert (value != other[name]).mean() > 0.99, name
    twins = first["layer3.0.conv2.weight"].ravel()[:100], first["layer3.0.conv1.weight"].ravel()[:100]
    assert (twins[0] != twins[1]).all()


def test_shared_tensors_depend_neither_on_the_capacity_nor_on_the_architecture():
    small, wide = (initial_state(architecture("tiny"), capacity, 3) for capacity in (5, 50))
    for name, value in small.items():
        np.testing.assert_array_equal(wide[name][: len(value)], value, err_msg=name)
    plain, ibn = (initial_state(Architecture("basic", (1, 1, 1, 1), (8, 8, 8, 8), ibn), 5, 3) for ibn in (False, True))
    for name, value in plain.items():
        if value.ndim == 4:
            np.testing.assert_array_equal(ibn[name], value, err_msg=name)


def test_first_weights_are_pinned():
    """Numbers that must never change by accident: every published result starts from them."""
    state = initial_state(architecture("tiny"), 4, 1)
    conv, classifier = (state[f"{name}.weight"].ravel()[:3] for name in ("conv1", "classifier"))
    np.testing.assert_allclose(conv, [-0.02506433, 0.01389092, -0.01603396], rtol=1e-6)
    np.testing.assert_allclose(classifier, [6.77208e-4, -1.9008854e-5, -1.718979e-3], rtol=1e-6)
