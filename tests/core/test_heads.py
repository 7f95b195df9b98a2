"""What stands around a backbone, and what training does to each tensor."""

import numpy as np
import pytest

from duoreid.core.contract.pairs import check_pairs, mixed_rows, rows_of_branches
from duoreid.core.contract.state import check_state, initial, tensors_of
from duoreid.core.contract.treatment import Treatment, distinct, treatments
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.heads import grow_classifiers, rows_for
from duoreid.core.settings.config import NetworkConfig
from duoreid.core.settings.cross_modal import MVDConfig


def learner(method="mmt", capacity=6, **options):
    return spec_of(method).learner_config(NetworkConfig("tiny"), capacity, 4, 32, 16, **options)


@pytest.mark.parametrize(("classes", "rows"), [(1, 64), (64, 64), (65, 128), (500, 512)])
def test_rows_of_a_classifier_that_grows(classes, rows):
    assert rows_for(classes) == rows


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_classifiers_and_their_moments_grow_with_zeros(optimiser):
    state = initial(learner(optimiser=optimiser), 1)
    kept = {name: value.copy() for name, value in state.items()}
    grown = grow_classifiers(state, 70)
    check_state(grown, learner(capacity=70, optimiser=optimiser))
    for name, value in kept.items():
        np.testing.assert_array_equal(state[name], value)
        if grown[name].shape == value.shape:
            np.testing.assert_array_equal(grown[name], value)
        else:
            assert name.endswith(".classifier.weight")
            np.testing.assert_array_equal(grown[name][:6], value)
            assert not grown[name][6:].any()
            assert grown[name].dtype == value.dtype
    with pytest.raises(ValueError, match=r"classifier\.weight has 70 rows and cannot grow to 64"):
        grow_classifiers(grown, 64)


def test_both_classifiers_of_a_bottleneck_grow():
    grown = grow_classifiers(initial(learner("mvd"), 1), 9)
    check_state(grown, learner("mvd", capacity=9))
    assert grown["shared.bottleneck.classifier.bias"].shape == (9,)


def test_heads_train_at_the_full_rate_and_the_backbone_at_a_factor_of_it():
    config = learner("mvd", backbone_factor=0.1, weight_decay=3e-4, section=MVDConfig(channel_attention=True))
    trained = [entry.name for entry in tensors_of(config) if entry.trained]
    treated = dict(zip(trained, treatments(config, [f"shared.{name}" for name in trained]), strict=True))
    heads = ("neck.", "classifier.", "bottleneck.")
    assert {name for name in treated if treated[name].factor == 1} == {
        name for name in treated if name.startswith(heads)
    }
    assert {one.factor for one in treated.values()} == {0.1, 1.0}
    assert {one.decay for one in treated.values()} == {3e-4}
    assert treated["attention3.gamma"] == Treatment(0.1, 3e-4)


def test_distinct_treatments_and_their_places():
    slow, full, free = Treatment(0.1, 1e-3), Treatment(1.0, 1e-3), Treatment(1.0)
    assert distinct([slow, full, slow, free]) == ([slow, full, free], (0, 1, 0, 2))


def test_parts_of_a_pair_that_belong_together():
    check_pairs(8, 4, 32, dropout=True)
    check_pairs(8, 4, None, dropout=False)
    visible, infrared, shared = (np.arange(32)[rows] for rows in rows_of_branches(8))
    assert (len(visible), len(infrared), len(shared)) == (8, 8, 16)
    assert np.concatenate([visible, infrared, shared]).tolist() == list(range(32))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((7, 4, 28), "one visible and one infrared image for each label, got 7 images for 4 labels"),
        ((8, 4, None), "noise for 32 rows of z, got none"),
        ((8, 4, 31), "noise for 32 rows of z, got 31 rows"),
    ],
)
def test_parts_that_do_not_are_refused(parts, words):
    with pytest.raises(ValueError, match=words):
        check_pairs(*parts, dropout=True)


def test_rows_of_two_devices():
    """Of 6 people with one image of each modality each device has 3, both modalities."""
    order = mixed_rows(12, 6)
    assert order.tolist() == [0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11]
    for count, group in ((12, 5), (12, 8), (12, 0)):
        with pytest.raises(ValueError, match=f"mixed groups of {group} rows must be even and divide"):
            mixed_rows(count, group)


def test_mvd_s_biases_and_its_trained_neck():
    plain, full = (
        {entry.name: entry for entry in tensors_of(learner("mvd", section=MVDConfig(**changes)))}
        for changes in ({}, {"biases": True, "neck_bias": True})
    )
    added = {"classifier.bias", *(f"bottleneck.{name}.bias" for name in ("linear1", "linear2", "hidden"))}
    assert full.keys() - plain.keys() == added
    assert all(full[name].kind == "zeros" and full[name].trained for name in added)
    assert (plain["neck.bias"].trained, full["neck.bias"].trained) == (False, True)
    assert {name: entry for name, entry in full.items() if name in plain and name != "neck.bias"} == {
        name: entry for name, entry in plain.items() if name != "neck.bias"
    }
