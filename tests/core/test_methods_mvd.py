"""MVD's host half: what is trained on, what is refused, the batches and the rates."""

from dataclasses import replace

import numpy as np
import pytest

from duoreid.core.data import INFRARED, VISIBLE, TrainingSet
from duoreid.core.errors import UserError
from duoreid.core.methods.mvd import MVD
from duoreid.core.settings.config import NetworkConfig
from tests.core.people_mvd import Pixels, config, training_set

# What is trained on


def test_identities_in_one_modality_are_left_out_and_named():
    method = MVD(config(), {"dataset": training_set()})
    assert method.classes == 4
    assert method.left_out == {"visible": [9], "infrared": [4]}
    known = dict(zip([2, 5, 7, 11], range(4), strict=True))
    expected = [known.get(identity, -1) for identity in method.train.split.identities]
    assert method.labels.tolist() == expected
    assert method.labels.dtype == np.int32


def test_nobody_is_left_out_silently_or_by_mistake():
    assert (
        MVD(
            config(), {"dataset": training_set([(1, VISIBLE, 3), (1, INFRARED, 3), (3, VISIBLE, 1), (3, INFRARED, 1)])}
        ).left_out
        == {}
    )


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ([(1, VISIBLE, 3), (2, VISIBLE, 3)], "no labelled infrared training image"),
        ([(1, INFRARED, 3), (-1, VISIBLE, 3)], "no labelled visible training image"),
        ([(1, INFRARED, 3), (2, VISIBLE, 3)], "no identity of people has both"),
    ],
)
def test_data_that_cannot_be_matched_is_refused(seen, message):
    with pytest.raises(UserError, match=message):
        MVD(config(), {"dataset": training_set(seen)})


def test_too_few_identities_for_a_batch():
    method = MVD(config(identities=5), {"dataset": training_set()})
    with pytest.raises(UserError, match=r"5 identities .* only 4 with both visible and infrared"):
        method.sample(method.label(None, 0), 0)


@pytest.mark.parametrize(
    ("group", "changes", "message"),
    [
        (6, {"mixed_groups": True}, "--mixed-groups needs --shared-norm"),
        (0, {"mixed_groups": True, "shared_norm": "grey-first"}, "got 0: give 6"),
        (3, {"mixed_groups": True, "shared_norm": "grey-first"}, "even and to divide the 12 images"),
        (8, {"mixed_groups": True, "shared_norm": "colour-first"}, "got 8"),
    ],
)
def test_groups_that_cannot_be_mixed(group, changes, message):
    wrong = replace(config(**changes), network=NetworkConfig("tiny", batch_norm_group=group))
    with pytest.raises(UserError, match=message):
        MVD(wrong, {"dataset": training_set()})


# Batches


def test_batches_pair_the_same_people_in_both_modalities():
    method = MVD(config(), {"dataset": training_set()})
    labelling, split = method.label(None, 0), method.train.split
    plan = method.sample(labelling, 0)
    assert plan.shape == (4, 2, 6)
    for step, rows in enumerate(plan):
        for modality in (VISIBLE, INFRARED):
            assert (split.modalities[rows[modality]] == modality).all()
        people = split.identities[rows]
        np.testing.assert_array_equal(people[0], people[1])
        assert set(people.ravel().tolist()) <= {2, 5, 7, 11}
        batch = method.batch(labelling, rows, 0, step)
        np.testing.assert_array_equal(batch.images[:, :, 0, 0, 0], rows)
        np.testing.assert_array_equal(batch.labels, method.labels[rows[0]])
        assert batch.noise.shape == (8 * 6, 256)
        assert batch.noise.dtype == np.float32
        assert batch.noise.min() >= 0
        assert batch.noise.max() < 1


def test_batches_depend_on_seed_epoch_and_step_alone():
    first, again = (
        MVD(config(erase=0.5), {"dataset": training_set()}),
        MVD(config(erase=0.5), {"dataset": training_set()}),
    )
    labelling = first.label(None, 0)
    rows = first.sample(labelling, 3)[0]
    np.testing.assert_array_equal(again.sample(labelling, 3)[0], rows)
    batch, same = first.batch(labelling, rows, 3, 1), again.batch(labelling, rows, 3, 1)
    np.testing.assert_array_equal(batch.images, same.images)
    np.testing.assert_array_equal(batch.noise, same.noise)
    for other in (
        first.batch(labelling, rows, 3, 2),
        MVD(config(), {"dataset": training_set()}, seed=2).batch(labelling, rows, 3, 1),
    ):
        assert (other.noise != batch.noise).mean() > 0.99


def test_only_visible_images_lose_their_colour():
    train = training_set()
    colours = Pixels(len(train.images))
    plain = Pixels.__getitem__
    colours.__class__ = type(
        "Colours", (Pixels,), {"__getitem__": lambda self, r: plain(self, r) + np.uint8([0, 90, 40])}
    )
    method = MVD(config(grey=1.0), {"dataset": TrainingSet("people", colours, train.split)})
    labelling = method.label(None, 0)
    images = method.batch(labelling, method.sample(labelling, 0)[0], 0, 0).images
    assert (np.ptp(images[VISIBLE].astype(int), axis=-1) == 0).all()
    assert (np.ptp(images[INFRARED].astype(int), axis=-1) == 90).all()


def test_without_dropout_there_is_no_noise():
    method = MVD(config(dropout=0.0), {"dataset": training_set()})
    labelling = method.label(None, 0)
    assert method.batch(labelling, method.sample(labelling, 0)[0], 0, 0).noise is None


def test_independent_batches_and_smaller_rectangles():
    method = MVD(config(sampler="independent", images=8, erase_most=0.1), {"dataset": training_set()})
    rows = method.sample(method.label(None, 0), 0)
    assert rows.shape == (4, 2, 24)
    assert any(len(set(part.tolist())) < 8 for part in rows.reshape(-1, 8)), "images come with repetition"
    assert {one.erase_most for one in method.augmentations.values()} == {0.1}


def test_one_pass_over_the_larger_modality():
    """14 visible images of people in both modalities, 6 of them a batch."""
    assert MVD(config(iterations=0), {"dataset": training_set()}).schedule.iterations == 14 // 6
    assert MVD(config(iterations=0, identities=4, images=8), {"dataset": training_set()}).schedule.iterations == 1


def test_one_pass_over_people():
    """4 people in both modalities, 3 a batch: the fourth sits out."""
    assert MVD(config(iterations=0, pass_over="people"), {"dataset": training_set()}).schedule.iterations == 1
    assert (
        MVD(config(iterations=0, pass_over="people", identities=2), {"dataset": training_set()}).schedule.iterations
        == 2
    )


# Rates


def test_rates_of_both_recipes():
    steps = MVD(config(rate=2.0, warmup_epochs=10, milestones=(210,)), {"dataset": training_set()})
    assert [steps.rates(epoch, 0)[0] for epoch in (0, 10, 209, 210)] == pytest.approx([0.02, 2, 2, 0.2])
    linear = MVD(config(rate=2.0, warmup_epochs=5, decay="log-linear", final_factor=0.25), {"dataset": training_set()})
    assert [linear.rates(epoch, 3)[0] for epoch in (0, 5, 15, 21, 27, 79)] == pytest.approx([0.02, 2, 2, 1, 0.5, 0.5])
