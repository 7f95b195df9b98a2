"""What can be wrong with a dataset on disk."""

from __future__ import annotations

from dataclasses import dataclass

from duoreid.core.errors import UserError

SHOWN = 6


class DatasetError(UserError):
    """A dataset that cannot be read. The text says what was expected, what was found and what to do."""


@dataclass(frozen=True)
class Problem:
    """One finding of a reader or of the doctor.

    check: which check found it ("names", "layout", ...). fatal: nobody should train on this copy before it is
    solved; otherwise it is worth knowing. examples: the files concerned, all of them. unfit: a run only says it, but
    the doctor finds the copy not fit. reason: why the examples are left out, in a few words, where they are.
    """

    check: str
    text: str
    examples: tuple[str, ...] = ()
    fatal: bool = True
    unfit: bool = False
    reason: str = ""

    def __str__(self) -> str:
        return self.text + listed(self.examples)


def listed(items: tuple[str, ...] | list[str]) -> str:
    """Return the first few items, one to a line, and how many were left off."""
    if not items:
        return ""
    rest = [f"... and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return "".join(f"\n    {item}" for item in [*map(str, items[:SHOWN]), *rest])


def raise_fatal(problems: list[Problem], where: str) -> None:
    """Raise DatasetError if any problem is fatal, naming all that are."""
    fatal = [problem for problem in problems if problem.fatal]
    if fatal:
        raise DatasetError(f"{where} cannot be used as it is:\n" + "\n".join(f"- {problem}" for problem in fatal))
