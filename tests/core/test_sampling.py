"""Samplers: shapes, passes, cameras, repetition and guards."""

import time

import numpy as np
import pytest

from duoreid.core.data import INFRARED, VISIBLE
from duoreid.core.errors import UserError
from duoreid.core.methods.sampling import (
    cross_modality_batches,
    identity_batches,
    independent_cross_modality_batches,
    shuffled_batches,
)
from duoreid.core.random import rng


def draw(labels, cameras=None, *, identities=4, images=4, iterations=10, seed=0, epoch=0, purpose="sampling"):
    labels = np.asarray(labels)
    cameras = np.zeros_like(labels) if cameras is None else np.asarray(cameras)
    return identity_batches(
        labels,
        cameras,
        identities=identities,
        images=images,
        iterations=iterations,
        seed=seed,
        epoch=epoch,
        purpose=purpose,
    )


def many(identities, seed=0):
    """Labels and cameras of identities with 1 to 12 images, shuffled, some of them outliers."""
    generator = rng(seed, "test")
    labels = np.repeat(np.arange(identities), generator.integers(1, 13, identities))
    labels = generator.permutation(np.concatenate([labels, np.full(7, -1)]))
    return labels, generator.integers(0, 6, len(labels))


def test_each_batch_is_p_identities_of_k_images_in_turn():
    labels, cameras = many(23)
    rows = draw(labels, cameras, identities=5, images=3, iterations=40)
    assert rows.shape == (40, 15)
    assert rows.dtype == np.int64
    sampled = labels[rows].reshape(40, 5, 3)
    assert (sampled == sampled[:, :, :1]).all()
    assert all(len(set(batch)) == 5 for batch in sampled[:, :, 0].tolist())
    assert (sampled != -1).all()


@pytest.mark.parametrize(("count", "identities"), [(7, 7), (7, 6), (7, 4), (23, 5), (64, 16)])
def test_every_identity_comes_once_before_any_comes_again(count, identities):
    rows = draw(np.repeat(np.arange(count), 2), identities=identities, images=1, iterations=30)
    order = np.repeat(np.arange(count), 2)[rows].ravel()
    for start in range(0, len(order) - count + 1, count):
        assert sorted(order[start : start + count]) == list(range(count))
    assert all(len(set(batch)) == identities for batch in order.reshape(30, identities).tolist())


def test_passes_are_shuffled_anew():
    order = draw(np.arange(100), identities=10, images=1, iterations=20).reshape(2, 100)
    assert (order[0] != order[1]).any()
    assert (order[0] != np.arange(100)).any()


def test_no_image_repeats_while_the_identity_has_enough():
    labels, cameras = many(30)
    counts = np.bincount(labels[labels >= 0])
    for identity, rows in by_identity(labels, draw(labels, cameras, images=4, iterations=60)):
        assert len(set(rows)) == min(4, counts[identity])


def by_identity(labels, rows, images=4):
    for chosen in rows.reshape(-1, images):
        yield labels[chosen[0]], chosen.tolist()


def test_an_identity_with_one_image_fills_its_place():
    rows = draw([0, 1, 2, 3, 3, 3, 3, 3], images=4)
    lonely = rows.reshape(-1, 4)[(rows.reshape(-1, 4) < 3).all(axis=1)]
    assert len(lonely) == 30
    assert (lonely == lonely[:, :1]).all()


def test_what_repeats_is_drawn_evenly():
    rows = draw(np.repeat(np.arange(4), 2), images=6, iterations=500).reshape(-1, 6)
    assert (rows[:, 0] != rows[:, 1]).all()
    again = (rows[:, 2:] == rows[:, :1]).sum()
    assert abs(again - 4000) < 5 * np.sqrt(2000)


def test_partners_come_from_other_cameras_first():
    labels, cameras = many(30, seed=1)
    for identity, rows in by_identity(labels, draw(labels, cameras, iterations=60)):
        own = cameras[labels == identity]
        others = int((own != cameras[rows[0]]).sum())
        assert (cameras[rows[1:]] != cameras[rows[0]]).sum() >= min(3, others)
        if others >= 3:
            assert cameras[rows[0]] not in cameras[rows[1:]]


def test_images_are_drawn_evenly():
    rows = draw(np.repeat(np.arange(4), 8), images=2, iterations=2000)
    counts = np.bincount(rows.ravel(), minlength=32)
    assert counts.sum() == 16000
    assert np.abs(counts - 500).max() < 5 * np.sqrt(500)


def test_the_key_fixes_the_draw_and_each_part_changes_it():
    labels, cameras = many(40)
    first = draw(labels, cameras)
    np.testing.assert_array_equal(first, draw(labels, cameras))
    for change in ({"seed": 1}, {"epoch": 1}, {"purpose": "other"}):
        assert (draw(labels, cameras, **change) != first).any()


def test_numbers_of_labels_do_not_matter():
    labels, cameras = many(20)
    np.testing.assert_array_equal(
        draw(labels, cameras), draw(np.where(labels < 0, -1, 10 * labels + 3).astype(np.int32), cameras)
    )


def test_input_is_left_untouched():
    labels, cameras = many(10)
    before = labels.copy(), cameras.copy()
    draw(labels, cameras)
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(cameras, before[1])


def test_too_few_identities_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"needs 8 identities.*only 5.*smaller number"):
        draw(np.repeat(np.arange(5), 4), identities=8)
    with pytest.raises(ValueError, match="only 0"):
        draw(np.full(10, -1))
    with pytest.raises(ValueError, match="only 0"):
        draw(np.empty(0, int))


