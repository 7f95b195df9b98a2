"""Small models, pictures and galleries that the tests of serving share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duoreid import Gallery
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.contract.state import initial
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.backbones import BACKBONES
from duoreid.core.networks.backbones.resnet import ResNet
from duoreid.core.serving.description import Description
from duoreid.core.serving.model import Model
from duoreid.core.settings.config import NetworkConfig, as_dict
from duoreid.datasets.sources import Files

HEIGHT, WIDTH = 32, 16
ARCH = "serving-small"


class Counted(Files):
    """A reader that counts the pictures that it decodes."""

    def __init__(self) -> None:
        self.decoded = 0

    def pixels(self, *given):
        self.decoded += 1
        return super().pixels(*given)


class Coarse:
    """An engine without a network: a feature is a picture's colours, coarsely. about: its name."""

    about = "NumPy"

    def embed(self, images: np.ndarray) -> np.ndarray:
        """The mean of each patch of 8 x 8 pixels, centred, of unit length."""
        count = len(images)
        coarse = images.reshape(count, HEIGHT // 8, 8, WIDTH // 8, 8, 3).mean(axis=(2, 4)).reshape(count, -1) - 127.3
        return (coarse / np.linalg.norm(coarse, axis=1, keepdims=True)).astype(np.float32)


def plain_model(digest: str = "d1", **changed) -> Model:
    """A model that needs no framework."""
    given = {"height": HEIGHT, "width": WIDTH, "interpolation": "bicubic"} | changed
    return Model(Coarse(), Description("network", "coarse", digest=digest, **given), Counted(), "plain")


@pytest.fixture
def model() -> Model:
    return plain_model()


class Limit:
    """A threshold as core/openset.py has it."""

    def at(self, gallery_size: int) -> float:
        return 0.98


def picture(path: Path, person: int, noise: int = 0) -> Path:
    """Write a picture of a person: blocks of colours, the same for the same person up to noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(person).integers(30, 225, (HEIGHT // 8, WIDTH // 8, 3)).repeat(8, 0).repeat(8, 1)
    spread = np.random.default_rng([person, noise]).integers(-8, 9, (HEIGHT, WIDTH, 3))
    Image.fromarray((colours + spread).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def cameras(tmp_path) -> Path:
    """Six people before two cameras: cameras/c0/3.png shows person 3."""
    folder = tmp_path / "cameras"
    for person in range(6):
        for camera in range(2):
            picture(folder / f"c{camera}" / f"{person}.png", person, camera)
    return folder


PATTERN = r"^(?P<camera>c\d)/(?P<identity>\d+)"


@pytest.fixture
def gallery(tmp_path, model, cameras) -> Gallery:
    made = Gallery.open(tmp_path / "gallery", model)
    made.add(cameras, pattern=PATTERN)
    return made


@pytest.fixture
def three_cameras(tmp_path, model) -> Gallery:
    """130 pictures before three cameras, ten of them before the last, without two in the middle."""
    gallery = Gallery.open(tmp_path / "gallery", model)
    files = [picture(tmp_path / "many" / f"{person}.png", person) for person in range(130)]
    gallery.add(files, cameras=["a", "b"] * 60 + ["c"] * 10, identities=range(130))
    gallery.remove([str(files[7]), str(files[8])])
    return gallery


@pytest.fixture
def run_folder(tmp_path, monkeypatch) -> Path:
    """A run's folder with a small network of random weights."""
    monkeypatch.setitem(BACKBONES, ARCH, ResNet("basic", (1,) * 4, (8, 12, 16, 24), stem=8))
    return small_run(tmp_path / "run")


def small_run(folder: Path, arch: str = ARCH) -> Path:
    """Write a run's folder of MMT with untrained networks."""
    spec = spec_of("mmt")
    recipe = spec.recipe()
    data = {"data": {**as_dict(recipe.data), "height": HEIGHT, "width": WIDTH}, "network": as_dict(NetworkConfig(arch))}
    state = initial(spec.learner_config(NetworkConfig(arch), 5, 5, HEIGHT, WIDTH), 0)
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    checkpoint.save(folder / "last.safetensors", state, {"config": as_dict(recipe) | data, "stage": 2})
    return folder
