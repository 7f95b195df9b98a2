"""What a camera's sensor makes of the light: colour cast, blur, noise, resolution and compression."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from duoreid.datasets.synthetic.cameras import HEIGHT, WIDTH, Camera


def expose(pixels: np.ndarray, camera: Camera, gain: float, generator: np.random.Generator) -> Image.Image:
    """Turn linear light float32 (HEIGHT, any width, C) into the picture the camera delivers, before compression."""
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
        image = image.resize(small, Image.Resampling.BILINEAR)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)


def jpeg(image: Image.Image, camera: Camera) -> bytes:
    """Compress at the camera's quality."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=camera.quality)
    return stream.getvalue()
