"""The networks as data: names, counts that the literature gives, and initial weights."""

import math

import numpy as np
import pytest

from duoreid.core.errors import UserError
from duoreid.core.networks import network
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import BACKBONES, backbone, check_options
from duoreid.core.networks.backbones.resnet import ResNet
from duoreid.core.networks.tensors import Entry, draw
from duoreid.core.settings.config import NetworkConfig, validate

PUBLISHED = {"resnet18": 11_176_512, "resnet50": 23_508_032}
"""Parameters without the classifier, of the published networks (11,689,512 and 25,557,032 with ImageNet's)."""
IMAGENET = {"resnet18": 11_689_512, "resnet50": 25_557_032}


def built(arch, **options):
    return BackboneConfig(NetworkConfig(arch=arch, **options), 64, 32)


def entries(arch, capacity):
    return network.network_tensors(built(arch), capacity)


def initial_state(arch, capacity, seed):
    return network.initial_state(built(arch), capacity, seed)


def count(arch, keep):
    return sum(math.prod(entry.shape) for entry in entries(arch, 1000) if keep(entry))


def is_parameter(entry):
    return ".running_" not in entry.name


def in_backbone(entry):
    return is_parameter(entry) and not entry.head


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_the_published_backbones(name):
    assert count(name, in_backbone) == PUBLISHED[name]
    weight = [entry for entry in entries(name, 1000) if entry.name == "classifier.weight"]
    assert count(name, in_backbone) + math.prod(weight[0].shape) + 1000 == IMAGENET[name]


def test_ibn_splits_norms_and_adds_no_parameter():
    plain, ibn = "resnet50", "resnet50_ibn_a"
    assert count(ibn, in_backbone) == count(plain, in_backbone)
    names = {entry.name: entry.shape for entry in entries(ibn, 2)}
    assert names["layer3.5.bn1.IN.weight"] == names["layer3.5.bn1.BN.weight"] == (128,)
    assert "layer3.5.bn1.IN.running_mean" not in names
    assert "layer3.5.bn2.running_mean" in names
    split = {name.split(".bn1.")[0] for name in names if ".IN." in name}
    assert split == {f"layer{k}.{i}" for k, depth in ((1, 3), (2, 4), (3, 6)) for i in range(depth)}


@pytest.mark.parametrize("name", BACKBONES)
def test_names_are_unique_and_the_frozen_neck_bias_is_the_only_untrained_parameter(name):
    tensors = entries(name, 7)
    assert len({entry.name for entry in tensors}) == len(tensors)
    untrained = [entry.name for entry in tensors if is_parameter(entry) and not entry.trained]
    assert untrained == ["neck.bias"]
    assert not any(entry.trained for entry in tensors if not is_parameter(entry))
    assert tensors[-1].shape == (7, backbone(name).features)


