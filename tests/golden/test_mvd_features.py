"""Test features of both public MVD codes: what the networks of a file make of 8 pictures, in both backends."""

import numpy as np
import pytest
from PIL import Image

from duoreid.benchmarks.golden.values import images
from duoreid.core.settings.presets import presets
from duoreid.datasets.decode import resize
from tests.golden.mvd_networks import CROSSED, GROUPS, SIZES, file_of, step
from tests.golden.numbers import arrays
from tests.tolerances import check_close

# The order of the views among the 8192 numbers, by their place in ours: visible, infrared, shared colour and grey.
CODES = {
    "torch code": ("mvd/mvd-torch-features", (1, 3, 0, 2), 1.0, "golden.mvd.features"),
    "port": ("mvd/mvd-mindspore-features", (0, 2, 1, 3), 2.0, "golden.mvd.port.features"),
}


RUNS = [
    ("torch", "torch code"), ("mindspore", "port"),
    pytest.param("torch", "port", marks=CROSSED), pytest.param("mindspore", "torch code", marks=CROSSED),
]  # fmt: skip


@pytest.mark.parametrize(("backend", "code"), RUNS)
def test_feature(backend, code):
    """The port's has length 2: four observations of length 1. Ours has length 1; the ranking is the same."""
    name, order, length, kind = CODES[code]
    numbers = arrays(name)
    embedded = step(backend, code, GROUPS[code]).features
    features = length * embedded.reshape(8, 4, 2048)[:, order].reshape(8, -1).astype(np.float64)
    check_close(kind, features, numbers["features"], scale=1)
    check_close("golden.mvd.similarity", features @ features.T, numbers["similarity"], scale=length**2)
    assert numbers["similarity"].min() < 0.6 * length**2, "the pictures are told apart"


@pytest.mark.parametrize("code", CODES)
def test_the_recipe_has_the_size_and_the_filter_of_the_code(code):
    name = CODES[code][0]
    data = file_of(code).config.data
    picture = images("visible", 1, 171, 83)[0]
    resized = resize(Image.fromarray(picture), data.height, data.width, data.interpolation)
    assert (data.height, data.width) == SIZES[code]
    np.testing.assert_array_equal(resized, arrays(name)["resized"])


def test_the_file_takes_the_settings_of_its_recipe():
    made = file_of("port")
    assert made.config == presets()["mvd-sysu-port"]
    assert file_of("torch code").config == presets()["mvd-sysu"]
    assert "epoch 58, rank-1 60.08, mAP 57.55" in made.report
    assert "not used: epoch, best_top1" in file_of("torch code").report
    assert "ImageNet's classifiers, which were never trained: 6" in file_of("torch code").report
