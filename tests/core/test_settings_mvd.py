"""MVD's settings: the state that they ask for, the options of its command, and the recipes of the public codes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from duoreid.backends.torch.runtime import RuntimeConfig
from duoreid.core.commands import options
from duoreid.core.contract.state import MOMENTUM, check_state, expected_shapes, initial
from duoreid.core.contract.treatment import treatments
from duoreid.core.errors import UserError
from duoreid.core.methods.mvd import check_groups, variational_tensors
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.network import network_tensors
from duoreid.core.settings.config import NetworkConfig
from duoreid.core.settings.cross_modal import MVDConfig
from duoreid.core.settings.presets import presets
from duoreid.core.training.sharing import check_batches

# State


def test_the_port_s_number_of_parameters():
    """Its checkpoint holds 82,273,734 numbers in 879 tensors; 82.09 million of them in 537 are trained (D57)."""
    tensors = network_tensors(
        BackboneConfig(NetworkConfig("resnet50"), 288, 144), 395, representation=512, biases=True, neck_bias=True
    )
    trained = [int(np.prod(entry.shape)) for entry in tensors if entry.trained]
    assert 3 * sum(int(np.prod(entry.shape)) for entry in tensors) == 82_273_734
    assert 3 * sum(trained) == pytest.approx(82.09e6, rel=1e-4)
    assert (3 * len(tensors), 3 * len(trained)) == (879, 537)


def test_state_of_sgd():
    settings = spec_of("mvd").learner_config(
        NetworkConfig("tiny"), 6, 6, 32, 16, optimiser="sgd", section=MVDConfig(channel_attention=True)
    )
    state = initial(settings, 1)
    check_state(state, settings)
    assert state[f"{MOMENTUM}shared.attention2.gamma"].shape == (1,)
    assert "sgd.step" in state
    assert not any(name.startswith("adam.") for name in state)
    assert (state["visible.bottleneck.classifier.weight"].shape, state["visible.classifier.weight"].shape) == (
        (6, 256),
        (6, 256),
    )
    with pytest.raises(UserError, match="missing: adam"):
        check_state(state, spec_of("mvd").learner_config(NetworkConfig("tiny"), 6, 6, 32, 16, section=settings.section))
    shapes = expected_shapes(spec_of("mvd").learner_config(NetworkConfig("tiny"), 9, 9, 32, 16))
    assert shapes["infrared.bottleneck.classifier.bias"] == (9,)


# Options


def parse(*argv):
    return options.parse(argv, "train", RuntimeConfig, presets())[0]


def test_mvd_alone_is_the_synthetic_recipe():
    assert parse("mvd") == presets()["synthetic-vi"]
    assert parse("--preset", "mvd-regdb").method == "mvd"


def test_options_are_those_of_the_method():
    recipe = parse("mvd", "--objective", "id+tri", "--epochs", "3", "--optimiser", "sgd", "--trials", "4", "5")
    assert (recipe.mvd.objective, recipe.mvd.epochs, recipe.mvd.optimiser) == ("id+tri", 3, "sgd")
    assert recipe.data.trials == (4, 5)
    for wrong in (
        ("mvd", "--clusters", "3"),
        ("mvd", "--source", "x"),
        ("mmt", "--objective", "id"),
        ("--trials", "1"),
    ):
        with pytest.raises(UserError, match="means nothing to"):
            parse(*wrong)
    with pytest.raises(UserError, match="recipe of mmt"):
        parse("mvd", "--preset", "synthetic")
    with pytest.raises(UserError, match="must be below 1"):
        parse("mvd", "--dropout", "1")


# Recipes


def test_the_published_recipes():
    reference, port = presets()["mvd-sysu"], presets()["mvd-regdb-port"]
    assert (reference.data.height, reference.data.width, reference.mvd.identities, reference.mvd.images) == (
        256,
        128,
        16,
        4,
    )
    assert (reference.mvd.rate, reference.mvd.epochs, reference.mvd.milestones) == (2.6e-4, 600, (210,))
    assert (reference.mvd.cml, reference.mvd.vsd, reference.mvd.vcd) == (8, 2, 2)
    assert (reference.mvd.distillation, reference.mvd.metric, reference.mvd.channel_attention) == (
        "reference",
        "ranked-list",
        True,
    )
    assert presets()["mvd-regdb"].data.trials == tuple(range(1, 11))
    assert (port.data.height, port.data.width, port.mvd.identities, port.mvd.images) == (288, 144, 8, 4)
    assert (port.mvd.rate, port.mvd.backbone_factor, port.mvd.epochs) == (3.5e-3, 0.1, 80)
    assert (port.mvd.objective, port.mvd.metric, port.mvd.margin) == ("id+tri", "triplet", 0.3)
    assert (port.mvd.decay, port.mvd.milestones, port.mvd.warmup_epochs) == ("steps", tuple(range(14, 27)), 4)
    assert (port.mvd.grey, port.mvd.erase, port.mvd.erase_most) == (0.5, 0.5, 0.33)


@pytest.mark.parametrize(("name", "group"), [("mvd-sysu", 64), ("mvd-regdb", 32)])
def test_recipes_of_the_pytorch_code(name, group):
    """Two GPUs have half of a step's rows each, both modalities mixed, and the shared network's forms apart."""
    recipe = presets()[name]
    section = recipe.mvd
    assert recipe.network == NetworkConfig("resnet50", batch_norm_group=group)
    assert group == section.identities * section.images
    assert (section.mixed_groups, section.shared_norm, section.grey_form) == (True, "grey-first", "normalised")
    assert (section.pass_over, section.schedule_ahead, section.padding, section.smoothing) == ("people", 1, 0, 0.1)
    assert (section.biases, section.neck_bias, section.feature) == (True, False, "joint")
    assert recipe.data.interpolation == "bilinear"
    check_groups(recipe)


@pytest.mark.parametrize(("name", "epochs"), [("mvd-sysu-port", 60), ("mvd-regdb-port", 80)])
def test_recipes_of_the_port(name, epochs):
    recipe = presets()[name]
    section, network = recipe.mvd, recipe.network
    assert (network.last_stride, network.conv_padding) == (2, "same")
    assert (network.last_norm_epsilon, network.last_norm_momentum) == (1e-3, 0.003)
    assert (section.epochs, section.sampler, section.smoothing, section.padding) == (epochs, "independent", 0, 0)
    assert (section.grey_form, section.shared_norm, section.mixed_groups) == ("port", "colour-first", False)
    assert (section.biases, section.neck_bias, section.factor_reach, section.feature) == (
        True,
        True,
        "observation",
        "each",
    )
    assert recipe.data.interpolation == "lanczos"


def test_rates_of_the_port_s_tensors():
    """Its 48 tensors of bottlenecks with their classifiers of z have the full rate, its 489 others a tenth."""
    recipe = presets()["mvd-sysu-port"]
    settings = spec_of("mvd").learner_config(
        recipe.network, 8, 8, 288, 144, section=recipe.mvd, backbone_factor=recipe.mvd.backbone_factor
    )
    names = [entry.name for entry in variational_tensors(settings) if entry.trained]
    chosen = treatments(settings, [f"visible.{name}" for name in names])
    factors = {name: one.factor for name, one in zip(names, chosen, strict=True)}
    full = [name for name, factor in factors.items() if factor == 1.0]
    assert 3 * len(full) == 48
    assert 3 * (len(factors) - len(full)) == 489
    assert {factors[name] for name in ("neck.bias", "classifier.weight", "classifier.bias", "conv1.weight")} == {0.1}


@pytest.mark.parametrize("name", ["mvd-sysu", "mvd-regdb"])
def test_two_processes_are_the_two_devices_of_the_pytorch_code(name):
    """Each sees half of a step's rows in both modalities, which are one mixed group; four see less than a group."""
    check_batches(SimpleNamespace(size=2), presets()[name])
    check_batches(SimpleNamespace(size=1), presets()[name])
    with pytest.raises(UserError, match="must divide the"):
        check_batches(SimpleNamespace(size=4), presets()[name])
    apart = replace(presets()[name], mvd=replace(presets()[name].mvd, mixed_groups=False))
    with pytest.raises(UserError, match="must divide the"):
        check_batches(SimpleNamespace(size=2), apart)