def test_torchvision_names_and_shapes():
    names = {entry.name: entry.shape for entry in entries("resnet50", 2)}
    assert names["conv1.weight"] == (64, 3, 7, 7)
    assert names["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert names["layer4.2.conv2.weight"] == (512, 512, 3, 3)
    assert names["layer4.0.conv1.weight"] == (512, 1024, 1, 1)
    assert "layer4.1.downsample.0.weight" not in names
    basic = {entry.name for entry in entries("resnet18", 2)}
    assert "layer1.0.downsample.0.weight" not in basic
    assert "layer2.0.downsample.1.running_var" in basic


def test_strides():
    for last in (1, 2):
        strides = [[block.stride for block in layer] for layer in backbone("resnet50").blocks(last)]
        assert strides == [[1, 1, 1], [2, 1, 1, 1], [2, 1, 1, 1, 1, 1], [last, 1, 1]]


@pytest.mark.parametrize("stride", [0, 3, -1])
def test_another_last_stride_is_refused(stride):
    with pytest.raises(ValueError, match=rf"1 or 2 .* got {stride}"):
        backbone("tiny").blocks(stride)


def test_an_unknown_architecture_names_the_closest():
    with pytest.raises(UserError, match=r"'resnet5'\. Did you mean 'resnet50'\? Known: resnet18, resnet50"):
        backbone("resnet5")


def test_initial_deviations():
    """Convolutions sqrt(2 / (kernel area x output channels)), classifier 0.001, norms (1, 0), statistics (0, 1)."""
    state = initial_state("resnet18", 500, 1)
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
    first, again, other = (initial_state("tiny", 5, seed) for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        if value.ndim > 1:
            assert (value != other[name]).mean() > 0.99, name
    twins = first["layer3.0.conv2.weight"].ravel()[:100], first["layer3.0.conv1.weight"].ravel()[:100]
    assert (twins[0] != twins[1]).all()


def test_shared_tensors_depend_neither_on_the_capacity_nor_on_the_architecture(monkeypatch):
    small, wide = (initial_state("tiny", capacity, 3) for capacity in (5, 50))
    for name, value in small.items():
        np.testing.assert_array_equal(wide[name][: len(value)], value, err_msg=name)
    for name, ibn in (("plain", False), ("ibn", True)):
        monkeypatch.setitem(BACKBONES, name, ResNet("basic", (1, 1, 1, 1), (8, 8, 8, 8), ibn))
    plain, ibn = (initial_state(name, 5, 3) for name in ("plain", "ibn"))
    for name, value in plain.items():
        if value.ndim == 4:
            np.testing.assert_array_equal(ibn[name], value, err_msg=name)


def test_first_weights_are_pinned():
    """Numbers that must never change by accident: every published result starts from them."""
    state = initial_state("tiny", 4, 1)
    conv, classifier = (state[f"{name}.weight"].ravel()[:3] for name in ("conv1", "classifier"))
    np.testing.assert_allclose(conv, [-0.02506433, 0.01389092, -0.01603396], rtol=1e-6)
    np.testing.assert_allclose(classifier, [6.77208e-4, -1.9008854e-5, -1.718979e-3], rtol=1e-6)


def test_another_kind_of_start_is_refused():
    with pytest.raises(ValueError, match=r"tokens starts as 'small', which is none of conv, .*embedding, zeros"):
        draw([Entry("tokens", (3,), "small")], 1)


def test_embeddings_start_small_and_keyed():
    first, second = draw([Entry("tokens", (100, 50), "embedding"), Entry("places", (100, 50), "embedding")], 1).values()
    assert first.std() == pytest.approx(0.02, rel=0.05)
    assert (first != second).all()


def test_stages_are_the_blocks_in_forward_order():
    assert backbone("tiny").stages == [f"layer{k}.0" for k in (1, 2, 3, 4)]
    assert len(backbone("resnet50").stages) == 16
    names = [entry.name for entry in entries("resnet50", 2)]
    places = [
        next(i for i, name in enumerate(names) if name.startswith(f"{stage}.")) for stage in backbone("resnet50").stages
    ]
    assert places == sorted(places)


class Bare:
    """A backbone without any option."""

    family, features, stages, options, layouts = "bare", 4, (), frozenset(), ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"stem_relu": False},
            r"--stem-relu, which is False, means nothing to bare: leave it at True, .*\(tiny, resnet18",
        ),
        ({"last_stride": 2}, "--last-stride, which is 2, means nothing to bare: leave it at 1"),
    ],
)
def test_options_that_mean_nothing_to_a_backbone_are_refused(monkeypatch, options, words):
    monkeypatch.setitem(BACKBONES, "bare", Bare())
    with pytest.raises(UserError, match=words):
        validate(NetworkConfig(arch="bare", **options))
    with pytest.raises(UserError, match="--channel-attention: bare has no place for it"):
        check_options(NetworkConfig(arch="bare"), attention=True)
    validate(NetworkConfig(arch="bare", batch_norm_group=4, weights="file"))
    validate(NetworkConfig(arch="tiny", **options))


def test_a_backbone_is_a_choice_as_soon_as_it_is_known(monkeypatch):
    with pytest.raises(UserError, match="unknown arch 'bare'"):
        validate(NetworkConfig(arch="bare"))
    monkeypatch.setitem(BACKBONES, "bare", Bare())
    validate(NetworkConfig(arch="bare"))
