"""A small rasteriser of solid parts: tubes and ellipsoids over NumPy pixel grids, antialiased and shaded.

Each part is one signed-distance field, evaluated inside its bounding box only. It knows its surface normal, so a
paint (a function of the surface) can put stripes around a torso or hair on the back of a head, and the same part
looks right from every side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SPECTRA = {"visible": slice(0, 3), "near": slice(3, 4), "thermal": slice(4, 5)}
"""Which entries of a material (red, green, blue, near-infrared reflectance, heat) an image shows."""


@dataclass(frozen=True)
class Surface:
    """The visible side of one part, on its window of the image.

    along: float32 (h, w), 0 at the part's beginning, 1 at its end (ellipsoid: 0 at the bottom, 1 at the top).
    across: float32 (h, w) in [-1, 1], from the part's left edge to its right edge.
    normal: three float32 (h, w): right, up, towards the camera.
    """

    along: np.ndarray
    across: np.ndarray
    normal: tuple[np.ndarray, np.ndarray, np.ndarray]

    def azimuth(self, yaw: float) -> np.ndarray:
        """Angle around a vertical part whose front points to `yaw`, in (-pi, pi]; 0 is the front."""
        angle = np.arcsin(self.across) - np.float32(yaw)
        return np.mod(angle + np.pi, 2 * np.pi) - np.pi


Paint = Callable[[Surface], np.ndarray]
"""Surface -> materials (h, w, 5) or (5,), float32."""


@dataclass(frozen=True)
class Light:
    """direction: unit vector towards the light (right, up, camera). ambient: share of light from everywhere."""

    direction: tuple[float, float, float]
    ambient: float


class Canvas:
    """A picture of `channels` of the materials painted on it, float32 (H, W, C) in linear light."""

    def __init__(self, pixels: np.ndarray, channels: slice, light: Light) -> None:
        self.pixels = pixels
        self.channels = channels
        self.light = light

    def tube(
        self,
        start: np.ndarray,
        end: np.ndarray,
        radii: np.ndarray | tuple[float, ...],
        paint: Paint | np.ndarray,
        *,
        knots: np.ndarray | tuple[float, ...] | None = None,
        flat: bool = False,
    ) -> None:
        """Draw a tube from `start` to `end` (x, y in pixels) with `radii` at `knots` (default: evenly spaced).

        flat: cut the ends straight instead of rounding them.
        """
        radii = np.asarray(radii, np.float32)
        reach = float(radii.max()) + 1.0
        window = self._window(
            min(start[0], end[0]) - reach,
            min(start[1], end[1]) - reach,
            max(start[0], end[0]) + reach,
            max(start[1], end[1]) + reach,
        )
        if window is None:
            return
        rows, columns, x, y = window
        dx, dy = float(end[0] - start[0]), float(end[1] - start[1])
        length = max(np.hypot(dx, dy), 1e-3)
        ax, ay = dx / length, dy / length
        x, y = x - np.float32(start[0]), y - np.float32(start[1])
        axial = x * np.float32(ax) + y * np.float32(ay)
        lateral = y * np.float32(ax) - x * np.float32(ay)
        along = np.clip(axial / np.float32(length), 0, 1)
        knots = np.linspace(0, 1, len(radii)) if knots is None else knots
        radius = np.interp(along, knots, radii).astype(np.float32)
        overshoot = axial - along * np.float32(length)
        if flat:
            distance = np.maximum(np.abs(lateral) - radius, np.maximum(-axial, axial - np.float32(length)))
        else:
            distance = np.hypot(lateral, overshoot) - radius
        sign = -1.0 if dy > 0 or (dy == 0 and dx < 0) else 1.0  # so that +1 is the right edge on the screen
        across = np.clip(np.float32(sign) * lateral / radius, -1, 1)
        depth = np.sqrt(1 - across * across)
        right, up = across * np.float32(abs(ay)), across * np.float32(ax * -sign)
        self._blend(rows, columns, distance, Surface(along, across, (right, up, depth)), paint)

    def ellipsoid(
        self, centre: np.ndarray, radii: tuple[float, float], paint: Paint | np.ndarray, *, power: float = 2.0
    ) -> None:
        """Draw an upright ellipsoid (power 2) or a box with rounded corners (power 4) at `centre` (pixels)."""
        width, height = max(radii[0], 0.3), max(radii[1], 0.3)
        window = self._window(
            centre[0] - width - 1, centre[1] - height - 1, centre[0] + width + 1, centre[1] + height + 1
        )
        if window is None:
            return
        rows, columns, x, y = window
        across = (x - np.float32(centre[0])) / np.float32(width)
        upward = (np.float32(centre[1]) - y) / np.float32(height)
        across, upward = np.broadcast_arrays(across, upward)
        if power == 2.0:
            level = np.sqrt(across * across + upward * upward)
        else:
            level = (across**power + upward**power) ** np.float32(1 / power)
        distance = (level - 1) * np.float32(min(width, height))
        inside = np.maximum(level, 1)
        across, upward = np.clip(across / inside, -1, 1), np.clip(upward / inside, -1, 1)
        if power == 2.0:
            depth = np.sqrt(np.maximum(1 - across * across - upward * upward, 0))
            normal = (across, upward, depth)
        else:  # nearly flat in the middle
            bend = across**3
            normal = (bend, upward**3, np.sqrt(np.maximum(1 - bend * bend, 0)))
        self._blend(rows, columns, distance, Surface((upward + 1) / 2, across, normal), paint)

    def _window(self, left: float, top: float, right: float, bottom: float):
        height, width = self.pixels.shape[:2]
        x0, x1 = max(int(np.floor(left)), 0), min(int(np.ceil(right)) + 1, width)
        y0, y1 = max(int(np.floor(top)), 0), min(int(np.ceil(bottom)) + 1, height)
        if x0 >= x1 or y0 >= y1:
            return None
        x = np.arange(x0, x1, dtype=np.float32)[None, :]
        y = np.arange(y0, y1, dtype=np.float32)[:, None]
        return slice(y0, y1), slice(x0, x1), x, y

    def _blend(self, rows: slice, columns: slice, distance, surface: Surface, paint: Paint | np.ndarray) -> None:
        coverage = np.clip(0.5 - distance, 0, 1)
        material = paint(surface) if callable(paint) else paint
        material = material[..., self.channels]
        right, up, depth = surface.normal
        lx, ly, lz = (np.float32(v) for v in self.light.direction)
        ambient = np.float32(self.light.ambient)
        shade = ambient + (1 - ambient) * np.clip(right * lx + up * ly + depth * lz, 0, 1)
        target = self.pixels[rows, columns]
        target += coverage[..., None] * (material * shade[..., None] - target)
