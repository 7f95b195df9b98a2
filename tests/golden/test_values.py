"""The generator of inputs makes the bytes from which the public codes computed the golden numbers."""

from hashlib import blake2b

import numpy as np
import pytest

from duoreid.benchmarks.golden.mvd import shapes_of
from duoreid.benchmarks.golden.values import digest, direction, images, trained_weights
from tests.golden.numbers import document

SUMS = {
    "7f7add6dc0780b56": lambda: trained_weights("base.conv1.weight", (64, 3, 7, 7)),
    "49c8e1e73efb9849": lambda: trained_weights("rgb_backbone.visible.bn1.moving_variance", (64,)),
    "02510d690441e2d4": lambda: direction("base.conv1.weight", (64, 3, 7, 7)),
    "a8142fa2da5e0b34": lambda: images("visible", 4, 256, 128),
    "cfa3a92be38edccd": lambda: images("infrared", 8, 64, 32, per=2),
}


@pytest.mark.parametrize("expected", SUMS)
def test_check_sums(expected):
    assert blake2b(SUMS[expected]().tobytes(), digest_size=8).hexdigest() == expected


@pytest.mark.parametrize(("code", "expected"), [("torch", "352ff5c642e78a77"), ("mindspore", "5f80c768c4dd825c")])
def test_check_sum_of_all_tensors_of_mvd(code, expected):
    checksum = blake2b(digest_size=8)
    for name, shape in shapes_of(document(f"mvd/mvd-{code}")).items():
        checksum.update(trained_weights(name, shape).tobytes())
    assert checksum.hexdigest() == expected


def test_a_digest_sees_what_a_norm_hides():
    tensor = trained_weights("layer.weight", (6, 6))
    norm, dot = digest("layer.weight", tensor)
    assert norm == pytest.approx(np.linalg.norm(tensor))
    for changed in (tensor.T, -tensor, tensor[::-1]):
        assert digest("layer.weight", changed)[0] == pytest.approx(norm)
        assert abs(digest("layer.weight", changed)[1] - dot) > 0.1


def test_infrared_pictures_are_grey_and_people_recur():
    visible, infrared = images("visible", 6, 16, 8, per=2), images("infrared", 6, 16, 8, per=2)
    assert (infrared == infrared[..., :1]).all()
    assert np.ptp(visible, axis=3).max() > 50
    flat = visible.reshape(6, -1).astype(float)
    distances = np.linalg.norm(flat[:, None] - flat, axis=2)
    assert distances[0, 1] < distances[0, 2:].min()
