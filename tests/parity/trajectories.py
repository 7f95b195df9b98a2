"""Short training runs of either backend on the same bytes, and what is kept of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from duoreid.core.methods.schedules import ema_decay
from duoreid.core.random import rng
from duoreid.core.settings.config import LearnerConfig
from tests.conformance.examples import example_batch, example_state, fresh, views_of
from tests.conftest import learner_of

RATE = 3.5e-4


class Run(NamedTuple):
    """losses: by name, one number a step. embedding: (M, N, D) of images that were not trained on."""

    losses: dict[str, np.ndarray]
    embedding: np.ndarray
    state: dict[str, np.ndarray]


def train(
    backend: str,
    config: LearnerConfig,
    precision: str,
    steps: int,
    *,
    state: dict[str, np.ndarray] | None = None,
    first: int = 0,
    factor: float = 1.0,
    relabel_at: int | None = None,
) -> Run:
    """Train from a state (default: the example's, with a fresh optimiser) on four batches in turn, step `first` first.

    factor: multiplies the rate. relabel_at: the step before which the mean embeddings of the batch's identities
    become the classifiers.
    """
    learner = learner_of(backend, config, precision)
    learner.import_state(fresh(example_state(config)) if state is None else state)
    history: dict[str, list[float]] = {}
    for step in range(first, first + steps):
        batch = example_batch(step % 4, views=views_of(config))
        if step == relabel_at:
            embedding = learner.embed([batch.images[0]]).mean(axis=0)
            learner.relabel(np.stack([embedding[start : start + 2].sum(axis=0) for start in range(7)]))
        learner.step(batch, factor * RATE * (1 + step % 2), ema_decay(step))
        for name, value in learner.losses().items():
            history.setdefault(name, []).append(value)
    embedding = learner.embed([example_batch(1000).images[0]])
    return Run({name: np.array(values) for name, values in history.items()}, embedding, learner.export_state())


def noisy(state: dict[str, np.ndarray], draw: int, size: float = 1e-7) -> dict[str, np.ndarray]:
    """Return the state with its weights multiplied by 1 + size times a standard normal."""
    moved = dict(state)
    for name, value in state.items():
        if not name.startswith("adam.") and ".running_" not in name and np.ndim(value):
            noise = size * rng(draw, f"noise/{name}").standard_normal(value.shape)
            moved[name] = (value * (1 + noise)).astype(value.dtype)
    return moved
