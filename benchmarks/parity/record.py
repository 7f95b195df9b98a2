"""What one backend sees in one precision: `python -m benchmarks.parity.record JOB.json OUT`, a process of its own.

A record is a safetensors file (core/checkpoints/files.py): samples of outputs, gradients and weights, curves and
embeddings, and beside them, as JSON, how far every layer, loss and rule is from what NumPy makes of the same inputs in
float64. No framework is needed to read it.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from duoreid.benchmarks.parity import choices, loss_cases, rules
from duoreid.benchmarks.parity.exam import BESIDE, Exam, disturbed
from duoreid.benchmarks.parity.sampling import WEIGHTS_LIMIT, Arrays, sample, under
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.commands.command import guarded
from duoreid.core.contract.learner import Learner
from duoreid.core.losses.float64 import network as judge
from duoreid.core.methods.pseudo_labels import average, centroids_of
from duoreid.core.networks.backbones import backbone
from duoreid.core.random import rng
from duoreid.core.settings.config import as_dict
from duoreid.core.settings.reading import from_dict

CHUNK = 32  # images embedded at once
MARKS = (1, 2, 3, 5, 7, 10, 14, 20, 30, 50, 70, 100, 140, 200, 300, 500, 700, 1000)
"""Steps after which the weights are looked at, and the last one."""

NOISE = {np.float32: 1e-7, np.float64: 2e-16}
"""Relative noise on the weights, of the size of their rounding."""


def record(
    exam: Exam, probe: ModuleType, learner: Learner, *, precision: str, steps: int, draws: int = 0, held: bool = False
) -> tuple[Arrays, dict[str, Any]]:
    """Return (arrays, facts) of a learner of exam.learner.

    steps: of training, 0 for none. draws: how many times more to train, from weights with noise of the precision. held:
    whether to take gradients with float64's choices too (choices.py).
    """
    dtype, began = np.float64 if precision == "float64" else np.float32, time.perf_counter()
    facts = {"precision": precision, "steps": steps, "draws": draws, "digest": exam.digest}
    arrays, facts["own"] = layer_by_layer(exam, probe, learner)
    facts["losses"] = loss_cases.errors(probe, loss_cases.cases(exam), dtype)
    samples, facts["rules"] = one_step(exam, probe, learner)
    learner.import_state(exam.start)
    arrays |= samples | {"embedding/start": learner.embed(chunks(exam.test.images))}
    if steps:
        arrays |= training(exam, learner, exam.start, steps)
        start = {name: value.astype(dtype) if np.ndim(value) else value for name, value in exam.start.items()}
        for draw in range(1, draws + 1):
            run = training(exam, learner, disturbed(start, draw, NOISE[dtype]), steps)
            arrays |= {f"noise{draw}/{name}": value for name, value in run.items()}
    if held:
        samples, facts["switches"] = choices.record(exam, probe, learner)
        arrays |= samples
    return arrays, facts | {"seconds": {"all": round(time.perf_counter() - began, 2)}}


def followed(exam: Exam) -> tuple[str, np.ndarray, np.ndarray | None]:
    """Return the network whose layers are looked at, its images uint8 (B, H, W, 3) and its noise for dropout."""
    batch, count = exam.batch(0), min(exam.layer_images, exam.mixed or exam.layer_images)
    return exam.spec.students[0], batch.images[0][:count], None if batch.noise is None else batch.noise[:count]


def stages(exam: Exam) -> dict[str, list[judge.Stage]]:
    """Return that network's layers, in the modes "test" and "train"."""
    role, images, noise = followed(exam)
    return {
        mode: judge.stages(exam.learner, under(exam.start, f"{role}."), images, noise, train=mode == "train")
        for mode in ("test", "train")
    }


def layer_by_layer(exam: Exam, probe: ModuleType, learner: Learner) -> tuple[Arrays, dict[str, dict[str, float]]]:
    """Return samples of every layer's output as MODE/LAYER, and by mode each layer's own error."""
    role, images, noise = followed(exam)
    arrays, own = {}, {}
    for mode, listed in stages(exam).items():
        learner.import_state(exam.start)
        outputs = probe.layers(learner, role, images, train=mode == "train", noise=noise)
        own[mode] = judge.own_errors(listed, outputs)
        arrays |= {f"{mode}/{stage.name}": sample(outputs[stage.name]) for stage in listed if stage.name in outputs}
    return arrays, own


