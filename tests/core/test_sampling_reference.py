"""The sampler of MMT's public code, rule by rule."""

from collections import Counter
from itertools import groupby

import numpy as np
import pytest

from duoreid.core.errors import UserError
from duoreid.core.methods.sampling import reference_batches
from duoreid.core.random import rng


def draw(labels, cameras=None, **options):
    labels = np.asarray(labels)
    cameras = np.zeros_like(labels) if cameras is None else np.asarray(cameras)
    sizes = {"identities": 4, "images": 4, "iterations": 10, "seed": 0, "epoch": 0, **options}
    return reference_batches(labels, cameras, **sizes)


def many(identities, seed=0):
    """Labels and cameras of identities with 2 to 12 images, shuffled, some rows outliers."""
    generator = rng(seed, "test")
    labels = np.repeat(np.arange(identities), generator.integers(2, 13, identities))
    labels = generator.permutation(np.concatenate([labels, np.full(7, -1)]))
    return labels, generator.integers(0, 4, len(labels))


def test_passes_are_whole_and_their_last_batch_is_dropped():
    """11 identities of 4 rows are 44 a pass: two batches of 16, and 12 rows that no batch holds."""
    labels, cameras = many(11)
    rows = draw(labels, cameras, iterations=40)
    assert rows.shape == (40, 16)
    assert rows.dtype == np.int64
    groups = labels[rows].reshape(20, 8, 4)
    assert (groups == groups[:, :, :1]).all()
    assert (groups >= 0).all()
    assert all(len(set(one.tolist())) == 8 for one in groups[:, :, 0])
    left_out = [set(range(11)) - set(one.tolist()) for one in groups[:, :, 0]]
    assert len({frozenset(out) for out in left_out}) > 10, "other identities are left out in each pass"


def test_partners_come_from_other_cameras_alone():
    labels, cameras = many(30, seed=1)
    for rows in draw(labels, cameras, iterations=200).reshape(-1, 4):
        own = cameras[labels == labels[rows[0]]]
        others = int((own != cameras[rows[0]]).sum())
        if others:
            assert (cameras[rows[1:]] != cameras[rows[0]]).all()
        if others >= 4:
            assert len(set(rows.tolist())) == 4


def test_exactly_three_partners_may_repeat_and_four_may_not():
    for partners, some in ((3, True), (4, False)):
        labels = np.repeat(np.arange(4), partners + 1)
        cameras = np.tile(np.minimum(np.arange(partners + 1), 1), 4)  # one image of camera 0, the others of camera 1
        groups = draw(labels, cameras, iterations=100).reshape(-1, 4)
        firsts = groups[cameras[groups[:, 0]] == 0]
        repeated = [len(set(rows.tolist())) < 4 for rows in firsts]
        assert any(repeated) == some
        assert len(firsts) > 20


def test_one_camera_leaves_the_first_image_out_of_its_partners():
    labels = np.repeat(np.arange(4), [2, 4, 5, 9])
    for rows in draw(labels, iterations=300).reshape(-1, 4):
        assert rows[0] not in rows[1:]
        if (labels == labels[rows[0]]).sum() > 4:
            assert len(set(rows.tolist())) == 4


def test_the_first_image_is_even_and_partners_are_even_over_images():
    labels, cameras = np.repeat(np.arange(4), 7), np.tile([0, 0, 1, 1, 1, 1, 2], 4)
    groups = draw(labels, cameras, images=2, iterations=4000).reshape(-1, 2)
    firsts = np.bincount(groups[:, 0], minlength=28)
    assert np.abs(firsts - 16000 / 28).max() < 5 * np.sqrt(16000 / 28)
    seconds = np.bincount(groups[np.isin(groups[:, 0] % 7, [0, 1]), 1] % 7, minlength=7)
    assert not seconds[:2].any()
    assert np.abs(seconds[2:] - seconds.sum() / 5).max() < 5 * np.sqrt(seconds.sum() / 5)


def test_an_identity_of_one_image_comes_once_and_shifts_what_follows():
    labels = np.concatenate([np.repeat(np.arange(20), 4), np.arange(20, 25)])
    rows = draw(labels, iterations=100)
    sizes = Counter()
    for batch in labels[rows]:
        for identity, run in groupby(batch.tolist()):
            length = len(list(run))
            sizes["lonely" if identity >= 20 else length] += 1
            assert length == 1 or identity < 20
    assert sizes["lonely"] > 50
    assert sizes[1] + sizes[2] + sizes[3] > 50, "groups straddle the borders of batches"
    whole = rows.reshape(-1, 80)  # 85 rows a pass: 5 batches
    assert max(len(set(labels[batch].tolist())) for batch in rows) > 4
    for one in whole:
        assert max(Counter(labels[one].tolist()).values()) == 4


def test_the_key_fixes_the_draw_and_each_part_changes_it():
    labels, cameras = many(40)
    first = draw(labels, cameras)
    np.testing.assert_array_equal(first, draw(labels, cameras))
    for change in ({"seed": 1}, {"epoch": 1}, {"purpose": "other"}):
        assert (draw(labels, cameras, **change) != first).any()


def test_a_longer_epoch_begins_alike():
    labels, cameras = many(17)
    np.testing.assert_array_equal(draw(labels, cameras, iterations=30)[:10], draw(labels, cameras, iterations=10))


def test_one_image_an_identity_is_possible():
    rows = draw(np.repeat(np.arange(6), 3), images=1, iterations=5)
    assert all(len(set((batch // 3).tolist())) == 4 for batch in rows)


def test_refusals():
    with pytest.raises(UserError, match=r"needs 8 identities.*only 5"):
        draw(np.repeat(np.arange(5), 4), identities=8)
    with pytest.raises(UserError, match=r"4 identities has 13 images, too few for a batch of 16: 1 have but one"):
        draw([0, 0, 1, 1, 2, 2, 3])
    with pytest.raises(ValueError, match="1 or more"):
        draw(np.arange(10), iterations=0)
    with pytest.raises(ValueError, match="camera"):
        draw(np.arange(10), np.arange(9))
