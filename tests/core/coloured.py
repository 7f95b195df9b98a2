"""People who are told by their colour: pictures, a model that sees colours, and its gallery."""

from pathlib import Path

import numpy as np
from PIL import Image

from duoreid.core.gallery.gallery import Gallery
from duoreid.core.serving.description import Description
from duoreid.core.serving.model import Model
from duoreid.core.threshold import Point, Threshold
from duoreid.datasets.sources import FILES

COLOURS = {"ann": (200, 40, 40), "bob": (40, 180, 60), "eve": (50, 60, 210)}
STRANGER = (200, 200, 40)
PATTERN = r"(?P<identity>\w+)_c(?P<camera>\d)"


class Colours:
    """An engine whose feature is the mean colour around grey."""

    about = "NumPy"

    def embed(self, images):
        means = images.reshape(len(images), -1, 3).mean(axis=1) - 110
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def picture(colour, seed=0, size=(48, 96)):
    """Return a picture of one colour with some noise, as PIL has it."""
    noise = np.random.default_rng(seed).integers(-30, 31, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def point(size, threshold):
    return Point(0.01, size, threshold, (threshold, threshold), (0.0, 0.02), 1.0, (1.0, 1.0), False)


def model(threshold=0.95):
    """Return a model with a threshold, or without."""
    made = None
    if threshold is not None:
        made = Threshold(0.01, (point(1, threshold), point(100, threshold)), "colours", 3, 9, 6, "00").to_dict()
    return Model(Colours(), Description("colours", "none", 32, 16, "bicubic", "c0", made, 3), FILES, "colours.onnx")


def folder(place: Path, images=3):
    """Write the pictures of all people into a folder and return it."""
    place.mkdir(parents=True, exist_ok=True)
    for name, colour in COLOURS.items():
        for camera in range(1, images + 1):
            picture(colour, seed=camera).save(place / f"{name}_c{camera}.png")
    return place


def gallery(place: Path, threshold=0.95):
    """Return a gallery of them; its folder and the pictures' lie in `place`."""
    made = Gallery.open(place / "gallery", model(threshold))
    made.add(folder(place / "secret-place"), pattern=PATTERN, progress=False)
    return made
