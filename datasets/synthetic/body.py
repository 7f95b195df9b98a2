"""A walking person as solid parts: skeleton, projection, and the order in which the parts hide each other.

Body frame: x to the person's left, y up from the ground, z forward; metres. Yaw 0 faces the camera and grows
towards the right of the image, pi shows the back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from duoreid.datasets.synthetic import clothes, head
from duoreid.datasets.synthetic.identities import Identity
from duoreid.datasets.synthetic.shapes import Canvas


@dataclass(frozen=True)
class Pose:
    """yaw and the phase of the walk in radians; activity scales stride and arm swing; lean turns the head."""

    yaw: float
    phase: float
    activity: float
    head_turn: float


@dataclass(frozen=True)
class Projection:
    """Weak perspective. scale: pixels per metre; foot: image position of the ground point below the person.

    pitch: how far the camera looks down, radians. widening: relative growth per metre of height, as of a camera
    above the person.
    """

    yaw: float
    scale: float
    foot: tuple[float, float]
    pitch: float
    widening: float

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Body points (n, 3) -> image points (n, 2) in pixels, depth towards the camera (n,)."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        x = points[:, 0] * cos + points[:, 2] * sin
        z = points[:, 2] * cos - points[:, 0] * sin
        factor = self.scale * (1 + self.widening * (points[:, 1] - 0.9))
        up = points[:, 1] * np.cos(self.pitch) - z * np.sin(self.pitch)
        return np.stack([self.foot[0] + x * factor, self.foot[1] - up * factor], 1), z


class Person:
    """One identity in one pose, projected: image points and depths of the joints, ready to be drawn."""

    def __init__(self, identity: Identity, pose: Pose, projection: Projection) -> None:
        self.identity, self.pose, self.projection = identity, pose, projection
        names, points = zip(*_skeleton(identity, pose).items(), strict=True)
        image, depth = projection(np.array(points))
        self.at = dict(zip(names, image, strict=True))
        self.depth = dict(zip(names, (float(d) for d in depth), strict=True))

    def draw(self, canvas: Canvas) -> None:
        """Draw all parts, the farthest first."""
        parts: list[tuple[float, Callable[[], None]]] = [
            (-0.02, lambda: self._torso(canvas)),
            (-0.03, lambda: self._neck(canvas)),
            (0.02 + 0.5 * (self.depth["head"] - self.depth["neck"]), lambda: self._head(canvas)),
        ]
        for side in ("left", "right"):
            leg = -0.5 + 0.1 * self.depth[f"{side} knee"]
            parts.append((leg, lambda side=side: self._leg(canvas, side)))
            arm = self.depth[f"{side} elbow"] * 0.7 + self.depth[f"{side} hand"] * 0.3
            parts.append((arm, lambda side=side: self._arm(canvas, side)))
        parts.append((-0.3, lambda: self._lower(canvas)))
        parts += self._accessories(canvas)
        for _, draw in sorted(parts, key=lambda part: part[0]):
            draw()

    def pixels(self, metres: float) -> float:
        """Return a length in pixels."""
        return metres * self.projection.scale

    def elliptic(self, half_width: np.ndarray, half_depth: np.ndarray) -> np.ndarray:
        """Projected half width (pixels) of cross-sections with the given half axes (metres)."""
        cos, sin = np.cos(self.projection.yaw), np.sin(self.projection.yaw)
        return np.hypot(np.asarray(half_width) * cos, np.asarray(half_depth) * sin) * self.projection.scale

    def _torso(self, canvas: Canvas) -> None:
        person, upper = self.identity, self.identity.upper
        bulk, build = upper.bulk, person.build
        top, hem = self.at["collar"], self.at["hem"]
        chest = (0.5 - upper.hem) / (0.845 - upper.hem)  # share of the garment below the hip line
        knots = np.array([0, 0.06, 0.13, 0.4, 0.72, 1.0]) * np.array([1, 1, 1, 1 - chest, 1 - chest, 1])
        width = np.array([0.07, 0.15, 0.185, 0.165, 0.15, 0.165]) * [1, *(2 * [person.shoulders]), 1, 1, 1]
        depth = np.array([0.07, 0.09, 0.11, 0.125, 0.115, 0.12])
        width = width * (0.55 + 0.45 * build) * (0.5 + 0.5 * bulk)
        depth = depth * build * (0.4 + 0.6 * bulk)
        if upper.kind in ("dress", "coat"):
            flare = 1.5 if upper.kind == "dress" else 1.18
            width[-1], depth[-1] = width[-1] * flare, depth[-1] * flare
        paint = clothes.upper(person, self.pose.yaw)
        canvas.tube(top, hem, self.elliptic(width, depth), paint, knots=knots, flat=True)

    def _neck(self, canvas: Canvas) -> None:
        radius = self.pixels(0.052 * (0.7 + 0.3 * self.identity.build))
        canvas.tube(self.at["neck"], self.at["head"], (radius, radius), self.identity.skin * np.float32(0.9))

    def _lower(self, canvas: Canvas) -> None:
        person, lower = self.identity, self.identity.lower
        if person.upper.kind == "dress":
            return
        paint = clothes.lower(person, self.pose.yaw, 0)
        bulk = 0.75 + 0.25 * lower.bulk
        width = np.array([0.145, 0.165, 0.16]) * (0.55 + 0.45 * person.build) * bulk
        depth = np.array([0.105, 0.125, 0.115]) * person.build * bulk
        bottom = self.at["crotch"]
        if lower.kind in ("skirt", "long skirt"):
            bottom = self.at["skirt hem"]
            flare = 1.25 + 0.35 * (lower.kind == "skirt")
            width[-1], depth[-1] = 0.165 * flare, 0.13 * flare
        canvas.tube(self.at["waist"], bottom, self.elliptic(width, depth), paint, flat=lower.kind.endswith("skirt"))

    def _leg(self, canvas: Canvas, side: str) -> None:
        person, lower = self.identity, self.identity.lower
        hip, knee, ankle, toe = (self.at[f"{side} {joint}"] for joint in ("hip", "knee", "ankle", "toe"))
        build = 0.5 + 0.5 * person.build
        stockings, tights = clothes.stockings(person)
        thigh = self.pixels(1) * np.array([0.088, 0.075, 0.058]) * build
        shin = self.pixels(1) * np.array([0.056, 0.058, 0.036]) * build
        shoe = self.pixels(0.05)
        covered = lower.kind in ("trousers", "wide trousers", "leggings") and person.upper.kind != "dress"
        canvas.tube(ankle, toe, (shoe, shoe * 0.85), person.shoes)
        if covered:
            paint = clothes.lower(person, self.pose.yaw, 1)
            thigh *= 0.9 + 0.1 * lower.bulk
            shin = np.maximum(shin * lower.bulk, self.pixels(0.062 * lower.bulk * build) * (lower.bulk > 1.05))
            canvas.tube(knee, ankle, shin, person.shoes if person.boots and lower.bulk < 1.1 else paint)
            canvas.tube(hip, knee, thigh, paint)
            return
        canvas.tube(knee, ankle, shin, person.shoes if person.boots else stockings)
        canvas.tube(hip, knee, thigh, tights)
        if lower.kind == "shorts" and person.upper.kind != "dress":
            edge = hip + (knee - hip) * np.clip((0.5 - lower.hem) / 0.22, 0.4, 1)
            wide = thigh[:2] * (0.7 + 0.3 * lower.bulk)
            canvas.tube(hip, edge, (wide[0], wide[0]), clothes.lower(person, self.pose.yaw, 1), flat=True)

    def _arm(self, canvas: Canvas, side: str) -> None:
        person, upper = self.identity, self.identity.upper
        shoulder, elbow, hand = (self.at[f"{side} {joint}"] for joint in ("shoulder", "elbow", "hand"))
        build = 0.6 + 0.4 * person.build
        bare = self.pixels(1) * np.array([0.05, 0.042, 0.034]) * build
        sleeve = bare * (0.25 + 0.95 * upper.bulk)
        canvas.ellipsoid(hand, (self.pixels(0.045), self.pixels(0.055)), person.skin)
        forearm = upper.sleeve > 0.6
        paint = clothes.sleeve(person, self.pose.yaw)
        canvas.tube(elbow, hand, sleeve[1:] if forearm else bare[1:], paint if forearm else person.skin)
        canvas.tube(shoulder, elbow, sleeve[:2] if forearm else bare[:2], paint if forearm else person.skin)
        if not forearm and upper.sleeve > 0.05:
            edge = shoulder + (elbow - shoulder) * min(upper.sleeve * 2, 1.0)
            canvas.tube(shoulder, edge, (sleeve[0] * 1.1, sleeve[0] * 1.15), paint)

    def _head(self, canvas: Canvas) -> None:
        yaw = self.pose.yaw + self.pose.head_turn
        head.draw(canvas, self.identity, self.at["head"], yaw, self.projection.scale)

    def _accessories(self, canvas: Canvas) -> list[tuple[float, Callable[[], None]]]:
        person, parts = self.identity, []
        if person.bag == "backpack":
            radii = self.elliptic(0.15, 0.09), self.pixels(0.21)
            paint = clothes.backpack(person, self.pose.yaw)
            draw = lambda: canvas.ellipsoid(self.at["backpack"], radii, paint, power=4.0)  # noqa: E731
            parts.append((self.depth["backpack"], draw))
        elif person.bag == "shoulder bag":
            radii = self.elliptic(0.06, 0.15), self.pixels(0.11)
            draw = lambda: canvas.ellipsoid(self.at["side bag"], radii, person.bag_cloth, power=4.0)  # noqa: E731
            parts.append((self.depth["side bag"] * 2, draw))
        elif person.bag == "handbag":
            radii = self.elliptic(0.05, 0.14), self.pixels(0.12)
            place = self.at["left hand"] + np.array([0, self.pixels(0.15)])
            draw = lambda: canvas.ellipsoid(place, radii, person.bag_cloth, power=4.0)  # noqa: E731
            parts.append((self.depth["left hand"] * 1.5 + 0.01, draw))
        if person.scarf is not None:
            radius = self.pixels(0.085)
            ends = self.at["neck"], self.at["scarf"]
            parts.append((0.01, lambda: canvas.tube(ends[0], ends[0], (radius, radius), person.scarf)))
            tail = lambda: canvas.tube(*ends, (radius * 0.5, radius * 0.55), person.scarf)  # noqa: E731
            parts.append((self.depth["scarf"], tail))
        return parts


def _skeleton(person: Identity, pose: Pose) -> dict[str, tuple[float, float, float]]:
    """Joints of a walking person in the body frame, metres."""
    h, broad = person.height, person.shoulders * (0.7 + 0.3 * person.build)
    thick = 0.4 + 0.6 * person.upper.bulk
    joints = {
        "head": (0.0, 0.925 * h, 0.02),
        "neck": (0.0, 0.85 * h, 0.0),
        "collar": (0.0, 0.855 * h, 0.0),
        "hem": (0.0, person.upper.hem * h, 0.0),
        "waist": (0.0, 0.6 * h, 0.0),
        "crotch": (0.0, 0.475 * h, 0.0),
        "skirt hem": (0.0, person.lower.hem * h, 0.0),
        "backpack": (0.0, 0.69 * h, -(0.11 + 0.1 * person.build * thick)),
        "side bag": (0.2 * broad * thick, 0.47 * h, 0.0),
        "scarf": (0.05, 0.7 * h, 0.14 * person.build * thick),
    }
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = sign * np.sin(pose.phase) * person.stride * pose.activity
        bend = max(0.0, -sign * np.cos(pose.phase)) * 0.9 * pose.activity + 0.05
        hip = np.array([sign * 0.085 * broad, 0.5 * h, 0.0])
        knee = hip + 0.235 * h * np.array([0.0, -np.cos(swing), np.sin(swing)])
        ankle = knee + 0.225 * h * np.array([0.0, -np.cos(swing - bend), np.sin(swing - bend)])
        toe = ankle + np.array([sign * 0.03, -0.03, 0.15])
        arm = -sign * np.sin(pose.phase) * person.arm_swing * pose.activity
        shoulder = np.array([sign * 0.165 * broad * (0.55 + 0.45 * thick), 0.805 * h, 0.0])
        elbow = shoulder + 0.17 * h * np.array([sign * 0.16, -np.cos(arm), np.sin(arm)])
        fold = arm + 0.25 + 0.35 * max(0.0, np.sin(arm))
        hand = elbow + 0.17 * h * np.array([sign * 0.04, -np.cos(fold), np.sin(fold)])
        for name, point in zip(
            ("hip", "knee", "ankle", "toe", "shoulder", "elbow", "hand"),
            (hip, knee, ankle, toe, shoulder, elbow, hand),
            strict=True,
        ):
            joints[f"{side} {name}"] = tuple(point)
    return joints
