"""Whole training runs in float64: torch and MindSpore stay equal to 1e-9, step after step."""

from functools import cache

import numpy as np
import pytest

from tests.conformance.examples import MMT, SOURCE
from tests.parity.trajectories import Run, train
from tests.tolerances import check_close

RUNS = {"mmt": (MMT, 20, 12), "source": (SOURCE, 6, 4)}
"""Configuration, steps, and the step before which the classifiers are replaced. The baseline's device half is the
source method's with one view."""


@cache
def run(backend: str, method: str) -> Run:
    config, steps, relabel_at = RUNS[method]
    return train(backend, config, "float64", steps, relabel_at=relabel_at)


METHODS = pytest.mark.parametrize("method", RUNS)


@METHODS
def test_losses(method):
    torch, mindspore = run("torch", method), run("mindspore", method)
    assert list(mindspore.losses) == list(torch.losses)
    for name, values in torch.losses.items():
        assert len(values) == RUNS[method][1]
        assert np.ptp(values) > 0.05, f"{name} hardly moves"
        check_close("parity.float64", mindspore.losses[name], values, what=name)


@METHODS
def test_weights_teachers_statistics_and_moments(method):
    torch, mindspore = run("torch", method).state, run("mindspore", method).state
    assert mindspore.keys() == torch.keys()
    for name, value in torch.items():
        check_close("parity.float64", mindspore[name], value, what=name)


@METHODS
def test_embeddings(method):
    torch, mindspore = run("torch", method), run("mindspore", method)
    check_close("parity.float64", mindspore.embedding, torch.embedding)


def test_the_comparison_notices_one_part_in_a_million():
    """20 steps of torch with a rate larger by 1e-6 are no longer equal: the tolerance is not slack."""
    other, base = train("torch", MMT, "float64", 20, relabel_at=12, factor=1 + 1e-6), run("torch", "mmt")
    with pytest.raises(AssertionError, match="differs by"):
        check_close("parity.float64", other.losses["total"], base.losses["total"])
    moved = 0
    for name, value in base.state.items():
        if name.endswith("conv1.weight"):
            with pytest.raises(AssertionError, match="differs by"):
                check_close("parity.float64", other.state[name], value)
            moved += 1
    assert moved >= 20
