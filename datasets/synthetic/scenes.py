"""The place a camera looks at: one wide backdrop per camera, of which each view shows a window.

A backdrop is float32 (H, W, 5) of materials, like everything else, so infrared cameras see the same place.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter1d, zoom

from duoreid.core.random import rng
from duoreid.datasets.synthetic.materials import material

HEIGHT, WIDTH = 192, 640
HORIZON = 84  # row where the ground begins
METRE = 64  # pixels per metre at the distance where people walk
DEFOCUS = 1.4  # sigma in pixels
FOG = np.array([0.25, 0.25, 0.26, 0.3, 0.2], np.float32)  # what is seen of a place in thick fog


@lru_cache(maxsize=64)
def backdrop(
    seed: int, domain: str, camera: int, wall: str, ground: str, furniture: str, calm: float, fog: float
) -> np.ndarray:
    """Return the place of a camera, materials float32 (HEIGHT, WIDTH, 5), read-only.

    calm: how far it is drawn to its own mean, 0 to 1. fog: how far to FOG, which all places of a domain share.
    """
    generator = rng(seed, f"synthetic/{domain}/scene", camera)
    place = np.empty((HEIGHT, WIDTH, 5), np.float32)
    place[:HORIZON] = _wall(generator, wall)
    place[HORIZON:] = _ground(generator, ground)
    for kind in furniture.split():
        _furnish(generator, place, kind)
    place *= (1 + 0.06 * _noise(generator, HEIGHT, WIDTH, 3))[..., None]
    for axis in (0, 1):  # the camera is focused on people, not on what is behind them
        place = gaussian_filter1d(place, DEFOCUS, axis=axis, mode="nearest")
    place += np.float32(calm) * (place.mean((0, 1)) - place)
    place += np.float32(fog) * (FOG - place)
    np.clip(place, 0, 1, out=place)
    place.flags.writeable = False
    return place


def _noise(generator: np.random.Generator, height: int, width: int, grain: int) -> np.ndarray:
    """Smooth noise of unit variance, float32 (height, width), with blotches of about `grain` pixels."""
    rough = generator.standard_normal((height // grain + 3, width // grain + 3)).astype(np.float32)
    smooth = zoom(rough, grain, order=1)[:height, :width]
    return (smooth / max(float(smooth.std()), 1e-6)).astype(np.float32)


def _paint(weight: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first + np.clip(weight, 0, 1)[..., None].astype(np.float32) * (second - first)


def _wall(generator: np.random.Generator, kind: str) -> np.ndarray:
    y, x = np.mgrid[:HORIZON, :WIDTH].astype(np.float32)
    shape = (HORIZON, WIDTH)
    noise = _noise(generator, *shape, 6)
    match kind:
        case "brick":
            row = np.floor(y / 7)
            mortar = ((y % 7) < 1.3) | (((x + 8 * (row % 2)) % 16) < 1.3)
            bricks = _paint(0.5 + 0.3 * noise, material((150, 78, 60), 0.5, 0.2), material((178, 108, 84), 0.6, 0.22))
            return _paint(mortar.astype(np.float32), bricks, material((190, 180, 170), 0.6, 0.2))
        case "glass":
            frame = ((x % 46) < 4) | ((y % 38) < 3)
            panes = _paint(
                0.5 + 0.4 * noise + 0.01 * (40 - y),
                material((70, 92, 110), 0.15, 0.12),
                material((176, 206, 226), 0.3, 0.15),
            )
            return _paint(frame.astype(np.float32), panes, material((210, 212, 214), 0.5, 0.2))
        case "hedge":
            fine = _noise(generator, *shape, 2)
            leaves = _paint(
                0.5 + 0.25 * noise + 0.25 * fine, material((38, 84, 34), 0.6, 0.2), material((122, 170, 76), 0.95, 0.24)
            )
            return leaves
        case "trees":
            sky = np.broadcast_to(material((190, 214, 238), 0.35, 0.02), (*shape, 5))
            fine = _noise(generator, *shape, 3)
            bare = _paint(0.2 + 0.5 * fine + 0.02 * (y - 30), sky, material((62, 96, 52), 0.8, 0.2))
            trunks = inside_stripes(generator, x, 14, 2, 6) * (y > 26)
            return _paint(trunks, bare, material((84, 66, 50), 0.45, 0.22))
        case "bare trees":
            sky = np.broadcast_to(material((196, 200, 206), 0.3, 0.02), (*shape, 5))
            lean = x + 0.25 * y
            twigs = np.maximum(
                inside_stripes(generator, lean, 40, 1, 3), inside_stripes(generator, x - 0.2 * y, 30, 1, 3)
            )
            return _paint(twigs * 0.9, sky, material((58, 52, 48), 0.4, 0.15))
        case "concrete":
            slabs = ((x % 90) < 2) | ((y % 45) < 2)
            plain = _paint(0.5 + 0.3 * noise, material((138, 138, 136), 0.4, 0.18), material((170, 168, 162), 0.5, 0.2))
            return _paint(0.6 * slabs, plain, material((84, 84, 84), 0.3, 0.18))
        case "plaster":
            plain = _paint(
                0.5 + 0.2 * noise, material((226, 208, 168), 0.6, 0.2), material((240, 226, 196), 0.65, 0.22)
            )
            windows = (((x + 11) % 96) < 34) & (y > 8) & (y < 52)
            return _paint(windows.astype(np.float32), plain, material((66, 80, 92), 0.15, 0.12))
        case "shops":
            which = (x // 64).astype(int) % 6
            signs = np.stack(
                [material(generator.uniform(70, 170, 3), generator.uniform(0.2, 0.8), 0.25) for _ in range(6)]
            )
            glass = _paint(0.5 + 0.4 * noise, material((70, 74, 80), 0.15, 0.15), material((140, 134, 116), 0.4, 0.3))
            return np.where((y < 26)[..., None], signs[which], glass)
        case "corridor":
            plain = _paint(0.5 + 0.1 * noise, material((214, 212, 204), 0.7, 0.3), material((228, 228, 222), 0.75, 0.3))
            doors = (((x + 20) % 120) < 40) & (y > 14)
            return _paint(doors.astype(np.float32), plain, material((120, 84, 56), 0.5, 0.28))
        case _:
            raise ValueError(f"unknown wall {kind!r} in the camera table")


def inside_stripes(generator: np.random.Generator, x: np.ndarray, count: int, low: int, high: int) -> np.ndarray:
    """Return 1 inside `count` random vertical stripes, `low` to `high` pixels wide; x (h, w) -> float32 (h, w)."""
    starts = generator.uniform(0, WIDTH, count)
    widths = generator.uniform(low, high, count)
    hit = np.zeros(x.shape, np.float32)
    for start, width in zip(starts, widths, strict=True):
        hit[(x >= start) & (x < start + width)] = 1
    return hit


def _ground(generator: np.random.Generator, kind: str) -> np.ndarray:
    rows = HEIGHT - HORIZON
    y, x = np.mgrid[:rows, :WIDTH].astype(np.float32)
    noise, fine = _noise(generator, rows, WIDTH, 8), _noise(generator, rows, WIDTH, 1)
    far = 1.2 + y / rows * 1.6  # things look larger towards the camera
    match kind:
        case "paving":
            joints = ((y % 15) < 1.4) | (((x - y * 0.4) % 30) < 1.4)
            plain = _paint(0.5 + 0.3 * noise, material((198, 188, 172), 0.5, 0.3), material((222, 214, 198), 0.6, 0.32))
            return _paint(0.7 * joints, plain, material((140, 130, 118), 0.4, 0.28))
        case "asphalt":
            return _paint(
                0.5 + 0.2 * noise + 0.15 * fine,
                material((72, 72, 76), 0.2, 0.34),
                material((104, 104, 108), 0.28, 0.36),
            )
        case "wet asphalt":
            return _paint(
                0.4 + 0.3 * noise + 0.1 * fine, material((58, 62, 68), 0.08, 0.12), material((104, 110, 120), 0.2, 0.14)
            )
        case "grass":
            return _paint(
                0.5 + 0.25 * noise + 0.25 * fine,
                material((74, 120, 44), 0.7, 0.22),
                material((144, 182, 84), 0.95, 0.26),
            )
        case "zebra":
            bars = ((x * 0.9 + y * 0.7) % 44 < 20).astype(np.float32) * (np.abs(y - 55) < 40)
            road = _paint(0.5 + 0.3 * noise, material((70, 70, 74), 0.2, 0.34), material((96, 96, 100), 0.25, 0.36))
            return _paint(0.55 * bars, road, material((220, 220, 214), 0.6, 0.3))
        case "red brick":
            joints = ((y % 9) < 1.2) | (((x + 9 * (np.floor(y / 9) % 2)) % 18) < 1.2)
            plain = _paint(0.5 + 0.4 * noise, material((148, 84, 68), 0.45, 0.3), material((180, 116, 94), 0.55, 0.3))
            return _paint(0.5 * joints, plain, material((90, 70, 62), 0.35, 0.28))
        case "leaves":
            spots = (fine + 0.6 * noise > 0.9).astype(np.float32)
            plain = _paint(0.5 + 0.3 * noise, material((96, 92, 86), 0.3, 0.2), material((124, 118, 108), 0.35, 0.22))
            return _paint(spots, plain, material((166, 104, 48), 0.6, 0.2))
        case "snow":
            tracks = (np.sin(x * 0.05 * far + 2 * noise) > 0.86).astype(np.float32)
            plain = _paint(
                0.5 + 0.4 * noise, material((184, 190, 202), 0.8, 0.03), material((212, 218, 228), 0.9, 0.04)
            )
            return _paint(0.4 * tracks, plain, material((140, 144, 152), 0.5, 0.06))
        case "tiles":
            chequer = (np.floor(x / 22) + np.floor(y / 14)) % 2
            return _paint(chequer, material((176, 170, 160), 0.5, 0.28), material((206, 202, 192), 0.6, 0.28))
        case _:
            raise ValueError(f"unknown ground {kind!r} in the camera table")


def _furnish(generator: np.random.Generator, place: np.ndarray, kind: str) -> None:
    """Put several things of one kind at random positions along the backdrop."""
    for start in generator.uniform(0, WIDTH, {"poles": 7, "cars": 4, "bikes": 5, "bins": 4, "signs": 5}.get(kind, 4)):
        foot = int(generator.uniform(HORIZON + 6, HORIZON + 30))
        colour = material(generator.uniform(60, 180, 3), generator.uniform(0.2, 0.7), generator.uniform(0.1, 0.35))
        dark = material((34, 36, 38), 0.2, 0.2)
        match kind:
            case "poles":
                _box(place, start, 4, 0, foot, material((90, 94, 96), 0.3, 0.15))
            case "cars":
                _box(place, start, 118, foot - 30, foot, colour)
                _box(place, start + 22, 70, foot - 50, foot - 28, colour)
                _box(place, start + 28, 58, foot - 46, foot - 32, material((60, 76, 88), 0.1, 0.1))
                for wheel in (20, 88):
                    _disc(place, start + wheel, foot, 11, dark)
            case "bikes":
                for wheel in (0, 34):
                    _disc(place, start + wheel, foot - 11, 12, dark, inner=9)
                _box(place, start, 34, foot - 24, foot - 21, colour)
            case "bins":
                _box(place, start, 22, foot - 38, foot, material((44, 92, 66), 0.4, 0.2))
            case "signs":
                _box(place, start + 14, 3, foot - 70, foot, dark)
                _box(place, start, 32, foot - 96, foot - 66, colour)
            case "benches":
                _box(place, start, 64, foot - 24, foot - 19, material((140, 96, 58), 0.55, 0.25))
                for leg in (6, 54):
                    _box(place, start + leg, 4, foot - 19, foot, dark)
            case "fence":
                for step in range(0, 120, 8):
                    _box(place, start + step, 2, HORIZON - 34, HORIZON + 8, material((220, 220, 216), 0.6, 0.2))
                _box(place, start, 122, HORIZON - 24, HORIZON - 21, material((220, 220, 216), 0.6, 0.2))
            case _:
                raise ValueError(f"unknown furniture {kind!r} in the camera table")


def _box(place: np.ndarray, left: float, width: float, top: float, bottom: float, paint: np.ndarray) -> None:
    columns = np.arange(int(left), int(left + width)) % WIDTH
    place[max(int(top), 0) : max(int(bottom), 0), columns] = paint


def _disc(place: np.ndarray, x: float, y: float, radius: float, paint: np.ndarray, inner: float = 0.0) -> None:
    rows = np.arange(max(int(y - radius), 0), min(int(y + radius) + 1, HEIGHT))
    columns = np.arange(int(x - radius), int(x + radius) + 1)
    distance = np.hypot(rows[:, None] - y, columns[None, :] - x)
    hit = (distance <= radius) & (distance >= inner)
    r, c = np.nonzero(hit)
    place[rows[r], columns[c] % WIDTH] = paint
