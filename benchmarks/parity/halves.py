"""One backend's records, read and written as one file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.sampling import Arrays, under
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.errors import UserError
from duoreid.core.settings.reading import from_dict


class Half(NamedTuple):
    """What one backend saw. single, double: arrays in the precision of training and in float64, {} where not run.

    facts: by "single" and "double" what record.py says of each.
    """

    backend: str
    single: Arrays
    double: Arrays
    facts: dict[str, dict[str, Any]]

    @property
    def exam(self) -> Exam:
        return from_dict(Exam(), next(iter(self.facts.values()))["exam"])

    @property
    def about(self) -> str:
        """The framework, its version and the hardware."""
        return next(iter(self.facts.values()))["about"]


def join(records: dict[str, tuple[Arrays, dict[str, Any]]]) -> Half:
    """Return the half made of records by "single" and "double"."""
    facts = {part: about for part, (_, about) in records.items()}
    arrays = {part: values for part, (values, _) in records.items()}
    return Half(next(iter(facts.values()))["backend"], arrays.get("single", {}), arrays.get("double", {}), facts)


def save(half: Half, path: Path) -> None:
    """Write a half as safetensors."""
    arrays = {f"single/{name}": value for name, value in half.single.items()}
    arrays |= {f"double/{name}": value for name, value in half.double.items()}
    checkpoint.save(path, arrays, {"parity": half.facts})


def load(path: Path, state: str | None = None) -> Half:
    """Read a half; UserError where the file is something else. state: where its starting state lies now."""
    arrays, metadata = checkpoint.load(path)
    if "parity" not in metadata:
        raise UserError(f"{path} is no record of parity: make one with python -m benchmarks.parity --record {path}")
    if state:
        for facts in metadata["parity"].values():
            facts["exam"]["state"] = str(Path(state).resolve())
    return join({part: (under(arrays, f"{part}/"), facts) for part, facts in metadata["parity"].items()})


def check_same(first: Half, second: Half) -> None:
    """Raise UserError where two halves did not compute the same: other settings, or other bytes on their machines."""
    if replace(first.exam, state="") != replace(second.exam, state=""):
        raise UserError(f"the two records are of different settings:\n  {first.exam}\n  {second.exam}")
    steps = {half.facts["double"]["steps"] for half in (first, second) if half.double}
    if len(steps) > 1:
        raise UserError(
            f"the two records trained {' and '.join(map(str, sorted(steps)))} steps in float64, and are compared step "
            "by step: record one of them again with the other's --double-steps."
        )
    digests = {facts["digest"] for half in (first, second) for facts in half.facts.values()}
    if len(digests) > 1:
        raise UserError(
            "the two records started from different bytes although their settings are the same: another version of "
            "this library or of NumPy drew them. Use the same versions on both machines."
        )
