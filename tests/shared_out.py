"""`python -m tests.shared_out BACKEND FOLDER STEPS SPEC...`: steps by processes that a launcher has started.

SPEC: CASE/GROUP/PRECISION, GROUP being batch norm's. The first process writes CASE-GROUP-PRECISION.npz with its state,
its losses and the embedding of images in uneven chunks; every process writes the digest of what it has
into a file of its own: lines that two processes print at once can come in one another's middle.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints.files import digest
from duoreid.core.contract.learner import Batch
from duoreid.core.contract.processes import together
from duoreid.core.settings.config import LearnerConfig
from tests.conformance import examples, examples_mvd

RATE, EMA = 1e-3, 0.7
CHUNKS = (3, 3, 1)
SOURCE = replace(examples.SOURCE, network=examples.SHALLOW.network)
CASES = {"source": SOURCE, "baseline": examples.BASELINE, "mmt": examples.MMT, "mvd": examples_mvd.FULL}


def case(name: str, group: int) -> LearnerConfig:
    """Return a configuration by name, with batch norm over groups of images."""
    config = CASES[name]
    return replace(config, network=replace(config.network, batch_norm_group=group))


def run(learner: Any, config: LearnerConfig, steps: int) -> dict[str, np.ndarray]:
    """Do some steps from the examples' state; return the state, the losses of each step and the embedding."""
    made = examples_mvd if config.method == "mvd" else examples
    learner.import_state(made.example_state(config))
    arrays = {}
    for step in range(steps):
        if config.method == "mvd":
            batch: Batch = examples_mvd.example_batch(config, step)
        else:
            batch = examples.example_batch(step, views=examples.views_of(config))
        learner.step(batch, RATE, EMA)
        arrays |= {f"loss.{step}.{name}": np.float64(value) for name, value in learner.losses().items()}
    images = examples.example_batch(99).images[0, : sum(CHUNKS)]
    return arrays | learner.export_state() | {"embedding": learner.embed(np.split(images, np.cumsum(CHUNKS)[:-1]))}


def main(backend: str, folder: Path, steps: int, specs: list[str]) -> None:
    """Run the cases with as many processes as the launcher has started."""
    entry = importlib.import_module(f"duoreid.backends.{backend}.entry").BACKEND
    digests: dict[str, str] = {}
    for spec in specs:
        name, group, precision = spec.split("/")
        runtime = entry.open_runtime(entry.runtime(device="cpu", precision=precision))
        config = case(name, int(group))
        arrays = run(together(entry.make_learner, runtime.processes)(config, runtime, 0), config, steps)
        if not runtime.processes.index:
            np.savez(folder / f"{name}-{group}-{precision}.npz", **arrays)
        digests[spec] = digest(arrays)
        (folder / f"digests-{runtime.processes.index}.json").write_text(json.dumps(digests))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
