"""Whole training runs in float64: torch and MindSpore stay equal to 1e-9, step after step.

test_one_step.py has the first of them, which takes less.
"""

from functools import cache

import numpy as np
import pytest

from tests.conformance.examples import MMT
from tests.parity.trajectories import Run, train
from tests.tolerances import check_close

STEPS, RELABEL_AT = 20, 12
"""How many, and before which the classifiers are replaced. The device halves of the other methods, source and baseline,
are parts of MMT's; `tests/conformance` holds each of them to float64."""

pytestmark = pytest.mark.long


@cache
def run(backend: str) -> Run:
    return train(backend, MMT, "float64", STEPS, relabel_at=RELABEL_AT)


def test_losses():
    torch, mindspore = run("torch"), run("mindspore")
    assert list(mindspore.losses) == list(torch.losses)
    for name, values in torch.losses.items():
        assert len(values) == STEPS
        assert np.ptp(values) > 0.05, f"{name} hardly moves"
        check_close("parity.float64", mindspore.losses[name], values, what=name)


def test_weights_teachers_statistics_and_moments():
    torch, mindspore = run("torch").state, run("mindspore").state
    assert mindspore.keys() == torch.keys()
    for name, value in torch.items():
        check_close("parity.float64", mindspore[name], value, what=name)


def test_embeddings():
    torch, mindspore = run("torch"), run("mindspore")
    check_close("parity.float64", mindspore.embedding, torch.embedding)


def test_the_comparison_notices_one_part_in_a_million():
    """20 steps of torch with a rate larger by 1e-6 are no longer equal: the tolerance is not slack."""
    other, base = train("torch", MMT, "float64", STEPS, relabel_at=RELABEL_AT, factor=1 + 1e-6), run("torch")
    with pytest.raises(AssertionError, match="differs by"):
        check_close("parity.float64", other.losses["total"], base.losses["total"])
    moved = 0
    for name, value in base.state.items():
        if name.endswith("conv1.weight"):
            with pytest.raises(AssertionError, match="differs by"):
                check_close("parity.float64", other.state[name], value)
            moved += 1
    assert moved >= 20
