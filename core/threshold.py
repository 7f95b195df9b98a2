"""Thresholds for similarities, by false-accept rate and gallery size: plain data that a model's file can carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from duoreid.core.errors import UserError
from duoreid.core.numeric.inputs import as_count


@dataclass(frozen=True)
class Point:
    """One threshold. far: false-accept rate asked for. size: images in the gallery. Intervals are of 95%.

    threshold_interval: of the threshold itself. far_interval, match_interval: of the false-accept rate and the
    true-match rate that as many unseen people are expected to give. extrapolated: the data hold fewer strangers.
    """

    far: float
    size: int
    threshold: float
    threshold_interval: tuple[float, float]
    far_interval: tuple[float, float]
    true_match_rate: float
    match_interval: tuple[float, float]
    extrapolated: bool


@dataclass(frozen=True)
class Threshold:
    """Thresholds by gallery size, and where they come from.

    far: the false-accept rate that holds where none is named. dataset: its name. identities, queries: how many asked.
    strangers: the fewest that a query had. data: digest of features and identities. unsupported: rates asked for that
    the data are too few for. digest: of the model, "" where it was not measured with a file's.

    >>> from dataclasses import replace
    >>> point = Point(0.01, 100, 0.5, (0.4, 0.6), (0.0, 0.02), 0.9, (0.8, 1.0), False)
    >>> made = Threshold(0.01, (point, replace(point, size=10_000, threshold=0.7)), "folder", 50, 300, 1400, "3f")
    >>> print(f"{made.at(100):.2f} {made.at(1000):.2f} {made.at(10_000):.2f}")
    0.50 0.60 0.70
    >>> Threshold.from_dict(made.to_dict()) == made
    True
    """

    far: float
    points: tuple[Point, ...]
    dataset: str
    identities: int
    queries: int
    strangers: int
    data: str
    unsupported: tuple[float, ...] = ()
    digest: str = ""

    def at(self, gallery_size: int, far: float | None = None) -> float:
        """Return the threshold for a gallery of so many images: a match is accepted from it on.

        Between the calibrated sizes it is linear in the logarithm of the size, as beyond the last by the last two;
        below the smallest size the smallest holds. far: one of the calibrated rates, default the stored one.
        UserError for a rate that was not calibrated.
        """
        gallery_size, far = max(1, as_count(gallery_size, "gallery_size", 0)), self.far if far is None else far
        points = sorted((one for one in self.points if one.far == far), key=lambda one: one.size)
        if not points:
            known = ", ".join(f"{one:g}" for one in sorted({one.far for one in self.points}))
            raise UserError(f"no threshold for a false-accept rate of {far:g}: calibrated are {known}.")
        sizes, values = np.log([one.size for one in points]), np.array([one.threshold for one in points])
        place = float(np.log(gallery_size))
        if place > sizes[-1] and len(points) > 1:
            slope = (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])
            return float(values[-1] + max(0.0, slope) * (place - sizes[-1]))
        return float(np.interp(place, sizes, values))

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        fields = asdict(self)
        return fields | {"points": [_lists(one) for one in fields["points"]], "unsupported": list(self.unsupported)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Threshold:
        """Return the threshold of which `to_dict` told; UserError for anything else."""
        try:
            points = tuple(
                Point(**{name: tuple(v) if isinstance(v, list) else v for name, v in one.items()})
                for one in fields["points"]
            )
            return cls(**{**fields, "points": points, "unsupported": tuple(fields.get("unsupported", ()))})
        except (TypeError, KeyError, AttributeError) as error:
            raise UserError(f"this is no threshold that can be read ({error}): calibrate the model again.") from error


def _lists(point: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in point.items()}
