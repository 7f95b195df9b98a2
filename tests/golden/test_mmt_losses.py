"""The four losses of the public MMT code, values and gradients: the float64 oracle and both backends."""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest

from duoreid.core import losses
from tests.golden.numbers import arrays
from tests.tolerances import tolerance

NUMBERS = arrays("mmt/mmt-losses")
INPUTS = {"student", "teacher", "labels", "live"}
DTYPES = pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.long), np.float64])
"""A loss in float32 has a shorter test: tests/conformance holds it to the oracle, which is held to the numbers here."""


class Golden(NamedTuple):
    """One loss of one case. name: ours. options: of ours. two: takes the teacher's array. labelled: takes labels."""

    key: str
    name: str
    options: dict[str, float]
    two: bool
    labelled: bool

    @property
    def case(self) -> str:
        return self.key.rpartition("/")[0]

    def arrays(self, dtype: type) -> tuple[np.ndarray, ...]:
        names = ("student", "teacher") if self.two else ("student",)
        return tuple(NUMBERS[f"{self.case}/{name}"].astype(dtype) for name in names)

    @property
    def labels(self) -> np.ndarray | None:
        return NUMBERS[f"{self.case}/labels"] if self.labelled else None

    @property
    def classes(self) -> dict[str, int]:
        """The live columns of logits; triplet losses have none."""
        if not self.case.startswith("ce/"):
            return {}
        return {"classes": int(NUMBERS.get(f"{self.case}/live", NUMBERS[f"{self.case}/student"].shape[1]))}


def golden(key: str) -> Golden:
    """Return our form of a loss of the public code by its key in the file."""
    name, _, margin = key.rpartition("/")[2].partition("_")
    if key.startswith("ce/"):
        plain = name == "ce"
        return Golden(
            key,
            "cross_entropy" if plain else "soft_cross_entropy",
            {"smoothing": 0.1} if plain else {},
            not plain,
            plain,
        )
    if name == "soft":
        return Golden(key, "soft_softmax_triplet", {}, True, True)
    return Golden(key, {"softmax": "softmax_triplet", "hinge": "triplet"}[name], {"margin": float(margin)}, False, True)


KEYS = [key for key in NUMBERS if key.rpartition("/")[2] not in INPUTS and not key.endswith("_gradient")]
ONE_IDENTITY = "triplet/one-identity"
COMPARED = [golden(key) for key in KEYS if not key.startswith(ONE_IDENTITY)]
LOSSES = pytest.mark.parametrize("loss", COMPARED, ids=[loss.key for loss in COMPARED])


def check(loss: Golden, dtype: type, call: Callable[..., tuple[float, np.ndarray]]) -> None:
    """Raise AssertionError where a value or a gradient is not the public code's."""
    value, gradient = call(*loss.arrays(dtype), *([] if loss.labels is None else [loss.labels]))
    expected, slope = NUMBERS[loss.key], NUMBERS[f"{loss.key}_gradient"]
    kind = f"golden.mmt.loss.{np.dtype(dtype).name}"
    allowed = tolerance(f"{kind}.relative") * abs(expected) + tolerance(f"{kind}.absolute")
    assert abs(value - expected) <= allowed, f"{loss.key}: {value}, the public code has {expected}"
    assert gradient.shape == slope.shape
    assert np.abs(gradient - slope).max() <= tolerance(f"{kind}.absolute"), f"gradient of {loss.key}"


def of_backend(probe: ModuleType, loss: Golden) -> Callable[..., tuple[float, np.ndarray]]:
    def call(*inputs: np.ndarray) -> tuple[float, np.ndarray]:
        operands, labels = (inputs[:-1], inputs[-1]) if loss.labelled else (inputs, None)
        return probe.loss(loss.name, operands, labels, **loss.classes, **loss.options)

    return call


def test_every_array_of_the_file_is_used():
    used = {loss.key + end for loss in map(golden, KEYS) for end in ("", "_gradient")}
    used |= {f"{loss.case}/{name}" for loss in map(golden, KEYS) for name in INPUTS}
    assert set(NUMBERS) <= used
    assert len(KEYS) == 7 * 2 + 10 * 6


@LOSSES
def test_core(loss):
    check(loss, np.float64, lambda *inputs: getattr(losses, loss.name)(*inputs, **loss.classes, **loss.options))


@DTYPES
@LOSSES
def test_backend(probe, loss, dtype):
    check(loss, dtype, of_backend(probe, loss))


@pytest.mark.parametrize("key", [key for key in KEYS if key.startswith(ONE_IDENTITY)])
def test_one_identity(probe, key):
    """Ours is 0, and the public code's where 9999999, its distance to a negative that is not there, has no part."""
    loss = golden(key)
    expected, slope = NUMBERS[key], NUMBERS[f"{key}_gradient"]
    assert (expected == 0 and not slope.any()) or expected > 1e6
    assert expected == 0 or loss.options.get("margin") != 0
    for call in (of_backend(probe, loss), lambda *inputs: getattr(losses, loss.name)(*inputs, **loss.options)):
        value, gradient = call(*loss.arrays(np.float64), loss.labels)
        assert value == 0
        assert not gradient.any()
