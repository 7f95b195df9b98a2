"""Augmentation against slow references, its distributions, its independence of other rows, and guards."""

import numpy as np
import pytest

from duoreid.core.methods.augmentation import ERASE_FILLS, Augmentation, augment, erase, flip, grey, luminance, pad_crop
from duoreid.core.random import rng

BLACK, PINK = (0, 0, 0), (255, 0, 180)


def photographs(count=40, height=24, width=12, step=0):
    """Images without a black pixel, so that padding shows."""
    return rng(0, "test images", 0, step).integers(1, 255, (count, height, width, 3), dtype=np.uint8)


STEPS = {
    "flip": lambda images, generator: flip(images, generator),
    "pad_crop": lambda images, generator: pad_crop(images, generator, 4),
    "grey": lambda images, generator: grey(images, generator, 0.5),
    "erase": lambda images, generator: erase(images, generator, 0.5),
    "all": lambda images, generator: augment(images, Augmentation(padding=4, erase=0.5, grey=0.5), generator),
}


# What each step does


def test_flip_mirrors_about_half_of_the_images():
    images = photographs(1000, 4, 5)
    flipped = flip(images, rng(0, "a"))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (flipped == images).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert abs(mirrored.sum() - 500) < 5 * np.sqrt(250)


def test_flip_by_hand():
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    flipped = flip(image, rng(0, "a"), 1.0)
    assert flipped[0].tolist() == [[[3, 4, 5], [0, 1, 2]], [[9, 10, 11], [6, 7, 8]]]


@pytest.mark.parametrize("fill", [BLACK, PINK])
@pytest.mark.parametrize("padding", [0, 1, 4, 20])
def test_pad_crop_is_a_crop_of_the_padded_image(padding, fill):
    images = photographs()
    moved = pad_crop(images, rng(0, "a"), padding, fill)
    offsets = np.floor(rng(0, "a").random((40, 2)) * (2 * padding + 1)).astype(int)
    for image, result, (down, right) in zip(images, moved, offsets, strict=True):
        padded = np.empty((24 + 2 * padding, 12 + 2 * padding, 3), np.uint8)
        padded[...] = fill
        padded[padding : padding + 24, padding : padding + 12] = image
        up, left = 2 * padding - down, 2 * padding - right
        np.testing.assert_array_equal(result, padded[up : up + 24, left : left + 12])


def test_pad_crop_reaches_every_offset_evenly():
    images = np.zeros((5000, 3, 3, 3), np.uint8)
    images[:, 1, 1] = 255
    moved = pad_crop(images, rng(0, "a"), 1)[..., 0] == 255
    assert (moved.sum(axis=(1, 2)) == 1).all()
    counts = moved.sum(axis=0)
    assert np.abs(counts - 5000 / 9).max() < 5 * np.sqrt(5000 / 9)


def test_grey_by_hand():
    image = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]]], np.uint8)
    assert grey(image, rng(0, "a"), 1.0)[0, 0].tolist() == [[76] * 3, [150] * 3, [29] * 3, [255] * 3]
    np.testing.assert_array_equal(luminance(image), [[[76, 150, 29, 255]]])


def test_grey_leaves_the_other_images_as_they_are():
    images = photographs(1000, 4, 5)
    greyed = grey(images, rng(0, "a"), 0.3)
    lost = (greyed == greyed[..., :1]).all(axis=(1, 2, 3))
    assert abs(lost.sum() - 300) < 5 * np.sqrt(210)
    np.testing.assert_array_equal(greyed[~lost], images[~lost])


def erased_boxes(count=4000, height=64, width=32):
    """Top, left, height and width of each erased rectangle, found in the pixels; asserts that it is one."""
    images = np.zeros((count, height, width, 3), np.uint8)
    painted = (erase(images, rng(0, "a"), 1.0, PINK) == PINK).all(axis=3)
    rows, columns = painted.any(axis=2), painted.any(axis=1)
    top, left = rows.argmax(axis=1), columns.argmax(axis=1)
    tall, wide = rows.sum(axis=1), columns.sum(axis=1)
    np.testing.assert_array_equal(painted.sum(axis=(1, 2)), tall * wide)
    return top, left, tall, wide


@pytest.mark.parametrize(("height", "width"), [(64, 32), (32, 64)])
def test_erase_paints_one_rectangle_within_the_limits(height, width):
    top, left, tall, wide = erased_boxes(4000, height, width)
    area, aspect = tall * wide / (height * width), tall / wide
    assert area.min() > 0.015
    assert area.max() < 0.42
    assert aspect.min() > 0.25
    assert aspect.max() < 4
    assert (tall < height).all()
    assert (wide < width).all()
    assert (top + tall).max() == height
    assert (left + wide).max() == width
    assert top.min() == left.min() == 0


def test_erase_has_the_distribution_of_one_attempt_after_another():
    generator, areas = rng(0, "reference"), []
    while len(areas) < 4000:
        area, aspect = 64 * 32 * generator.uniform(0.02, 0.4), generator.uniform(0.3, 1 / 0.3)
        tall, wide = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if tall < 64 and wide < 32:
            areas.append((tall * wide, tall / wide))
    _, _, tall, wide = erased_boxes()
    expected, boxes = np.array(areas), np.stack([tall * wide, tall / wide], axis=1)
    error = 5 * np.sqrt(2 / 4000)
    assert (np.abs(boxes.mean(axis=0) - expected.mean(axis=0)) < error * expected.std(axis=0)).all()


