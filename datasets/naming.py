"""What the names of pictures tell: identity, camera and time by a pattern that the user gives."""

from __future__ import annotations

import re
from typing import NamedTuple

from duoreid.core.errors import UserError
from duoreid.datasets.errors import Problem

GROUPS = ("identity", "camera", "time")
EXAMPLE = r"(?P<identity>\d+)_c(?P<camera>\d+)"


class Told(NamedTuple):
    """What a name tells; None for what it does not."""

    identity: str | None = None
    camera: str | None = None
    time: str | None = None


class Naming:
    """A regular expression with some of the named groups identity, camera and time, searched for in a path.

    >>> naming = Naming(r"(?P<identity>[a-z]+)_cam(?P<camera>[0-9]+)")
    >>> naming.told("monday/ann_cam07.jpg")
    Told(identity='ann', camera='07', time=None)
    >>> naming.tells("camera"), naming.tells("time")
    (True, False)
    """

    def __init__(self, pattern: str = "") -> None:
        """pattern: "" tells nothing. UserError where it is no regular expression or has none of the groups."""
        self.pattern = pattern
        try:
            self._expression = re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise UserError(
                f"the pattern {pattern!r} is no regular expression ({error}): expected one like {EXAMPLE!r}."
            ) from error
        groups = self._expression.groupindex
        wrong = [name for name in groups if name not in GROUPS]
        if pattern and (wrong or not groups):
            fault = f"the group {wrong[0]!r}" if wrong else "no named group"
            raise UserError(
                f"the pattern {pattern!r} has {fault}: name one or more of the groups identity, camera and time, "
                f"e.g. {EXAMPLE!r}."
            )
        self.missed: list[str] = []
        self.matched = 0

    def tells(self, what: str) -> bool:
        """Tell whether the pattern has this group."""
        return what in self._expression.groupindex

    def told(self, path: str) -> Told:
        """Return what a path tells; paths that do not match are kept in `missed`."""
        if not self.pattern:
            return Told()
        match = self._expression.search(path)
        if match is None:
            self.missed.append(path)
            return Told()
        self.matched += 1
        return Told(**{name: value or None for name, value in match.groupdict().items()})

    def problems(self) -> list[Problem]:
        """Return what to say of the paths that did not match: fatal where none did."""
        if not self.missed:
            return []
        fatal = not self.matched
        text = f"{len(self.missed)} of {len(self.missed) + self.matched} paths do not match the pattern "
        return [Problem("names", f"{text}{self.pattern!r}, so it tells nothing of them:", tuple(self.missed), fatal)]
