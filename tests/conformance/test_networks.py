"""The networks of each backend against the float64 network: forwards, running statistics, options of the config."""

from functools import cache

import numpy as np
import pytest

from duoreid.core.losses.float64.network import Network, embedding
from duoreid.core.networks.backbones import backbone
from duoreid.core.random import rng
from duoreid.core.settings.config import NetworkConfig
from tests.conformance.examples import CAPACITY, HEIGHT, WIDTH, example_network
from tests.tolerances import check_close

OUTPUTS = ("features", "logits", "embedding")


@cache
def weights(arch: str, pooling: str = "mean") -> dict[str, np.ndarray]:
    """One network's tensors, float32 and all different, statistics included."""
    exponent = {"pooling.exponent": np.float32([2.6])} if pooling == "gem" else {}
    return example_network(arch, seed=3) | exponent


def images(count: int) -> np.ndarray:
    return rng(1, "network").integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


@cache
def expected(config: NetworkConfig, count: int, train: bool) -> dict[str, np.ndarray]:
    reference = Network(config, weights(config.arch, config.pooling))
    forward = reference(images(count), train)
    outputs = (forward["features"], forward["classifier"], embedding(forward))
    return dict(zip(OUTPUTS, outputs, strict=True)) | reference.buffers


def compare(outputs, reference, train, kind):
    buffers = [name for name in reference if ".running_" in name]
    assert len(buffers) >= 20
    for name in OUTPUTS[:2] if train else OUTPUTS:
        check_close(kind, outputs[name], reference[name], what=name)
    for name in buffers:
        check_close(kind, outputs[name], reference[name], what=name)


@cache
def run(probe, config, count, train, dtype):
    """The outputs and statistics of one network, run once a session, and the kind of tolerance they have."""
    state = {name: value.astype(dtype) for name, value in weights(config.arch, config.pooling).items()}
    outputs = probe.forward(config, state, images(count), train=train)
    assert outputs["features"].dtype == dtype
    mode = "" if dtype == np.float64 else f"{'train' if train else 'test'}."
    return outputs, f"network.{mode}{np.dtype(dtype).name}"


CONFIGS = {
    "tiny": NetworkConfig("tiny"),
    "no ReLU in the stem": NetworkConfig("tiny", stem_relu=False),
    "last stride 2": NetworkConfig("tiny", last_stride=2),
    "groups of 4": NetworkConfig("tiny", batch_norm_group=4),
    "uneven padding": NetworkConfig("tiny", conv_padding="same"),
    "another last norm": NetworkConfig("tiny", last_norm_epsilon=0.05, last_norm_momentum=0.003),
    "GeM and padding at the end": NetworkConfig("tiny", pooling="gem", stem_pool="end"),
}


IN_TEST = ("last stride 2", "uneven padding", "another last norm")


@pytest.mark.parametrize(("name", "train"), [*((name, True) for name in CONFIGS), *((name, False) for name in IN_TEST)])
def test_network_float64(probe, name, train):
    outputs, kind = run(probe, CONFIGS[name], 8, train, np.float64)
    compare(outputs, expected(CONFIGS[name], 8, train), train, kind)


@pytest.mark.parametrize("train", [True, False], ids=["train", "test"])
@pytest.mark.parametrize(
    "name", ["tiny", "groups of 4", "uneven padding", "another last norm", "GeM and padding at the end"]
)
def test_network_float32(probe, name, train):
    outputs, kind = run(probe, CONFIGS[name], 8, train, np.float32)
    compare(outputs, expected(CONFIGS[name], 8, train), train, kind)


@pytest.mark.parametrize("other", [name for name in CONFIGS if name != "tiny"])
def test_the_comparison_tells_the_options_apart(probe, other):
    outputs, kind = run(probe, CONFIGS["tiny"], 8, True, np.float32)
    with pytest.raises(AssertionError, match="differs by"):
        compare(outputs, expected(CONFIGS[other], 8, True), True, kind)


def test_groups_that_hold_the_batch_are_no_groups(probe):
    outputs, kind = run(probe, NetworkConfig("tiny", batch_norm_group=8), 8, True, np.float32)
    compare(outputs, expected(CONFIGS["tiny"], 8, True), True, kind)


def test_ibn_bottleneck_network_in_training(probe):
    """In float64 only: over 4 values, float32's rounding alone moves these features by a quarter of their size."""
    config = NetworkConfig("resnet50_ibn_a")
    outputs, kind = run(probe, config, 2, True, np.float64)
    compare(outputs, expected(config, 2, True), True, f"{kind}.deep")


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "resnet50_ibn_a"])
def test_deep_network_float32(probe, arch):
    config = NetworkConfig(arch, stem_relu=arch != "resnet50")
    outputs, kind = run(probe, config, 2, False, np.float32)
    compare(outputs, expected(config, 2, False), False, f"{kind}.deep")
    assert outputs["features"].shape == (2, backbone(arch).features)
    assert outputs["logits"].shape == (2, CAPACITY)


def test_test_mode_moves_no_statistics(probe):
    outputs, _ = run(probe, CONFIGS["tiny"], 8, False, np.float32)
    for name, value in weights("tiny").items():
        if ".running_" in name:
            np.testing.assert_array_equal(outputs[name], value)


def test_embeddings_have_length_one(probe):
    outputs, _ = run(probe, CONFIGS["tiny"], 8, False, np.float32)
    np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1, rtol=1e-6)


def test_running_variance_is_the_unbiased_one(probe):
    """By hand, on the neck: momentum 0.1 of the batch's mean and of its variance over B - 1."""
    outputs, kind = run(probe, CONFIGS["tiny"], 8, True, np.float64)
    before = {name: value.astype(np.float64) for name, value in weights("tiny").items()}
    features = outputs["features"]
    mean = 0.9 * before["neck.running_mean"] + 0.1 * features.mean(0)
    unbiased, biased = (0.9 * before["neck.running_var"] + 0.1 * features.var(0, ddof=ddof) for ddof in (1, 0))
    check_close(kind, outputs["neck.running_mean"], mean)
    check_close(kind, outputs["neck.running_var"], unbiased)
    with pytest.raises(AssertionError, match="differs by"):
        check_close(kind, outputs["neck.running_var"], biased)


def test_a_batch_that_groups_do_not_divide(probe):
    with pytest.raises(ValueError, match="batch_norm_group 3 must divide the batch of 8"):
        run(probe, NetworkConfig("tiny", batch_norm_group=3), 8, True, np.float32)
