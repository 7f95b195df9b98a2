"""Test features of the public PyTorch MVD: what its networks make of 8 pictures, in both backends."""

from functools import cache

import numpy as np
import pytest

from duoreid.benchmarks.golden import mvd
from tests.conftest import BACKENDS, probe_of
from tests.golden import mvd_views
from tests.golden.numbers import arrays
from tests.tolerances import check_close

NUMBERS = arrays("mvd/mvd-torch-features")
PLACES = {"infrared": 0, "shared_grey": 1, "visible": 2, "shared_colour": 3}
"""Where the 2048 numbers of a view stand among the 8192."""


@cache
def outputs(backend):
    """Return v and z of every view: two pictures at a time, since a probe's layers keep all that they compute."""
    probe, found = probe_of(backend), {name: [] for name in PLACES}
    learner, biases = mvd_views.learner_of(probe, "float32")
    for pictures in np.split(mvd.embedded_pictures(256, 128), 4):
        for name, seen in mvd_views.views(probe, learner, biases, pictures, train=False):
            found[name].append((seen.v, seen.z))
    return {name: [np.concatenate(rows) for rows in zip(*parts, strict=True)] for name, parts in found.items()}


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("view", PLACES)
def test_observations(backend, view):
    recorded = NUMBERS["features"][:, 2048 * PLACES[view] :][:, :2048] * NUMBERS["norms"][:, None]
    found = outputs(backend)[view][0]
    check_close("golden.mvd.features", found / NUMBERS["norms"][:, None], recorded / NUMBERS["norms"][:, None], scale=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_feature(backend):
    """All four joined and normalised together. Pictures are told apart: cosines from 0.21 to 0.99."""
    found = unit(np.concatenate([outputs(backend)[view][0].astype(np.float64) for view in PLACES], axis=1))
    check_close("golden.mvd.features", found, NUMBERS["features"], scale=1)
    check_close("golden.mvd.similarity", found @ found.T, NUMBERS["similarity"], scale=1)
    assert NUMBERS["similarity"].min() < 0.3


@pytest.mark.parametrize("backend", BACKENDS)
def test_feature_that_ranks_during_training(backend):
    """v of a modality's two views, then z of both; of the 10240 numbers every 16th is recorded."""
    order = [outputs(backend)[view] for view in PLACES]
    parts = [order[0][0], order[1][0], order[0][1], order[1][1], order[2][0], order[3][0], order[2][1], order[3][1]]
    joined = unit(np.concatenate(parts, axis=1).astype(np.float64))
    assert joined.shape == (8, 10240)
    check_close("golden.mvd.features", joined[:, ::16], NUMBERS["during_training"], scale=1)
