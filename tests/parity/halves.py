"""The halves of a parity report of a small exam, as either backend records them, made once a session."""

from __future__ import annotations

from functools import cache

from duoreid.benchmarks.parity import halves
from duoreid.benchmarks.parity.compare import compare
from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.record import record
from duoreid.core.settings.config import as_dict
from tests.conftest import learner_of, probe_of

EXAM = Exam(size="32x16", identities=4, images=2, people=6, steps=3)


@cache
def seen(backend: str, precision: str = "float32", draws: int = 0):
    return record(
        EXAM,
        probe_of(backend),
        learner_of(backend, EXAM.learner, precision),
        precision=precision,
        steps=EXAM.steps,
        draws=draws,
    )


def half(name, single, double=None):
    """A half of records as `seen` returns them."""
    about = {"backend": name, "about": f"{name} for a test", "exam": as_dict(EXAM)}
    records = {"single": single} | ({"double": double} if double else {})
    return halves.join({part: (arrays, facts | about) for part, (arrays, facts) in records.items()})


@cache
def torch_half():
    return half("torch", seen("torch", draws=3), seen("torch", "float64", draws=1))


@cache
def mindspore_half():
    return half("mindspore", seen("mindspore"), seen("mindspore", "float64"))


@cache
def compared():
    """The two compared."""
    return compare(torch_half(), mindspore_half())
