"""Which networks a method trains, which follow as mean teachers, and which embed."""

from __future__ import annotations

from dataclasses import dataclass

from duoreid.core.errors import unknown


@dataclass(frozen=True)
class Roles:
    """students: trained by the optimiser. teachers: teacher i is the exponential mean of student i.

    bottlenecks: each network also holds an information bottleneck, and may have channel attention; the learner's
    feature is one, of all networks together, instead of one of each.
    """

    students: tuple[str, ...]
    teachers: tuple[str, ...] = ()
    bottlenecks: bool = False

    @property
    def all(self) -> tuple[str, ...]:
        return self.students + self.teachers

    @property
    def embedders(self) -> tuple[str, ...]:
        """The networks whose features label and test: the teachers where there are any."""
        return self.teachers or self.students


ROLES = {
    "source": Roles(("student",)),
    "baseline": Roles(("student",)),
    "mmt": Roles(("student1", "student2"), ("teacher1", "teacher2")),
    "mvd": Roles(("visible", "infrared", "shared"), bottlenecks=True),
}


def roles(method: str) -> Roles:
    """Return the roles of a method; UserError names the known ones."""
    if method not in ROLES:
        raise unknown("method", method, ROLES)
    return ROLES[method]
