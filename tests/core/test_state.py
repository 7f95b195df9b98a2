"""The canonical state: its names, its start, and the check that lists everything that does not fit."""

import numpy as np
import pytest

from duoreid.core.contract.state import (
    FIRST,
    SECOND,
    at_rest,
    capacity_of,
    check_state,
    expected_shapes,
    initial,
    network,
)
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import METHODS, spec_of
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.network import network_tensors
from duoreid.core.settings.config import NetworkConfig

MMT = spec_of("mmt").learner_config(NetworkConfig("tiny"), 6, 4, 32, 16)
SOURCE = spec_of("source").learner_config(NetworkConfig("tiny"), 6, 4, 32, 16)


def test_names_of_the_state():
    shapes = expected_shapes(MMT)
    tensors = network_tensors(BackboneConfig(MMT.network, 32, 16), 6)
    trained = sum(entry.trained for entry in tensors)
    assert len(shapes) == 4 * len(tensors) + 2 * 2 * trained + 2
    assert shapes["teacher2.layer4.0.bn1.running_var"] == (256,)
    assert shapes[f"{SECOND}student2.classifier.weight"] == (6, 256)
    for absent in ("teacher1.conv1.weight", "student1.neck.bias", "student1.bn1.running_mean"):
        assert f"{FIRST}{absent}" not in shapes


@pytest.mark.parametrize("method", METHODS)
def test_what_stands_beside_the_networks_at_the_start(method):
    config = spec_of(method).learner_config(NetworkConfig("tiny"), 6, 4, 32, 16)
    whole, rest = initial(config, 5), at_rest(config)
    networks = tuple(f"{role}." for role in spec_of(method).all)
    assert rest.keys() == {name for name in whole if not name.startswith(networks)}
    for name, value in rest.items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)


def test_the_start_of_mmt():
    state = initial(MMT, 5)
    assert {name: np.shape(value) for name, value in state.items()} == expected_shapes(MMT)
    check_state(state, MMT)
    for k in (1, 2):
        teacher, student = network(state, f"teacher{k}"), network(state, f"student{k}")
        assert teacher.keys() == student.keys()
        for name, value in student.items():
            np.testing.assert_array_equal(teacher[name], value)
    assert (network(state, "student1")["conv1.weight"] != network(state, "student2")["conv1.weight"]).all()
    assert not any(value.any() for name, value in state.items() if name.startswith("adam."))
    assert (state["classes"], state["adam.step"]) == (4, 0)
    assert state["classes"].dtype == state["adam.step"].dtype == np.int64
    assert {value.dtype for value in state.values()} == {np.dtype(np.float32), np.dtype(np.int64)}


def test_networks_start_from_seed_and_seed_plus_one():
    mmt, first, second = initial(MMT, 5), initial(SOURCE, 5), initial(SOURCE, 6)
    for name, value in network(first, "student").items():
        np.testing.assert_array_equal(mmt[f"student1.{name}"], value)
        np.testing.assert_array_equal(mmt[f"student2.{name}"], network(second, "student")[name])


def test_double_precision_holds_the_same_numbers():
    single, double = initial(SOURCE, 1), initial(SOURCE, 1, np.float64)
    assert double["student.conv1.weight"].dtype == double[f"{FIRST}student.conv1.weight"].dtype == np.float64
    np.testing.assert_array_equal(single["student.conv1.weight"], double["student.conv1.weight"])


def test_everything_wrong_is_listed_at_once():
    state = initial(SOURCE, 1)
    del state["student.bn1.bias"]
    state["extra"] = np.zeros(3)
    state["student.conv1.weight"] = np.zeros((3, 32, 7, 7), np.float32)
    state["student.neck.weight"] = np.full(256, np.nan, np.float32)
    state[f"{SECOND}student.bn1.weight"] = np.full(32, np.inf, np.float32)
    with pytest.raises(UserError) as caught:
        check_state(state, SOURCE, "runs/x.safetensors")
    for line in (
        "runs/x.safetensors does not fit method 'source' with tiny and 6 classes",
        "missing: student.bn1.bias (32,)",
        "unexpected: extra (3,)",
        "shape: student.conv1.weight is (3, 32, 7, 7), expected (32, 3, 7, 7)",
        "not finite: student.neck.weight",
        "not finite: adam.second.student.bn1.weight",
    ):
        assert line in str(caught.value)


def test_a_long_list_of_problems_is_cut():
    with pytest.raises(UserError, match=r"\.\.\. and \d+ more") as caught:
        check_state({}, MMT)
    assert len(str(caught.value).splitlines()) == 23


def test_a_state_of_another_architecture_is_refused():
    other = spec_of("source").learner_config(NetworkConfig("resnet18"), 6, 4, 32, 16)
    with pytest.raises(UserError, match=r"missing: .*layer1\.1"):
        check_state(initial(SOURCE, 1), other)


def test_capacity_comes_from_the_state():
    state = initial(MMT, 1)
    wide = {name: np.zeros((9, 256)) if name.endswith("classifier.weight") else value for name, value in state.items()}
    assert capacity_of(state, SOURCE) == 6
    assert capacity_of(wide, MMT) == 9
    assert capacity_of({}, MMT) == 6


def test_network_takes_its_own_role_only():
    state = {"student1.a": np.ones(1), "student10.a": np.zeros(1), "adam.first.student1.a": np.zeros(1)}
    assert list(network(state, "student1")) == ["a"]
    assert network(state, "student1")["a"] == 1


def test_roles():
    assert spec_of("mmt").all == ("student1", "student2", "teacher1", "teacher2")
    assert spec_of("mmt").embedders == ("teacher1", "teacher2")
    assert spec_of("baseline").embedders == spec_of("source").embedders == ("student",)
    for chosen in METHODS.values():
        assert len(chosen.teachers) in (0, len(chosen.students))


def test_an_unknown_method_names_the_closest():
    with pytest.raises(UserError, match=r"unknown method 'basline'\. Did you mean 'baseline'\?"):
        spec_of("basline")