@pytest.mark.parametrize("sizes", [{"identities": 0}, {"images": 0}, {"iterations": 0}])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(ValueError, match="1 or more"):
        draw(np.arange(10), **sizes)


def test_cameras_must_match_labels():
    with pytest.raises(ValueError, match="camera"):
        draw(np.arange(10), np.arange(9))


def test_a_long_epoch_is_quick():
    labels = np.repeat(np.arange(1000), 30)
    start = time.perf_counter()
    draw(labels, labels % 7, identities=16, iterations=400)
    assert time.perf_counter() - start < 2


def modal(**options):
    labels = np.tile(np.repeat(np.arange(12), 5), 2)
    modalities = np.repeat([VISIBLE, INFRARED], 60)
    labels[(labels == 3) & (modalities == INFRARED)] = 2
    labels[(labels == 8) & (modalities == VISIBLE)] = 7
    labels[:2] = -1
    sizes = {"identities": 4, "images": 3, "iterations": 20, "seed": 0, "epoch": 0, **options}
    return labels, modalities, cross_modality_batches(labels, modalities, **sizes)


def test_cross_modality_views_show_the_same_identities():
    labels, modalities, rows = modal()
    assert rows.shape == (20, 2, 12)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(labels[rows[:, 0]], labels[rows[:, 1]])
    assert (modalities[rows[:, 0]] == VISIBLE).all()
    assert (modalities[rows[:, 1]] == INFRARED).all()
    assert (labels[rows] >= 0).all()
    assert all(len(set(batch)) == 4 for batch in labels[rows[:, 0, ::3]].tolist())
    for chosen in rows.reshape(-1, 3):
        assert len(set(chosen.tolist())) == 3


def test_cross_modality_leaves_out_identities_of_one_modality():
    labels, _, rows = modal(iterations=50)
    assert set(labels[rows].ravel().tolist()) == set(range(12)) - {3, 8}


def test_cross_modality_needs_enough_identities():
    with pytest.raises(ValueError, match=r"needs 12 identities.*only 10 with both"):
        modal(identities=12)
    with pytest.raises(ValueError, match="modality"):
        cross_modality_batches(np.arange(3), np.zeros(2), identities=1, images=1, iterations=1, seed=0, epoch=0)


def test_independent_cross_modality_batches():
    """Each batch by itself: P different people, of each K images with repetition, every image as often as another."""
    labels = np.tile(np.repeat([4, 7, 9], 5), 2)
    modalities = np.repeat([VISIBLE, INFRARED], 15)
    sizes = {"identities": 2, "images": 3, "iterations": 4000, "seed": 0}
    rows = independent_cross_modality_batches(labels, modalities, **sizes, epoch=0)
    assert (rows.shape, rows.dtype) == ((4000, 2, 6), np.int64)
    np.testing.assert_array_equal(labels[rows[:, 0]], labels[rows[:, 1]])
    assert (modalities[rows[:, 0]] == VISIBLE).all()
    assert (modalities[rows[:, 1]] == INFRARED).all()
    people = labels[rows[:, 0]].reshape(4000, 2, 3)
    assert (people == people[:, :, :1]).all()
    assert (people[:, 0, 0] != people[:, 1, 0]).all()
    counts = np.bincount(rows.ravel(), minlength=30)
    assert abs(counts / counts.mean() - 1).max() < 0.1
    distinct = [len(set(chosen.tolist())) for chosen in rows.reshape(-1, 3)]
    assert np.mean(distinct) == pytest.approx(1 * 1 / 25 + 2 * 12 / 25 + 3 * 12 / 25, abs=0.02)
    again = independent_cross_modality_batches(labels, modalities, **sizes, epoch=0)
    np.testing.assert_array_equal(again, rows)
    assert (independent_cross_modality_batches(labels, modalities, **sizes, epoch=1) != rows).any()
    with pytest.raises(UserError, match="only 3 with both"):
        independent_cross_modality_batches(labels, modalities, **(sizes | {"identities": 4}), epoch=0)


def test_shuffled_batches_pass_over_all_rows_in_turn():
    rows = shuffled_batches(np.arange(10, 17), 4, 14, seed=0, epoch=0)
    assert rows.shape == (14, 4)
    assert rows.dtype == np.int64
    assert all(len(set(batch)) == 4 for batch in rows.tolist())
    np.testing.assert_array_equal(np.sort(rows.reshape(8, 7), axis=1), np.tile(np.arange(10, 17), (8, 1)))
    assert (shuffled_batches(np.arange(10, 17), 4, 14, seed=0, epoch=1) != rows).any()


def test_shuffled_batches_may_hold_all_rows():
    rows = shuffled_batches(np.arange(7), 7, 3, seed=0, epoch=0)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(7), (3, 1)))


def test_shuffled_batches_refuse_a_batch_larger_than_the_data():
    with pytest.raises(ValueError, match="needs 4 images, but there are 3"):
        shuffled_batches(np.arange(3), 4, 1, seed=0, epoch=0)


@pytest.mark.parametrize("sizes", [{"images": 999_999}, {"iterations": 1 << 26}])
def test_a_slip_of_the_keyboard_does_not_take_all_memory(sizes):
    labels = np.repeat(np.arange(4), 2)
    with pytest.raises(UserError, match="are planned"):
        identity_batches(
            labels, labels, **{"identities": 4, "images": 2, "iterations": 1, "seed": 0, "epoch": 0} | sizes
        )
