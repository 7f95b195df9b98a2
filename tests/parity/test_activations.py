"""Activation maps: both backends see the same places, and they are those of the last block."""

import importlib

import numpy as np
import pytest

from duoreid.core.errors import UserError
from tests.conformance.examples import MMT, example_batch, example_state, fresh
from tests.conftest import learner_of, probe_of
from tests.tolerances import check_close


def maps(backend):
    learner = learner_of(backend, MMT)
    learner.import_state(fresh(example_state(MMT)))
    images = example_batch(30).images[0]
    before = learner.export_state()
    arrays = importlib.import_module(f"duoreid.backends.{backend}.activations").activations(learner, images)
    after = learner.export_state()
    assert all(np.array_equal(before[name], after[name]) for name in before), "looking has changed the networks"
    return learner, images, arrays


def test_both_backends_give_the_same_maps():
    activations = {}
    for backend in ("torch", "mindspore"):
        learner, images, activations[backend] = maps(backend)
        assert activations[backend].shape[:2] == (len(learner.spec.embedders), len(images))
    assert activations["torch"].std() > 0.01 * activations["torch"].mean(), "all places respond alike"
    assert np.abs(activations["torch"][0] - activations["torch"][1]).max() > 0, "both networks give one map"
    check_close("parity.embedding.float32", activations["mindspore"], activations["torch"])


def test_a_map_is_of_the_last_block():
    learner, images, activations = maps("torch")
    for index, role in enumerate(learner.spec.embedders):
        layers = probe_of("torch").layers(learner, role, images, train=False)
        last = sorted(name for name in layers if name.startswith("layer4.") and name.count(".") == 1)[-1]
        assert np.allclose(activations[index], np.linalg.norm(layers[last], axis=1), rtol=1e-5)


def test_a_block_without_places_is_refused():
    from duoreid.core.report.heat import strength

    with pytest.raises(UserError, match="no activation maps"):
        strength(np.zeros((2, 5, 8)), "vit")
