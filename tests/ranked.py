"""`python -m tests.ranked BACKEND PRECISION FOLDER STEPS CASE...`: steps by processes that a launcher has started.

Each rank writes what it ends with, CASE.RANK.npz: its state, its losses, and the embedding of images in odd chunks.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.config import LearnerConfig
from core.learner import Batch
from core.ranks import together
from tests.conformance import examples, examples_mvd

RATE, EMA = 1e-3, 0.7
CHUNKS = (3, 3, 1)
FULL = examples_mvd.variant(dropout=0.5)
CASES: dict[str, LearnerConfig] = {
    "source": examples.SOURCE,
    "baseline": examples.BASELINE,
    "mmt": examples.MMT,
    "mvd": FULL,
}


def case(name: str, group: int = 0) -> LearnerConfig:
    """Return a configuration by name, with batch norm over groups of images."""
    config = CASES[name]
    return replace(config, network=replace(config.network, batch_norm_group=group))


def state_of(config: LearnerConfig) -> dict[str, np.ndarray]:
    """Return the state that the steps start from."""
    return (examples_mvd if config.method == "mvd" else examples).example_state(config)


def batch_of(config: LearnerConfig, step: int) -> Batch:
    """Return the batch of one step."""
    if config.method == "mvd":
        return examples_mvd.example_batch(config, step)
    return examples.example_batch(step, views=examples.views_of(config))


def run(learner: Any, config: LearnerConfig, steps: int) -> dict[str, np.ndarray]:
    """Do some steps; return the state, the losses of each step and the embedding."""
    learner.import_state(state_of(config))
    found = {}
    for step in range(steps):
        learner.step(batch_of(config, step), RATE, EMA)
        found |= {f"loss.{step}.{name}": np.float64(value) for name, value in learner.losses().items()}
    images = examples.example_batch(99).images[0]
    chunks = np.split(images[: sum(CHUNKS)], np.cumsum(CHUNKS)[:-1])
    return found | learner.export_state() | {"embedding": learner.embed(chunks)}


def main(backend: str, precision: str, folder: Path, steps: int, cases: list[str]) -> None:
    """Run the cases with as many ranks as the launcher has started."""
    entry = importlib.import_module(f"backends.{backend}.train").BACKEND
    runtime = entry.open_runtime(entry.runtime(device="cpu", precision=precision))
    make = together(entry.make_learner, runtime.ranks)
    for name in cases:
        name, _, group = name.partition("-")
        config = case(name, int(group or 0))
        found = run(make(config, runtime, 0), config, steps)
        np.savez(folder / f"{name}-{group}.{runtime.ranks.rank}.npz", **found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
