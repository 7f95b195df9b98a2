"""What one must know of a network to use it: its size of images, their preparation, its digest, its threshold.

The ONNX file of `export` carries it as metadata, one text for each key, numbers as JSON:

    duoreid            the format's version
    height, width      of the images in pixels
    interpolation      filter of the resize: "bicubic" or "bilinear" (Pillow's)
    input              "uint8": images (B, H, W, 3), normalised inside; "normalised": float32 (B, 3, H, W)
    mean, deviation    of red, green and blue from 0 to 1, removed before the network
    dimension          of a feature
    digest             of the tensors that make a feature, and of the architecture
    network, arch      the network's name in its run, and its architecture
    threshold          what `calibrate` found, where it was run
    trial              the training split that the network saw, where its dataset has several
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.errors import UserError
from duoreid.core.networks.images import DEVIATION, MEAN

if TYPE_CHECKING:
    from duoreid.core.checkpoints.trained import Model, Trained

VERSION = 1
VERSION_KEY = "duoreid"
RAW, NORMALISED = "uint8", "normalised"
ASIDE = ("classifier", "bottleneck")
"""Parts of a network that its feature does not pass."""


@dataclass(frozen=True)
class Description:
    """What is known of one network; the module's text explains the fields."""

    network: str
    arch: str
    height: int
    width: int
    interpolation: str
    digest: str
    threshold: dict[str, Any] | None = None
    dimension: int | None = None
    input: str = RAW
    mean: tuple[float, ...] = MEAN
    deviation: tuple[float, ...] = DEVIATION
    trial: int | None = None

    def preparation(self) -> dict[str, Any]:
        """Return what decides on the pixels that the network sees: features of another preparation do not compare."""
        names = ("height", "width", "interpolation", "mean", "deviation")
        return json.loads(json.dumps({name: getattr(self, name) for name in names}))


def describe(trained: Trained, name: str) -> Description:
    """Return the description of one model of a file."""
    model, data = trained.models[name], trained.config.data
    digest = digest_of(model)
    calibrated = trained.threshold
    if calibrated is not None and calibrated.get("digest", digest) != digest:
        calibrated = None  # it was measured with another network of the file
    arch = model.config.network.arch
    size = data.height, data.width
    return Description(name, arch, *size, data.interpolation, digest, calibrated, trial=trained.trial or None)


def digest_of(model: Model) -> str:
    """Return a digest of what makes a model's feature: its tensors by canonical name, and its architecture.

    It is the same for every backend, for a run's checkpoint and for what was exported from it.
    """
    tensors = {name: value for name, value in model.tensors().items() if not _aside(name)}
    network = model.config.network
    built = {"arch": network.arch, "stem_relu": network.stem_relu, "last_stride": network.last_stride}
    return checkpoint.digest(tensors, json.dumps(built))


def _aside(name: str) -> bool:
    return any(part in ASIDE for part in name.split(".")[:2])


def as_texts(description: Description) -> dict[str, str]:
    """Return the metadata of an exported file.

    >>> texts = as_texts(Description("teacher1", "tiny", 64, 32, "bicubic", "f00d"))
    >>> texts["height"], texts["arch"], "threshold" in texts
    ('64', 'tiny', False)
    >>> from_texts(texts, "network.onnx").width
    32
    """
    values = {name: value for name, value in asdict(description).items() if value is not None}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return {VERSION_KEY: str(VERSION)} | texts


def from_texts(texts: Mapping[str, str], file: str) -> Description:
    """Return the description in a file's metadata; UserError where it is missing or cannot be understood."""
    if VERSION_KEY not in texts:
        raise UserError(
            f"{file} does not say how its images are prepared: it was exported by another program, or by a version "
            "of this one before 0.3. Export it again with `duoreid export CHECKPOINT --format onnx`."
        )
    if not texts[VERSION_KEY].isdecimal() or int(texts[VERSION_KEY]) > VERSION:
        raise UserError(f"{file} was exported by a newer version of duoreid: install that one, or export it again.")
    plain = ("network", "arch", "interpolation", "digest", "input")
    numbers = ("height", "width", "threshold", "dimension", "mean", "deviation", "trial")
    try:
        values: dict[str, Any] = {name: texts[name] for name in plain}
        values |= {name: json.loads(texts[name]) for name in numbers if name in texts}
        values |= {name: tuple(values[name]) for name in ("mean", "deviation")}
        return Description(**values)
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{file} has metadata that cannot be read ({error}): export it again.") from error
