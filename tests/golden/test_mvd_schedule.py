"""Rates and lengths of epochs of the two public MVD codes, from our schedules and from the presets that follow them."""

from types import SimpleNamespace

import numpy as np
import pytest

from duoreid.core.data import INFRARED, VISIBLE
from duoreid.core.methods.mvd import MVD, one_pass
from duoreid.core.methods.schedules import warmup_multistep
from duoreid.core.settings.presets import presets
from tests.golden.numbers import document


def test_rates_of_the_torch_code():
    """Linear from 0.01 over 10, times 0.1 at 210, an epoch ahead."""
    numbers = document("mvd/mvd-torch-step")
    rate = numbers["groups"]["all"]["rate"]
    series = [warmup_multistep(epoch, rate=2.6e-4, milestones=(210,), ahead=1) for epoch in range(600)]
    assert series[:12] == pytest.approx(numbers["rates_by_epoch_index_0_to_11"], rel=1e-9)
    assert series[0] == pytest.approx(rate["epoch_index_0"])
    assert series[9] == pytest.approx(rate["first_full_epoch_index_9"])
    assert series[208:210] == pytest.approx([rate["epoch_index_208"], rate["epoch_index_209"]])
    assert series[-1] == pytest.approx(rate["last_epoch_index_599"])


@pytest.mark.parametrize(("group", "factor"), [("backbone", 0.1), ("bottleneck", 1.0)])
def test_rates_of_the_mindspore_port(group, factor):
    """A fifth more each epoch until the fifth; from index 14 to 26 a tenth each epoch. Its tables are float32."""
    numbers = document("mvd/mvd-mindspore-step")
    rule = {"warmup_epochs": 4, "warmup_factor": 0.2, "milestones": tuple(range(14, 27)), "gamma": 0.1}
    series = [warmup_multistep(epoch, rate=3.5e-3 * factor, **rule) for epoch in range(60)]
    expected = [factor * rate for rate in numbers["rates_of_the_bottlenecks_by_epoch_index_0_to_29"]]
    assert series[:30] == pytest.approx(expected, rel=1e-6)
    rate = numbers["groups"][group]["rate"]
    assert [series[0], series[4], series[13], series[14], series[59]] == pytest.approx(list(rate.values()), rel=1e-6)


def rates(preset):
    """Return the rate of every epoch of a recipe."""
    section = presets()[preset].mvd
    return [MVD.rates(SimpleNamespace(schedule=section), epoch, 0)[0] for epoch in range(section.epochs)]


@pytest.mark.parametrize("preset", ["mvd-sysu", "mvd-regdb"])
def test_presets_of_the_torch_code_have_its_rates(preset):
    numbers, series = document("mvd/mvd-torch-step"), rates(preset)
    assert len(series) == 600
    assert series[:12] == pytest.approx(numbers["rates_by_epoch_index_0_to_11"], rel=1e-9)
    assert [series[208], series[209], series[599]] == pytest.approx([2.6e-4, 2.6e-5, 2.6e-5])


@pytest.mark.parametrize(("preset", "epochs"), [("mvd-sysu-port", 60), ("mvd-regdb-port", 80)])
def test_presets_of_the_port_have_its_rates(preset, epochs):
    numbers, series = document("mvd/mvd-mindspore-step"), rates(preset)
    assert len(series) == epochs
    assert series[:30] == pytest.approx(numbers["rates_of_the_bottlenecks_by_epoch_index_0_to_29"], rel=1e-6)
    assert series[-1] == pytest.approx(3.5e-16)


@pytest.mark.parametrize(
    ("preset", "people", "images", "expected"),
    [
        ("mvd-sysu", 395, (22258, 11909), 24),
        ("mvd-regdb", 206, (2060, 2060), 25),
        ("mvd-sysu-port", 395, (22258, 11909), 695),
        ("mvd-regdb-port", 206, (2060, 2060), 64),
        ("mvd-sysu-duoreid", 395, (22258, 11909), 347),
        ("mvd-regdb-duoreid", 206, (2060, 2060), 64),
    ],
)
def test_steps_of_an_epoch(preset, people, images, expected):
    labels = np.concatenate([np.arange(count) % people for count in images])
    modalities = np.repeat([VISIBLE, INFRARED], images)
    assert one_pass(labels, modalities, presets()[preset]) == expected
