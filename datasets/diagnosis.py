"""What the doctor has found of one copy of a dataset, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from duoreid.core.data import Dataset
from duoreid.datasets.errors import Problem
from duoreid.datasets.inspection import Seen


@dataclass
class Diagnosis:
    """What the doctor found. counts: rows of `compare_counts`. images: how many were opened, their sizes, the time.

    dataset: its first trial, None where it could not be read. seen: what each image file is.
    """

    name: str
    root: str
    problems: list[Problem] = field(default_factory=list)
    counts: list[dict[str, Any]] = field(default_factory=list)
    images: dict[str, Any] = field(default_factory=dict)
    dataset: Dataset | None = None
    seen: list[Seen] = field(default_factory=list)

    @property
    def fit(self) -> bool:
        """Whether nothing fatal was found."""
        return not any(problem.fatal for problem in self.problems)

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON types; of each problem's files, all."""
        problems = [{**vars(problem), "examples": list(problem.examples)} for problem in self.problems]
        return {
            "name": self.name,
            "root": self.root,
            "fit": self.fit,
            "counts": self.counts,
            "images": self.images,
            "problems": problems,
        }


def verdict(diagnosis: Diagnosis) -> str:
    """Return one line that says whether to train on this copy."""
    fatal = sum(problem.fatal for problem in diagnosis.problems)
    remarks = len(diagnosis.problems) - fatal
    unopened = "" if diagnosis.images or fatal else " (the images themselves were not opened)"
    if fatal:
        return f"NOT FIT, {fatal} problem{'s' * (fatal > 1)}"
    return f"fit{f', {remarks} remark' + 's' * (remarks > 1) if remarks else ''}{unopened}"
