"""Cameras of the synthetic domains: where they stand, what light they see and how their sensors spoil it."""

from __future__ import annotations

from dataclasses import dataclass

HEIGHT, WIDTH = 128, 64
"""Size of every image in pixels."""


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
    spectrum: visible, near (infrared) or thermal. place: number of the camera at whose place it stands, 0: its own.
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
    place: int = 0


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
    Camera("bare trees", "snow", "cars", 0.18, 0.06, (0.87, 0.03), 0.03, (0.97, 0.06), 1.02, (0.97, 0.99, 1.06),
           0.90, 0.02, (0.2, 0.8, 0.5), 0.75, 0.5, 0.015, 0.90, 86, (0.1, 0.5), 0.10),
    Camera("brick", "wet asphalt", "cars poles", 0.26, 0.09, (0.86, 0.03), 0.03, (0.93, 0.06), 0.98, (1.05, 0.99, 0.93),
           0.93, 0.02, (-0.4, 0.7, 0.6), 0.60, 0.4, 0.018, 0.90, 84, (3.0, 0.5), 0.10),
    Camera("concrete", "leaves", "bikes signs", 0.16, 0.04, (0.89, 0.03), 0.03, (0.95, 0.06), 1.03, (0.98, 1.01, 0.99),
           0.86, 0.03, (0.3, 0.7, 0.64), 0.70, 0.7, 0.016, 0.80, 84, (1.5, 0.6), 0.10),
    Camera("shops", "wet asphalt", "signs poles", 0.12, 0.03, (0.89, 0.03), 0.03, (1.00, 0.08), 1.0, (1.06, 1.0, 0.91),
           0.96, 0.02, (0.6, 0.3, 0.74), 0.50, 0.4, 0.020, 0.90, 84, (-1.4, 0.6), 0.10),
    Camera("concrete", "asphalt", "cars bins", 0.30, 0.10, (0.85, 0.03), 0.03, (0.95, 0.06), 0.97, (0.97, 1.02, 1.01),
           0.90, 0.02, (0.0, 0.9, 0.4), 0.75, 0.5, 0.016, 0.85, 84, (0.3, 0.9), 0.10),
    Camera("bare trees", "leaves", "fence benches", 0.10, 0.03, (0.88, 0.03), 0.03, (1.02, 0.06), 1.0, (1.01, 1, 0.97),
           0.93, 0.03, (-0.6, 0.5, 0.6), 0.60, 0.4, 0.014, 0.95, 88, (2.6, 0.8), 0.08),
    Camera("glass", "zebra", "cars signs", 0.24, 0.08, (0.86, 0.03), 0.03, (0.90, 0.06), 1.02, (0.95, 0.99, 1.07),
           0.86, 0.02, (0.5, 0.6, 0.62), 0.65, 0.8, 0.018, 0.75, 82, (1.2, 1.0), 0.10),
    Camera("brick", "paving", "bins bikes poles", 0.18, 0.05, (0.87, 0.03), 0.03, (0.97, 0.06), 0.99, (1.03, 1.0, 0.95),
           0.93, 0.02, (-0.2, 0.7, 0.68), 0.65, 0.5, 0.016, 0.90, 86, (-0.6, 0.8), 0.10),
)  # fmt: skip

SYSU_CAMERAS = (
    Camera("corridor", "tiles", "benches", 0.14, 0.06, (0.88, 0.02), 0.03, (1.05, 0.06), 1.00, (1.06, 1.00, 0.90),
           0.95, 0.01, (0.2, 0.8, 0.5), 0.65, 0.3, 0.014, 0.95, 88, (0.2, 0.7), 0.06),
    Camera("plaster", "tiles", "signs", 0.18, 0.06, (0.87, 0.02), 0.03, (0.95, 0.06), 1.00, (0.96, 1.00, 1.06),
           0.95, 0.01, (-0.3, 0.8, 0.5), 0.65, 0.4, 0.014, 0.90, 88, (3.0, 0.7), 0.06),
    Camera("plaster", "tiles", "signs", 0.18, 0.06, (0.87, 0.02), 0.03, (1.00, 0.06), 1.10, (1.00, 1.00, 1.00),
           1.00, 0.02, (0.0, 0.3, 0.95), 0.45, 0.6, 0.024, 0.85, 84, (3.0, 0.7), 0.06, "near", 2),
    Camera("hedge", "paving", "bikes", 0.10, 0.04, (0.86, 0.03), 0.03, (1.15, 0.08), 1.00, (1.00, 1.00, 0.94),
           1.05, 0.02, (0.5, 0.6, 0.62), 0.60, 0.4, 0.014, 0.90, 88, (1.2, 0.9), 0.08),
    Camera("brick", "asphalt", "cars poles", 0.22, 0.08, (0.86, 0.03), 0.03, (0.95, 0.08), 0.96, (0.94, 1.02, 1.02),
           0.90, 0.02, (-0.5, 0.6, 0.62), 0.65, 0.4, 0.016, 0.90, 86, (-1.2, 0.9), 0.08),
    Camera("trees", "asphalt", "poles benches", 0.16, 0.05, (0.86, 0.03), 0.03, (0.95, 0.08), 1.20, (1.00, 1.00, 1.00),
           1.00, 0.02, (0.0, 0.2, 0.98), 0.35, 0.7, 0.030, 0.80, 82, (0.6, 1.2), 0.08, "near"),
)  # fmt: skip
REGDB_CAMERAS = (
    Camera("concrete", "paving", "poles", 0.08, 0.04, (0.90, 0.02), 0.02, (1.00, 0.06), 1.00, (1.00, 1.00, 1.00),
           0.95, 0.02, (0.3, 0.7, 0.64), 0.60, 0.5, 0.016, 0.85, 86, (0.2, 0.6), 0.04),
    Camera("concrete", "paving", "poles", 0.08, 0.04, (0.90, 0.02), 0.02, (1.00, 0.04), 1.90, (1.00, 1.00, 1.00),
           1.00, 0.02, (0.0, 0.0, 1.00), 1.00, 0.8, 0.016, 0.75, 84, (0.2, 0.6), 0.04, "thermal", 1),
)  # fmt: skip
