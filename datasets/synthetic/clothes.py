"""Paints of garments and bags: which material shows at which point of a surface."""

from __future__ import annotations

import numpy as np

from duoreid.datasets.synthetic.identities import Garment, Identity
from duoreid.datasets.synthetic.shapes import Paint, Surface

TORSO_RADIUS = 0.16  # metres of arc per radian around the torso
STRAP = (0.42, 0.85)  # where backpack straps lie, radians from the front


def mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Materials (..., 5) with a share `weight` (h, w) of `second`."""
    return first + np.clip(weight, 0, 1)[..., None].astype(np.float32) * (second - first)


def inside(value: np.ndarray, low: float, high: float, softness: float) -> np.ndarray:
    """1 within [low, high], 0 outside, with a soft edge."""
    return np.clip((value - low) / softness, 0, 1) * np.clip((high - value) / softness, 0, 1)


def pattern(garment: Garment, azimuth: np.ndarray, down: np.ndarray, radius: float) -> np.ndarray:
    """Share of the second material, (h, w). down: metres below the garment's top; radius: of the part."""
    rate = 2 * np.pi / garment.period
    match garment.pattern:
        case "stripes":
            return 0.5 + 1.6 * np.sin(rate * down)
        case "pinstripes":
            return 0.5 + 1.6 * np.sin(rate * radius * azimuth)
        case "checks":
            across = np.clip(0.5 + 1.6 * np.sin(rate * radius * azimuth), 0, 1)
            return 0.5 * across + 0.5 * np.clip(0.5 + 1.6 * np.sin(rate * down), 0, 1)
        case "print":
            return inside(down, 0.14, 0.34, 0.03) * inside(np.abs(azimuth), -1, 0.6, 0.15)
        case "two-tone":
            return np.clip((0.3 - down) / 0.02, 0, 1) + 0 * azimuth
        case "side stripe":
            return inside(np.abs(np.abs(azimuth) - np.pi / 2), -1, 0.35, 0.1) + 0 * down
        case _:
            return np.zeros(np.broadcast_shapes(azimuth.shape, down.shape), np.float32)


def upper(person: Identity, yaw: float) -> Paint:
    """Paint of the torso: the garment, what shows under it when open, straps of bags."""
    garment = person.upper
    length = (0.855 - garment.hem) * person.height

    def paint(surface: Surface) -> np.ndarray:
        azimuth, down = surface.azimuth(yaw), surface.along * np.float32(length)
        colours = mix(garment.first, garment.second, pattern(garment, azimuth, down, TORSO_RADIUS))
        if garment.kind == "puffer":
            colours = colours * (0.82 + 0.18 * np.cos(2 * np.pi * down / 0.085))[..., None] ** 2
        if garment.inner is not None:
            width = 0.28 + 0.5 * np.clip(down - 0.15, 0, 0.4)
            colours = mix(colours, garment.inner, np.clip((width - np.abs(azimuth)) / 0.12, 0, 1))
        elif garment.kind in ("shirt", "jacket", "coat"):
            colours = mix(colours, garment.first * np.float32(0.4), inside(np.abs(azimuth), -1, 0.07, 0.05))
        if garment.kind in ("t-shirt", "tank top", "dress"):
            neckline = 0.09 - 0.07 * np.abs(azimuth)
            colours = mix(colours, person.skin, np.clip((neckline - down) / 0.02, 0, 1))
        if garment.kind == "tank top":
            bare = inside(np.abs(np.abs(azimuth) - np.pi / 2), -1, 0.55, 0.1) * (down < 0.12)
            colours = mix(colours, person.skin, bare)
        return mix(colours, person.bag_cloth, _straps(person, azimuth, down)).astype(np.float32)

    return paint


def _straps(person: Identity, azimuth: np.ndarray, down: np.ndarray) -> np.ndarray:
    if person.bag == "backpack":
        return inside(np.abs(azimuth), *STRAP, 0.1) * (down < 0.36)
    if person.bag == "shoulder bag":  # from the right shoulder across the chest and back to the left hip
        across = np.sin(azimuth) * TORSO_RADIUS
        return inside(down - 0.28 - 1.5 * across, -0.05, 0.05, 0.03)
    return np.zeros_like(down)


def sleeve(person: Identity, yaw: float) -> Paint:
    """Paint of an arm."""
    garment = person.upper
    if garment.sleeves_differ or garment.pattern == "two-tone":
        return lambda surface: garment.second
    if garment.pattern not in ("stripes", "checks"):
        return lambda surface: garment.first
    length = 0.17 * person.height
    return lambda surface: mix(
        garment.first, garment.second, pattern(garment, surface.azimuth(yaw), surface.along * length, 0.05)
    )


def lower(person: Identity, yaw: float, legs: int) -> Paint:
    """Paint of hips and skirts (legs 0) or of one leg (legs 1)."""
    garment = person.lower
    length = 0.23 if legs else 0.6 - garment.hem if garment.kind.endswith("skirt") else 0.12

    def paint(surface: Surface) -> np.ndarray:
        weight = pattern(
            garment, surface.azimuth(yaw), surface.along * np.float32(length * person.height), 0.07 if legs else 0.16
        )
        return mix(garment.first, garment.second, weight)

    return paint


def stockings(person: Identity) -> tuple[Paint | np.ndarray, np.ndarray]:
    """Paints of a bare shin and thigh: skin, socks up to the middle of the shin, or tights."""
    if person.socks is None or person.tights:
        cover = person.skin if person.socks is None else person.socks
        return cover, cover
    socks = person.socks
    return lambda surface: mix(person.skin, socks, (surface.along - 0.5) / 0.06), person.skin


def backpack(person: Identity, yaw: float) -> Paint:
    """Paint of a backpack: a pocket and a dark seam on its outer side."""

    def paint(surface: Surface) -> np.ndarray:
        outer = np.abs(np.abs(surface.azimuth(yaw)) - np.pi) < 1.2
        pocket = inside(surface.along, 0.12, 0.45, 0.05) * inside(np.abs(surface.across), -1, 0.7, 0.1) * outer
        seam = inside(surface.along, 0.66, 0.72, 0.02)
        colours = mix(person.bag_cloth, person.bag_cloth * np.float32(1.6) + np.float32(0.02), pocket)
        return mix(colours, person.bag_cloth * np.float32(0.4), seam)

    return paint
