"""One image: a person passing a camera, cropped as a detector would crop it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from duoreid.core.random import rng
from duoreid.datasets.synthetic import scenes
from duoreid.datasets.synthetic.body import Person, Pose, Projection
from duoreid.datasets.synthetic.cameras import HEIGHT, Camera
from duoreid.datasets.synthetic.domains import DOMAINS, Domain
from duoreid.datasets.synthetic.identities import identity
from duoreid.datasets.synthetic.materials import material
from duoreid.datasets.synthetic.sensor import expose, jpeg
from duoreid.datasets.synthetic.shapes import SPECTRA, Canvas, Light

AVERAGE_HEIGHT = 1.73  # metres


def view(domain: str, seed: int, person: int, camera: int, frame: int) -> Image.Image:
    """Return one picture, RGB of 64 x 128 pixels.

    person: identity number, from 1. camera: from 1. frame: pictures of one person by one camera form one passage
    (where the domain has no walks): they share direction and light, and differ in pose, crop, noise and what is behind.
    """
    place = DOMAINS[domain]
    if place.walks:
        passage = rng(seed, f"synthetic/{domain}/walk", person, frame)
    else:
        passage = rng(seed, f"synthetic/{domain}/passage", person, camera)
    moment = rng(seed, f"synthetic/{domain}/moment/{camera}", person, frame)
    optics = place.cameras[camera - 1]
    who = identity(place.style, seed, domain, person)
    fill, projection = _crop(place, optics, who.height, passage, moment)
    pixels = _backdrop(place, seed, camera, optics, fill, passage, moment)
    light = Light(_unit(optics.light), 1.0 if optics.spectrum == "thermal" else optics.ambient)
    canvas = Canvas(pixels, SPECTRA[optics.spectrum], light)
    occluded = passage.random() < optics.occlusion
    hider = _draw_others(canvas, place, seed, person, projection, passage) if occluded else None
    _shadow(canvas, projection)
    pose = Pose(projection.yaw, moment.uniform(0, 2 * np.pi), passage.uniform(0.5, 1.1), moment.normal(0, 0.25))
    Person(who, pose, projection).draw(canvas)
    if hider is not None:
        hider()
    gain = place.daylight * max(0.2, passage.normal(*optics.exposure))
    return expose(canvas.pixels, optics, gain, moment)


def view_jpeg(domain: str, seed: int, person: int, camera: int, frame: int) -> bytes:
    """Return `view` compressed as its camera does."""
    return jpeg(view(domain, seed, person, camera, frame), DOMAINS[domain].cameras[camera - 1])


def junk_jpeg(domain: str, seed: int, number: int, camera: int) -> bytes:
    """Return a false detection: a piece of the place with at most a part of somebody."""
    place, optics = DOMAINS[domain], DOMAINS[domain].cameras[camera - 1]
    generator = rng(seed, f"synthetic/{domain}/junk", number, camera)
    fill, projection = _crop(place, optics, AVERAGE_HEIGHT, generator, generator)
    pixels = _backdrop(place, seed, camera, optics, fill, generator, generator)
    canvas = Canvas(pixels, SPECTRA[optics.spectrum], Light(_unit(optics.light), optics.ambient))
    if generator.random() < 0.6:
        off = (float(generator.choice([-0.5, 0.5]) * place.window), generator.uniform(-0.3, 0.3) * HEIGHT)
        who = identity(place.style, seed, domain, 100_000 + number)
        _passer_by(who, projection, generator, off).draw(canvas)
    return jpeg(expose(canvas.pixels, optics, place.daylight * optics.exposure[0], generator), optics)


def _unit(vector: tuple[float, float, float]) -> tuple[float, float, float]:
    return tuple(np.asarray(vector) / np.linalg.norm(vector))


def _crop(
    place: Domain, optics: Camera, height: float, passage: np.random.Generator, moment: np.random.Generator
) -> tuple[float, Projection]:
    yaw = passage.normal(*optics.heading) + moment.normal(0, 0.15)
    fill = optics.fill[0] + passage.normal(0, optics.fill[1]) + moment.normal(0, optics.fill[1] / 2)
    # a detector's box follows the person's height, though not quite
    tall = AVERAGE_HEIGHT**0.3 * height**0.7
    scale = fill * HEIGHT / (tall * np.cos(optics.pitch) * (1 + optics.widening * (tall - 0.9)))
    foot = (
        place.window * (0.5 + moment.normal(0, optics.shift)),
        HEIGHT * (0.5 + fill * 0.49 + moment.normal(0, optics.shift * 0.6)),
    )
    return fill, Projection(float(yaw), float(scale), foot, optics.pitch, optics.widening)


def _backdrop(place: Domain, seed: int, camera: int, optics: Camera, fill: float, passage, moment) -> np.ndarray:
    """Cut the window of the backdrop behind the person; float32 (HEIGHT, WIDTH, C), writable."""
    looks = (optics.wall, optics.ground, optics.furniture, place.calm, place.fog)
    whole = scenes.backdrop(seed, place.name, optics.place or camera, *looks)
    whole = whole[..., SPECTRA[optics.spectrum]]
    step = scenes.METRE * AVERAGE_HEIGHT / (fill * HEIGHT)  # backdrop pixels per image pixel
    columns = (moment.uniform(0, scenes.WIDTH) + step * np.arange(place.window)).astype(int)
    top = (scenes.HEIGHT - step * HEIGHT) * np.clip(passage.normal(0.5 + optics.pitch, 0.15), 0, 1)
    rows = np.clip(top + step * np.arange(HEIGHT), 0, scenes.HEIGHT - 1).astype(int)
    return whole[rows[:, None], columns[None, :] % scenes.WIDTH].copy()


def _shadow(canvas: Canvas, projection: Projection) -> None:
    x, y = projection.foot
    rows = np.arange(HEIGHT, dtype=np.float32)[:, None] - np.float32(y)
    columns = np.arange(canvas.pixels.shape[1], dtype=np.float32)[None, :] - np.float32(x)
    wide, tall = 0.42 * projection.scale, (0.06 + 0.2 * projection.pitch) * projection.scale
    level = np.hypot(columns / np.float32(wide), rows / np.float32(tall))
    strength = 0.0 if canvas.light.ambient == 1.0 else 0.45
    canvas.pixels *= (1 - np.float32(strength) * np.clip(1.3 - level, 0, 1))[..., None]


def _passer_by(who, projection: Projection, generator: np.random.Generator, offset: tuple[float, float]) -> Person:
    yaw = float(generator.uniform(-np.pi, np.pi))
    foot = (projection.foot[0] + offset[0], projection.foot[1] + offset[1])
    other = Projection(yaw, projection.scale, foot, projection.pitch, projection.widening)
    return Person(who, Pose(yaw, generator.uniform(0, 6.28), 0.8, 0.0), other)


def _draw_others(canvas: Canvas, place: Domain, seed: int, person: int, projection: Projection, passage):
    """Draw somebody behind now, or return a function that draws what hides a part of the person later."""
    kind = passage.choice(["pole", "car", "passer-by", "companion"])
    side = float(passage.choice([-1, 1]))
    x, y = projection.foot
    metre = projection.scale
    if kind in ("passer-by", "companion"):
        who = identity(place.style, seed, place.name, 200_000 + person)
        away = side * passage.uniform(0.4, 0.55) * place.window
        other = _passer_by(who, projection, passage, (away, -3.0 if kind == "companion" else 4.0))
        if kind == "companion":
            other.draw(canvas)
            return None
        return lambda: other.draw(canvas)
    if kind == "pole":
        at = x + side * passage.uniform(0.05, 0.25) * metre
        paint = material((120, 122, 124), 0.4, 0.15)
        radius = 0.05 * metre
        return lambda: canvas.tube(np.array([at, -5.0]), np.array([at, HEIGHT + 5.0]), (radius, radius), paint)
    paint = material(passage.uniform(40, 210, 3), passage.uniform(0.2, 0.7), 0.25)
    centre = np.array([x + side * passage.uniform(0.5, 0.9) * metre, y])
    height = passage.uniform(0.3, 0.55) * metre
    return lambda: canvas.ellipsoid(centre, (0.8 * metre, height), paint, power=4.0)
