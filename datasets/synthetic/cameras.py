"""Cameras of the synthetic domains: where they stand, what light they see and how their sensors spoil it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from datasets.synthetic.shapes import NEAR_INFRARED, THERMAL, VISIBLE_LIGHT

HEIGHT, WIDTH = 128, 64
SPECTRA = {"visible": VISIBLE_LIGHT, "near": NEAR_INFRARED, "thermal": THERMAL}


@dataclass(frozen=True)
class Camera:
    """One camera.

    wall, ground, furniture: the place (see scenes). pitch: radians it looks down. widening: perspective.
    fill: share of the image's height a 1.73 m person takes, with its spread. shift: spread of the crop's
    misplacement, as a share of the image. exposure: gain in linear light with its spread between passages.
    gamma: of the sensor's curve relative to sRGB. cast: gains of red, green, blue. saturation: 1 keeps colours.
    haze: light added everywhere. light: direction (right, up, camera). ambient: share of undirected light.
    blur: sigma in pixels. noise: sigma of sensor noise, 0-1 scale. resolution: share of pixels that the sensor really
    has. quality: of the JPEG. heading: preferred yaw in radians with its spread. occlusion: probability.
    """

    wall: str
    ground: str
    furniture: str
    pitch: float
    widening: float
    fill: tuple[float, float]
    shift: float
    exposure: tuple[float, float]
    gamma: float
    cast: tuple[float, float, float]
    saturation: float
    haze: float
    light: tuple[float, float, float]
    ambient: float
    blur: float
    noise: float
    resolution: float
    quality: int
    heading: tuple[float, float]
    occlusion: float
    spectrum: str = "visible"


SUMMER_CAMERAS = (
    Camera("hedge", "paving", "benches", 0.10, 0.05, (0.91, 0.02), 0.03, (1.15, 0.08), 1.00, (1.06, 1.00, 0.88),
           1.10, 0.00, (0.5, 0.6, 0.62), 0.55, 0.3, 0.012, 1.00, 90, (0.2, 0.5), 0.08),
    Camera("glass", "paving", "poles", 0.20, 0.08, (0.90, 0.02), 0.03, (0.95, 0.08), 0.94, (0.96, 1.00, 1.10),
           0.95, 0.02, (-0.5, 0.6, 0.62), 0.65, 0.5, 0.015, 0.90, 88, (3.1, 0.5), 0.08),
    Camera("plaster", "red brick", "bikes", 0.12, 0.05, (0.92, 0.02), 0.03, (1.25, 0.08), 1.06, (1.12, 1.00, 0.82),
           1.15, 0.01, (0.1, 0.7, 0.7), 0.65, 0.3, 0.012, 1.00, 90, (1.4, 0.6), 0.10),
    Camera("trees", "grass", "benches", 0.08, 0.03, (0.88, 0.03), 0.03, (0.85, 0.08), 0.96, (0.92, 1.06, 0.92),
           1.05, 0.02, (0.0, 0.9, 0.4), 0.70, 0.4, 0.015, 0.90, 88, (-1.3, 0.7), 0.10),
    Camera("concrete", "asphalt", "cars signs", 0.24, 0.10, (0.90, 0.02), 0.03, (1.10, 0.08), 1.00, (1.00, 1.00, 0.98),
           0.90, 0.02, (0.6, 0.5, 0.6), 0.60, 0.3, 0.012, 0.95, 90, (0.4, 1.0), 0.08),
    Camera("brick", "paving", "bikes poles", 0.14, 0.04, (0.87, 0.03), 0.04, (0.75, 0.08), 0.92, (0.96, 1.02, 1.00),
           0.95, 0.03, (-0.3, 0.8, 0.5), 0.70, 0.8, 0.020, 0.70, 82, (2.8, 0.8), 0.12),
)  # fmt: skip
WINTER_CAMERAS = (
    Camera("bare trees", "snow", "cars", 0.18, 0.06, (0.82, 0.03), 0.04, (0.95, 0.06), 1.03, (0.93, 0.98, 1.12),
           0.85, 0.02, (0.2, 0.8, 0.5), 0.75, 0.5, 0.015, 0.90, 86, (0.1, 0.5), 0.10),
    Camera("brick", "wet asphalt", "cars poles", 0.26, 0.09, (0.81, 0.03), 0.04, (0.85, 0.06), 0.96, (1.10, 0.98, 0.86),
           0.90, 0.02, (-0.4, 0.7, 0.6), 0.60, 0.4, 0.018, 0.90, 84, (3.0, 0.5), 0.10),
    Camera("concrete", "leaves", "bikes signs", 0.16, 0.04, (0.84, 0.03), 0.04, (0.90, 0.06), 1.06, (0.96, 1.02, 0.98),
           0.80, 0.03, (0.3, 0.7, 0.64), 0.70, 0.7, 0.016, 0.80, 84, (1.5, 0.6), 0.10),
    Camera("shops", "wet asphalt", "signs poles", 0.12, 0.03, (0.84, 0.03), 0.04, (1.00, 0.08), 1.00, (1.12, 1.00, 0.82),
           0.95, 0.02, (0.6, 0.3, 0.74), 0.50, 0.4, 0.020, 0.90, 84, (-1.4, 0.6), 0.10),
    Camera("concrete", "asphalt", "cars bins", 0.30, 0.10, (0.80, 0.03), 0.04, (0.90, 0.06), 0.94, (0.94, 1.04, 1.02),
           0.85, 0.02, (0.0, 0.9, 0.4), 0.75, 0.5, 0.016, 0.85, 84, (0.3, 0.9), 0.10),
    Camera("bare trees", "leaves", "fence benches", 0.10, 0.03, (0.83, 0.03), 0.04, (1.05, 0.06), 1.00, (1.02, 1.00, 0.94),
           0.90, 0.03, (-0.6, 0.5, 0.6), 0.60, 0.4, 0.014, 0.95, 88, (2.6, 0.8), 0.08),
    Camera("glass", "zebra", "cars signs", 0.24, 0.08, (0.81, 0.03), 0.04, (0.80, 0.06), 1.04, (0.90, 0.98, 1.14),
           0.80, 0.02, (0.5, 0.6, 0.62), 0.65, 0.8, 0.018, 0.75, 82, (1.2, 1.0), 0.10),
    Camera("brick", "paving", "bins bikes poles", 0.18, 0.05, (0.82, 0.03), 0.04, (0.95, 0.06), 0.98, (1.06, 1.00, 0.90),
           0.90, 0.02, (-0.2, 0.7, 0.68), 0.65, 0.5, 0.016, 0.90, 86, (-0.6, 0.8), 0.10),
)  # fmt: skip


def expose(pixels: np.ndarray, camera: Camera, gain: float, generator: np.random.Generator) -> Image.Image:
    """Turn linear light float32 (HEIGHT, WIDTH, C) into the picture the camera delivers, before compression."""
    if camera.spectrum == "visible":
        grey = pixels @ np.array([0.2989, 0.587, 0.114], np.float32)
        pixels = grey[..., None] + np.float32(camera.saturation) * (pixels - grey[..., None])
        pixels = pixels * np.asarray(camera.cast, np.float32)
    pixels = np.float32(gain) * pixels + np.float32(camera.haze)
    if camera.blur > 0.25:
        for axis in (0, 1):
            pixels = gaussian_filter1d(pixels, camera.blur, axis=axis, mode="nearest", truncate=2.5)
    pixels = np.clip(pixels, 0, 1) ** np.float32(camera.gamma / 2.2)
    pixels += np.float32(camera.noise) * generator.standard_normal(pixels.shape, np.float32)
    picture = np.clip(pixels * 255 + 0.5, 0, 255).astype(np.uint8)
    picture = np.broadcast_to(picture, (*picture.shape[:2], 3))
    image = Image.fromarray(np.ascontiguousarray(picture))
    if camera.resolution < 0.99:
        small = (round(image.width * camera.resolution), round(image.height * camera.resolution))
        image = image.resize(small, Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BILINEAR)
    return image


def jpeg(image: Image.Image, camera: Camera) -> bytes:
    """Compress at the camera's quality."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=camera.quality)
    return stream.getvalue()
