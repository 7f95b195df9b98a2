"""The float64 network against loops, other formulas, and properties: both backends are held to it."""

import numpy as np
import pytest

from duoreid.core.losses.float64 import operations
from duoreid.core.losses.float64.network import Network, distance, own_errors, truth, walked
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.images import DEVIATION, GREY_WEIGHTS, MEAN, grey, standardise
from duoreid.core.networks.network import initial_state, network_tensors
from duoreid.core.networks.padding import same_padding
from duoreid.core.networks.tensors import draw
from duoreid.core.random import rng
from duoreid.core.settings.config import NetworkConfig


def array(*shape, key="x"):
    return rng(0, f"float64/{key}").standard_normal(shape)


@pytest.mark.parametrize(("size", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (3, 2, 1), (7, 2, 3), (4, 4, 0)])
def test_convolution_is_the_sum_over_each_window(size, stride, padding):
    x, weight = array(2, 3, 9, 8), array(4, 3, size, size, key="w")
    output = operations.convolve(x, weight, stride, padding)
    padded = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    for image, channel, row, column in np.ndindex(*output.shape):
        window = padded[image, :, row * stride : row * stride + size, column * stride : column * stride + size]
        assert output[image, channel, row, column] == pytest.approx((window * weight[channel]).sum(), abs=1e-12)
    assert output.shape[2:] == tuple((side + 2 * padding - size) // stride + 1 for side in (9, 8))


def test_convolution_is_padded_by_half_its_size_unless_told():
    x, weight = array(1, 2, 6, 5), array(3, 2, 3, 3, key="w")
    np.testing.assert_array_equal(operations.convolve(x, weight), operations.convolve(x, weight, 1, 1))


@pytest.mark.parametrize("shape", [(7, 5), (8, 4)])
def test_pooling_and_its_places(shape):
    x = array(2, 3, *shape)
    maxima, places = operations.max_pool(x), operations.max_places(x)
    assert maxima.shape[2:] == tuple(-(-side // 2) for side in shape)
    for image, channel, row, column in np.ndindex(*maxima.shape):
        window = x[image, channel, max(2 * row - 1, 0) : 2 * row + 2, max(2 * column - 1, 0) : 2 * column + 2]
        assert maxima[image, channel, row, column] == window.max()
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(2, 3, -1), places.reshape(2, 3, -1), 2), maxima.reshape(2, 3, -1)
    )


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("length", [4, 7, 8, 9])
def test_uneven_padding_fits_its_windows(length, size, stride):
    """As many windows as strides begin inside, the last one ends at the border or inside, and more lies behind."""
    front, behind = same_padding(length, size, stride)
    assert behind - front in (0, 1)
    assert (length + front + behind - size) // stride + 1 == -(-length // stride)
    assert front + behind == 0 or (-(-length // stride) - 1) * stride + size == length + front + behind


def test_uneven_padding_of_nothing():
    with pytest.raises(ValueError, match="must be 1 or more, but are 8, 3 and 0"):
        same_padding(8, 3, 0)


@pytest.mark.parametrize("shape", [(9, 8), (8, 4)])
def test_uneven_convolution_and_pooling(shape):
    """By loops over windows that begin at a multiple of the stride, less what lies in front."""
    x, weight = array(2, 3, *shape), array(4, 3, 3, 3, key="w")
    borders = [same_padding(side, 3, 2) for side in shape]
    padded = np.pad(x, ((0, 0), (0, 0), *borders))
    lowest = np.pad(x, ((0, 0), (0, 0), *borders), constant_values=-np.inf)
    convolved, pooled = operations.convolve(x, weight, 2, uneven=True), operations.max_pool(x, uneven=True)
    assert convolved.shape[2:] == pooled.shape[2:] == tuple(-(-side // 2) for side in shape)
    for image, channel, row, column in np.ndindex(*convolved.shape):
        window = padded[image, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        assert convolved[image, channel, row, column] == pytest.approx((window * weight[channel]).sum(), abs=1e-12)
    for image, channel, row, column in np.ndindex(*pooled.shape):
        window = lowest[image, channel, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        assert pooled[image, channel, row, column] == window.max()
    places = operations.max_places(x, uneven=True).reshape(2, 3, -1)
    np.testing.assert_array_equal(np.take_along_axis(x.reshape(2, 3, -1), places, 2), pooled.reshape(2, 3, -1))
    assert np.abs(convolved - operations.convolve(x, weight, 2)).max() > 0.1


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 2)])
@pytest.mark.parametrize("group", [0, 2, 6, 9])
def test_batch_norm_by_groups(shape, group):
    x, scale, shift = array(*shape), array(4, key="scale"), array(4, key="shift")
    normalised, mean, var = operations.by_groups(x, group, scale, shift)
    size = group if 0 < group < 6 else 6
    rows = np.moveaxis(x, 1, -1).reshape(6 // size, -1, 4)
    np.testing.assert_allclose(mean, rows.mean(1).mean(0), atol=1e-13)
    np.testing.assert_allclose(var, rows.var(1, ddof=1).mean(0), atol=1e-13)
    expected = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + 1e-5) * scale + shift
    np.testing.assert_allclose(np.moveaxis(normalised, 1, -1).reshape(expected.shape), expected, atol=1e-12)


def test_instance_norm_knows_one_image_and_channel():
    x = array(3, 2, 4, 5)
    normalised = operations.by_groups(x, 1, 1.0, 0.0, instance=True)[0]
    for image, channel in np.ndindex(3, 2):
        part = x[image, channel]
        np.testing.assert_allclose(
            normalised[image, channel], (part - part.mean()) / np.sqrt(part.var() + 1e-5), atol=1e-13
        )


def test_channel_attention_prefers_channels_unlike_a_channel():
    x, gamma = array(2, 3, 2, 2), np.array([0.7])
    attended = operations.attend(x, gamma)
    for image in range(2):
        maps = x[image].reshape(3, -1)
        energy = np.array([[first @ second for second in maps] for first in maps])
        weights = np.exp(energy.max(1, keepdims=True) - energy)
        weights /= weights.sum(1, keepdims=True)
        expected = maps + 0.7 * np.array(
            [sum(w * other for w, other in zip(row, maps, strict=True)) for row in weights]
        )
        np.testing.assert_allclose(attended[image].reshape(3, -1), expected, atol=1e-12)
    np.testing.assert_array_equal(operations.attend(x, np.zeros(1)), x)


def test_standardised_images_and_grey_ones():
    images = rng(0, "float64/images").integers(0, 256, (2, 4, 3, 3), dtype=np.uint8)
    standardised = standardise(images)
    for channel in range(3):
        expected = (images[..., channel] / 255 - MEAN[channel]) / DEVIATION[channel]
        np.testing.assert_allclose(standardised[:, channel], expected, atol=1e-15)
    assert standardise(images, np.float32).dtype == np.float32
    light = sum(share * images[..., channel] for channel, share in enumerate(GREY_WEIGHTS))
    np.testing.assert_allclose(grey(images), np.stack([light] * 3, axis=3), atol=1e-12)


@pytest.mark.parametrize(("form", "blue"), [("normalised", 0.1140), ("port", 0.1440)])
def test_grey_of_the_normalised_image(form, blue):
    """One number for all channels, without a second normalisation."""
    images = rng(0, "float64/images").integers(0, 256, (2, 4, 3, 3), dtype=np.uint8)
    seen = standardise(images)
    light = 0.2989 * seen[:, 0] + 0.5870 * seen[:, 1] + blue * seen[:, 2]
    greys = standardise(grey(images, form))
    np.testing.assert_allclose(greys, np.stack([light] * 3, axis=1), atol=1e-12)
    with pytest.raises(ValueError, match="form must be one of raw, normalised, port"):
        grey(images, "plain")


SMALL = NetworkConfig(arch="tiny")
CONFIG = BackboneConfig(SMALL, 32, 16)


def images(count=4):
    return rng(1, "float64/images").integers(0, 256, (count, 32, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("train", [True, False])
def test_every_tensor_of_the_backbones_is_used(train):
    """A walk that forgot a layer would judge a backend that forgot it as right."""
    config = CONFIG._replace(attention=True)
    tensors = draw(network_tensors(config, 5, representation=7), 1)
    tensors |= {name: value + 0.3 for name, value in tensors.items() if name.endswith(".gamma")}

    outputs = truth(walked(SMALL, tensors, images(), train=train).stages)
    assert outputs["bottleneck.classifier"].shape == (4, 5)
    changed = {}
    for name in tensors:
        if train and ".running_" in name:
            continue
        moved = truth(walked(SMALL, tensors | {name: tensors[name] + 0.5}, images(), train=train).stages)
        ends = ("classifier", "bottleneck.classifier")
        changed[name] = max(distance(moved[end], outputs[end]) for end in ends)
    removed = {"bottleneck.linear3.bias"} if train else set()  # by the batch norm behind it
    assert {name for name, value in changed.items() if value < 1e-9} == removed


def test_a_network_keeps_its_running_statistics():
    network = Network(SMALL, initial_state(CONFIG, 5, 1))
    before = dict(network.buffers)
    test = network(images(), train=False)
    assert all((network.buffers[name] == value).all() for name, value in before.items())
    network(images(), train=True)
    np.testing.assert_allclose(network.buffers["bn1.running_mean"], 0.1 * test["conv1"].mean((0, 2, 3)), atol=1e-12)
    moved = network(images(), train=False)
    assert distance(moved["features"], test["features"]) > 1e-3


def test_own_errors_name_the_layer_that_errs():
    stages = walked(SMALL, initial_state(CONFIG, 5, 1), images(), train=False).stages
    outputs = truth(stages)
    assert max(own_errors(stages, outputs).values()) < 1e-14
    broken = outputs | {"layer2.0.conv1": 1.01 * outputs["layer2.0.conv1"]}
    wrong = {name: error for name, error in own_errors(stages, broken).items() if error > 1e-9}
    assert wrong["layer2.0.conv1"] == pytest.approx(0.01)
    assert set(wrong) == {"layer2.0.conv1", "layer2.0.bn1"}
    missing = {name: value for name, value in outputs.items() if name != "neck"}
    assert {name for name, error in own_errors(stages, missing).items() if error > 1} == {"neck", "classifier"}
