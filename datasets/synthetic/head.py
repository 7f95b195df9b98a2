"""Heads: hair, face and headwear."""

from __future__ import annotations

import numpy as np

from duoreid.datasets.synthetic.clothes import inside, mix
from duoreid.datasets.synthetic.identities import Identity
from duoreid.datasets.synthetic.shapes import Canvas, Paint, Surface


def draw(canvas: Canvas, who: Identity, at: np.ndarray, yaw: float, scale: float) -> None:
    """Draw hair, face and headwear; long hair hangs where the view shows it.

    at: the head's middle in the image, pixels (2,). yaw: where the face looks, radians, 0 at the camera. scale: pixels
    per metre.
    """
    cos, sin = np.cos(yaw), np.sin(yaw)
    wide, tall = 0.082 * scale, 0.118 * scale
    back = np.array([-sin, 0.0])  # where the back of the head is on the screen
    if who.haircut in ("long", "bob"):
        end = at + np.array([0, tall * (2.0 if who.haircut == "long" else 1.15)])
        fringe = (wide * 1.12, wide * 1.15, wide * 0.9)
        canvas.tube(at + back * wide * 0.2, end + back * wide * 0.6, fringe, who.hair)
    if who.haircut == "afro" and who.headwear != "hood":
        canvas.ellipsoid(at + np.array([0, -tall * 0.2]) + back * wide * 0.2, (wide * 1.55, tall * 1.2), who.hair)
    if who.headwear == "hood":
        canvas.ellipsoid(at + back * wide * 0.25, (wide * 1.4, tall * 1.2), who.upper.first)
    visible_face = cos > -0.2 or who.haircut not in ("long", "bob")
    if visible_face or who.headwear in ("cap", "beanie", "sun hat"):
        canvas.ellipsoid(at, (wide * (1 + 0.12 * abs(sin)), tall), _paint(who, yaw))
    if who.haircut == "ponytail":
        tail = at + back * wide * 1.15
        ends = tail + np.array([0, -tall * 0.2]), tail + back * wide * 0.4 + np.array([0, tall * 1.3])
        if cos < 0.5:
            canvas.tube(*ends, (wide * 0.4, wide * 0.45, wide * 0.2), who.hair)
    if who.haircut == "bun":
        canvas.ellipsoid(at + back * wide * 0.9 + np.array([0, -tall * 0.75]), (wide * 0.55, wide * 0.55), who.hair)
    _headwear(canvas, who, at, wide, tall, np.array([sin, 0.0]), cos)


def _headwear(
    canvas: Canvas, who: Identity, at: np.ndarray, wide: float, tall: float, front: np.ndarray, cos: float
) -> None:
    if who.headwear in ("cap", "sun hat"):
        brim = at + np.array([0, -tall * 0.35])
        if who.headwear == "sun hat":
            canvas.ellipsoid(brim, (wide * 2.1, tall * 0.28), who.headwear_cloth)
        elif cos > -0.5:
            lower = brim + front * wide * 1.0 + np.array([0, tall * 0.12 * max(cos, 0)])
            canvas.ellipsoid(lower, (wide * (0.85 + 0.1 * abs(cos)), tall * 0.17), who.headwear_cloth * np.float32(0.7))


def _paint(who: Identity, yaw: float) -> Paint:
    hairline = {"bald": 9.0, "short": 0.12, "afro": 0.1}.get(who.haircut, 0.0)

    def paint(surface: Surface) -> np.ndarray:
        right, up, depth = surface.normal
        forward = depth * np.cos(yaw) + right * np.sin(yaw)
        sideways = right * np.cos(yaw) - depth * np.sin(yaw)
        eyes = inside(np.abs(np.abs(sideways) - 0.38), -1, 0.2, 0.08) * inside(up, -0.02, 0.2, 0.06) * (forward > 0)
        mouth = inside(np.abs(sideways), -1, 0.3, 0.1) * inside(up, -0.55, -0.42, 0.06) * (forward > 0)
        colours = mix(who.skin, who.skin * np.float32(0.25), np.maximum(eyes, 0.5 * mouth))
        covered = np.clip((0.72 * up - 0.7 * forward - hairline + 0.18) / 0.12, 0, 1)
        colours = mix(colours, who.hair, covered)
        if who.headwear in ("cap", "beanie", "sun hat"):
            edge = 0.28 if who.headwear != "beanie" else 0.12
            colours = mix(colours, who.headwear_cloth, np.clip((up - edge) / 0.12, 0, 1))
        if who.headwear == "hood":
            colours = mix(colours, who.upper.first, np.clip((0.55 - forward) / 0.12, 0, 1))
        return colours

    return paint