def test_erase_probability_and_fill():
    images = photographs(2000, 16, 8)
    changed = erase(images, rng(0, "a"), 0.5) != images
    touched = changed.any(axis=(1, 2, 3))
    assert abs(touched.sum() - 1000) < 5 * np.sqrt(500)
    erased = erase(np.zeros((50, 16, 8, 3), np.uint8), rng(0, "a"), 1.0)
    assert {tuple(pixel) for pixel in erased.reshape(-1, 3).tolist()} == {BLACK, ERASE_FILLS["mean"]}


def test_the_reference_fill_is_what_the_public_code_paints():
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_array_equal(np.rint(255 * (mean * deviation + mean)), ERASE_FILLS["reference"])
    np.testing.assert_array_equal(np.rint(255 * mean), ERASE_FILLS["mean"])


def test_erase_leaves_an_image_where_no_rectangle_fits():
    images = photographs(20, 1, 1)
    np.testing.assert_array_equal(erase(images, rng(0, "a"), 1.0), images)


def test_augment_is_its_steps_in_order():
    images, generator = photographs(), rng(0, "a")
    expected = pad_crop(flip(images, generator, 0.5), generator, 3)
    expected = erase(grey(expected, generator, 0.4), generator, 0.6, ERASE_FILLS["reference"])
    options = Augmentation(flip=0.5, padding=3, erase=0.6, erase_fill="reference", grey=0.4)
    np.testing.assert_array_equal(augment(images, options, rng(0, "a")), expected)


def test_nothing_switched_on_changes_nothing():
    images = photographs()
    np.testing.assert_array_equal(augment(images, Augmentation(flip=0, padding=0), rng(0, "a")), images)


# What holds for all


@pytest.mark.parametrize("name", STEPS)
def test_a_new_array_comes_and_the_input_stays(name):
    images = photographs()
    before = images.copy()
    result = STEPS[name](images, rng(0, "a"))
    assert result.dtype == np.uint8
    assert result.shape == images.shape
    assert not np.shares_memory(result, images)
    np.testing.assert_array_equal(images, before)
    assert (result != images).any()


@pytest.mark.parametrize("name", STEPS)
def test_an_image_does_not_depend_on_the_others_pixels(name):
    images, others = photographs(), photographs(step=1)
    others[7] = images[7]
    result, other = (STEPS[name](batch, rng(0, "a")) for batch in (images, others))
    np.testing.assert_array_equal(result[7], other[7])


def test_switching_a_step_off_leaves_the_draws_of_the_next():
    images = photographs()
    with_grey, without = (
        augment(images, Augmentation(padding=4, erase=1.0, grey=share), rng(0, "a")) for share in (1.0, 0.0)
    )
    painted = (without == ERASE_FILLS["mean"]).all(axis=3)
    np.testing.assert_array_equal((with_grey == ERASE_FILLS["mean"]).all(axis=3), painted)
    assert painted.any()


@pytest.mark.parametrize("name", STEPS)
def test_strides_do_not_matter(name):
    images = photographs()
    expected = STEPS[name](images, rng(0, "a"))
    for strided in (np.asfortranarray(images), np.repeat(images, 2, axis=2)[:, :, ::2], read_only(images)):
        np.testing.assert_array_equal(STEPS[name](strided, rng(0, "a")), expected)


def read_only(images):
    copied = images.copy()
    copied.flags.writeable = False
    return copied


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("shape", [(0, 8, 4, 3), (1, 1, 1, 3), (3, 1, 7, 3), (2, 9, 2, 3)])
def test_odd_shapes(name, shape):
    images = np.full(shape, 9, np.uint8)
    assert STEPS[name](images, rng(0, "a")).shape == shape


# Guards


@pytest.mark.parametrize("name", STEPS)
def test_what_is_no_uint8_image_is_refused(name):
    for images in (photographs().astype(np.float32), photographs()[0], photographs()[..., :1]):
        with pytest.raises(ValueError, match=r"uint8 \(B, H, W, 3\)"):
            STEPS[name](images, rng(0, "a"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"flip": 1.5}, "flip"),
        ({"erase": -0.1}, "erase"),
        ({"grey": float("nan")}, "grey"),
        ({"padding": -1}, "padding"),
        ({"padding": 1.5}, "padding"),
        ({"erase_fill": "average"}, "mean, reference"),
    ],
)
def test_bad_options_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        Augmentation(**options)


def test_bad_arguments_are_refused():
    images = photographs()
    for call in (
        lambda: flip(images, rng(0, "a"), 2.0),
        lambda: pad_crop(images, rng(0, "a"), -1),
        lambda: grey(images, rng(0, "a"), -1.0),
        lambda: erase(images, rng(0, "a"), 2.0),
    ):
        with pytest.raises(ValueError, match="must"):
            call()


def test_the_largest_share_that_is_erased():
    white = np.full((200, 64, 32, 3), 255, np.uint8)
    erased = erase(white, rng(0, "a"), 1.0, most=0.1)
    shares = (erased[..., 0] != 255).mean(axis=(1, 2))
    assert 0.01 < shares.min() < shares.max() < 0.12
    assert (erase(white, rng(0, "a"), 1.0)[..., 0] != 255).mean(axis=(1, 2)).max() > 0.3
    for most in (0.02, 1.1):
        with pytest.raises(ValueError, match="most must lie in"):
            erase(white, rng(0, "a"), 1.0, most=most)
