"""What comparing two halves has found, as an object and as JSON: all that a report is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from duoreid.benchmarks.parity.tolerances import tolerance
from duoreid.core.errors import UserError
from duoreid.core.networks.backbones import stage_of

BOTH = "apart"
"""`who` of a distance between the two halves."""


class Limit(NamedTuple):
    """What a number may be at most. tolerances: the entries of tolerances.py that give it.

    noise: what it is a multiple of, if any: the other half's error, or how far rounding leads one backend alone.
    """

    value: float
    tolerances: tuple[str, ...]
    noise: float | None = None


def fixed(name: str) -> Limit:
    """A number from the table."""
    return Limit(tolerance(name), (name,))


def times(noise: float | None, factor: str, floor: str) -> Limit:
    """So many times the noise, or a floor where that is less; where noise was not measured, the floor."""
    if noise is None:
        return fixed(floor)
    return Limit(max(tolerance(factor) * noise, tolerance(floor)), (factor, floor), noise)


def beyond(noise: float, factor: str, floor: str) -> Limit:
    """So many times the noise, and a floor more."""
    return Limit(tolerance(factor) * noise + tolerance(floor), (factor, floor), noise)


class Check(NamedTuple):
    """One number with its limit.

    kind: what is compared, one of report.KINDS. precision: "single" (that of training) or "double". mode: "test" or
    "train" of a layer, "value" or "gradient" of a loss by itself. who: a half's backend, or BOTH. name: of a layer,
    loss, rule, tensor, or what is followed through training. step: after so many; None where nothing is trained.
    tolerances, noise: see Limit. note: what should have been computed, or where it is worst, in words.
    """

    kind: str
    precision: str
    mode: str
    who: str
    tolerances: tuple[str, ...]
    name: str
    step: int | None
    value: float
    limit: float
    noise: float | None
    passed: bool
    note: str = ""

    @property
    def what(self) -> str:
        """Name, mode and step for people."""
        step = "" if self.step is None else f"step {self.step}"
        return ", ".join(filter(None, (self.mode, self.name, step)))


def check(kind: str, name: str, who: str, value: float, limit: Limit, **where: Any) -> Check:
    """Return the check of a number. where: precision (default "single"), mode, step, note."""
    where = {"precision": "single", "mode": "", "step": None} | where
    passed = bool(value <= limit.value)  # False for NaN
    numbers = {"value": float(value), "limit": float(limit.value), "noise": limit.noise, "passed": passed}
    return Check(kind=kind, name=name, who=who, tolerances=limit.tolerances, **numbers, **where)


class Curve(NamedTuple):
    """One line by step.

    name: "total", the loss; or, as in checks, what is followed through training. role: of a loss, "run" of a backend,
    "noise" from disturbed weights, "double" in float64; of a distance, "single" and "double" of the two, "rounding" of
    one backend from itself. who: a half's backend, BOTH, or "".
    """

    name: str
    role: str
    who: str
    values: dict[int, float]


GROUP = 5
"""So many of a Check's fields come first and are written once for all checks that share them."""


@dataclass(frozen=True)
class Comparison:
    """exam: the settings, and what they are called.

    backends: of each half its name, about (framework and hardware), parts (by precision what was run, and seconds) and
    switches (by batch which choices rounding has switched, where it was looked for). summary: see compare.summary.
    tolerances: those that checks name, each with its value and reason.
    """

    exam: dict[str, Any]
    backends: list[dict[str, Any]]
    checks: list[Check]
    curves: list[Curve]
    summary: dict[str, Any]
    tolerances: dict[str, dict[str, Any]]

    @property
    def names(self) -> tuple[str, str]:
        """What the two halves are called."""
        return self.backends[0]["name"], self.backends[1]["name"]

    def block(self, check: Check) -> str:
        """Return the stage of the backbone that a check's layer or tensor lies in: "layer1.0" of "layer1.0.conv2"."""
        arch, name = self.exam["network"]["arch"], check.name
        role, _, inside = name.partition(".")
        stage = stage_of(arch, name)
        return f"{role}.{stage_of(arch, inside)}" if stage == name and inside else stage

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold: numbers of checks to three digits, the tolerances with their reasons."""
        groups: dict[tuple, list[list]] = {}
        for check in self.checks:
            groups.setdefault(check[:GROUP], []).append(_row(check))
        return {
            "exam": self.exam,
            "passed": not self.failed,
            "summary": self.summary,
            "backends": self.backends,
            "curves": self.curves,
            "tolerances": self.tolerances,
            "columns": Check._fields[GROUP:],
            "checks": [dict(zip(Check._fields, key, strict=False)) | {"rows": rows} for key, rows in groups.items()],
        }


def _row(check: Check) -> list[Any]:
    numbers = [number if number is None else float(f"{number:.3g}") for number in check[GROUP + 2 : GROUP + 5]]
    layer = check.kind in ("own", "layers")  # whose rules would fill the file
    return [check.name, check.step, *numbers, check.passed, *([] if check.passed and layer else [check.note])]


def from_json(document: dict[str, Any]) -> Comparison:
    """Return the comparison that `as_json` has written."""
    checks = [
        Check(*(group[name] for name in Check._fields[: GROUP - 1]), tuple(group["tolerances"]), *row)
        for group in document["checks"]
        for row in group["rows"]
    ]
    curves = [
        Curve(*curve, {int(step): value for step, value in values.items()}) for *curve, values in document["curves"]
    ]
    return Comparison(
        document["exam"], document["backends"], checks, curves, document["summary"], document["tolerances"]
    )


def load(path: Path) -> Comparison:
    """Read a comparison; UserError where the file is none."""
    if not path.is_file():
        raise UserError(f"{path} is not a file: write one with python -m benchmarks.parity --json {path}")
    try:
        return from_json(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError, AttributeError):  # neither text nor JSON, or other JSON
        raise UserError(
            f"{path} is no report of python -m benchmarks.parity --json, or one of an older version."
        ) from None
