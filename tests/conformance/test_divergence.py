"""A run that has diverged shows it: whatever is not finite reaches losses(), through ReLUs and poolings.

NaN cannot come in by uint8 images nor by a state (which is refused), but it arises in training: weights overflow,
a rate or a centroid is not finite.
"""

import numpy as np
import pytest

from tests.conformance import examples_mvd
from tests.conformance.examples import BASELINE, MMT, example_batch, example_state, fresh, views_of
from tests.conformance.examples_mvd import FULL
from tests.conftest import learner_of

HUGE = np.float32(3e38)  # finite, so that it may be imported; the first product overflows


def losses_after(learner, config, rate=1e-3):
    learner.losses()
    learner.step(example_batch(views=views_of(config)), rate, 0.9)
    return learner.losses()


@pytest.mark.parametrize(
    "name",
    [
        "student1.conv1.weight",
        "student2.layer2.0.conv2.weight",
        "student1.layer4.0.bn2.weight",
        "student2.classifier.weight",
        "teacher1.conv1.weight",
        "teacher2.layer3.0.downsample.0.weight",
        "teacher1.classifier.weight",
    ],
)
def test_weights_that_overflow(backend, name):
    state = fresh(example_state(MMT))
    state[name] = np.where(state[name] < 0, -HUGE, HUGE)
    learner = learner_of(backend, MMT)
    learner.import_state(state)
    assert not np.isfinite(losses_after(learner, MMT)["total"])


@pytest.mark.parametrize("rate", [np.nan, np.inf])
@pytest.mark.parametrize("config", [MMT, BASELINE], ids=["mmt", "baseline"])
def test_a_rate_that_is_not_finite(backend, config, rate):
    learner = learner_of(backend, config)
    learner.import_state(fresh(example_state(config)))
    assert np.isfinite(losses_after(learner, config, rate)["total"])
    assert not np.isfinite(losses_after(learner, config)["total"])


def test_centroids_that_are_not_finite(backend):
    """They are refused, or they show in the losses; they never pass unseen."""
    learner = learner_of(backend, BASELINE)
    learner.import_state(fresh(example_state(BASELINE)))
    rows = np.ones((6, 256), np.float32)
    rows[1, 3] = np.nan
    try:
        learner.relabel(rows)
    except ValueError:
        return
    losses = losses_after(learner, BASELINE)
    assert not np.isfinite(losses["hard_ce"])
    assert not np.isfinite(losses["total"])


def test_a_learner_recovers_by_importing_a_sound_state(backend):
    learner = learner_of(backend, BASELINE)
    learner.import_state(fresh(example_state(BASELINE)))
    expected = losses_after(learner, BASELINE)
    losses_after(learner, BASELINE, np.nan)
    learner.import_state(fresh(example_state(BASELINE)))
    assert losses_after(learner, BASELINE) == expected


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "visible.conv1.weight",
        "infrared.layer2.0.bn1.weight",
        "shared.classifier.weight",
        "visible.bottleneck.linear1.weight",
        "shared.bottleneck.hidden.weight",
        "infrared.bottleneck.classifier.weight",
    ],
)
def test_weights_of_mvd_that_overflow(backend, name):
    """Through the bottleneck, the dropout, the mined pairs and the transport."""
    state = examples_mvd.fresh(examples_mvd.example_state(FULL))
    state[name] = np.where(state[name] < 0, -HUGE, HUGE)
    learner = learner_of(backend, FULL)
    learner.import_state(state)
    learner.step(examples_mvd.example_batch(FULL), 1e-3, 0.0)
    assert not np.isfinite(learner.losses()["total"])