def one_step(exam: Exam, probe: ModuleType, learner: Learner) -> tuple[Arrays, dict[str, dict[str, float]]]:
    """Return losses of the first batch, samples of gradients of some, and by rule how a step strays from formulas."""
    learner.import_state(rules.with_moments(exam.learner, exam.start, exam.seed))
    before = learner.export_state()
    losses, gradients = probe.gradients_of(learner, exam.batch(0))
    learner.import_state(before)
    learner.step(exam.batch(0), rules.RATES[exam.learner.optimiser], rules.EMA)
    learner.losses()
    errors = rules.step_errors(exam.learner, before, gradients, learner.export_state())
    if exam.spec.pseudo_labels:
        size = (exam.people, backbone(exam.network.arch).features)
        centroids = rng(exam.seed, "parity/centroids").standard_normal(size).astype(np.float32)
        learner.relabel(centroids)
        errors |= rules.relabel_errors(exam.learner, centroids, learner.export_state())
    arrays = {f"loss/{name}": np.float64(value) for name, value in losses.items()}
    for index in range(exam.batches):
        if index:
            learner.import_state(exam.start)
            _, gradients = probe.gradients_of(learner, exam.batch(index))
        arrays |= {f"gradient/{index}/{name}": sample(value) for name, value in gradients.items()}
    return arrays, errors


def training(exam: Exam, learner: Learner, state: Arrays, steps: int) -> Arrays:
    """Train from a state; return the losses of every step, samples of the weights at marks, embeddings at the end.

    Methods with pseudo-labels get new classifiers, the mean embeddings of the people, at the start and in the middle.
    """
    learner.import_state(state)
    learner.losses()
    arrays, curves, marks = _weights(0, state), {}, {*MARKS, steps}
    for step in range(steps):
        if step in (0, steps // 2) and exam.spec.pseudo_labels:
            features = average(learner.embed(chunks(exam.train.images)))
            learner.relabel(centroids_of(features, exam.train.split.identities))
        learner.step(exam.batch(step), *exam.rates(step))
        for name, value in learner.losses().items():
            curves.setdefault(name, []).append(value)
        if step + 1 in marks:
            arrays |= _weights(step + 1, learner.export_state())
    arrays |= {f"curve/{name}": np.array(values) for name, values in curves.items()}
    return arrays | {"embedding/end": learner.embed(chunks(exam.test.images))}


def _weights(step: int, state: Arrays) -> Arrays:
    names = [name for name, value in state.items() if np.ndim(value) and not name.startswith(BESIDE)]
    return {f"weights/{step}/{name}": sample(state[name], WEIGHTS_LIMIT) for name in names}


def chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield images uint8 (N, H, W, 3) a few at a time."""
    return (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))


def main(job: Path, out: Path) -> None:
    """Do a job: {"backend", "precision", "runtime", "exam", "steps", "draws"}."""
    given = json.loads(job.read_text())
    name, precision, exam = given["backend"], given["precision"], from_dict(Exam(), given["exam"])
    backend = importlib.import_module(f"duoreid.backends.{name}.entry").BACKEND
    probe = importlib.import_module(f"duoreid.backends.{name}.probe")
    options = from_dict(backend.runtime(), given["runtime"] | {"precision": precision})
    runtime = backend.open_runtime(options)
    probe.compute_on(options)
    learner = backend.make_learner(exam.learner, runtime, exam.seed)
    held = precision == "float32" and not getattr(options, "compile", False)
    counts = {"steps": given["steps"], "draws": given["draws"]}
    arrays, facts = record(exam, probe, learner, precision=precision, held=held, **counts)
    checkpoint.save(out, arrays, facts | {"backend": name, "about": backend.about(runtime), "exam": as_dict(exam)})


if __name__ == "__main__":
    import duoreid.benchmarks.parity.record as module

    sys.exit(guarded(lambda: module.main(Path(sys.argv[1]), Path(sys.argv[2]))))
