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
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from duoreid.benchmarks.parity import judge, loss_cases, rules, switches
from duoreid.benchmarks.parity.exam import Exam, disturbed
from duoreid.benchmarks.parity.sampling import WEIGHTS_LIMIT, sample
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.commands.command import guarded
from duoreid.core.commands.options import from_dict
from duoreid.core.contract.learner import Learner
from duoreid.core.methods.pseudo_labels import average, centroids_of
from duoreid.core.networks.architectures import architecture
from duoreid.core.random import rng
from duoreid.core.settings.config import as_dict

MODES = {"test": False, "train": True}
CHUNK = 32  # images embedded at once
NOISE = {np.float32: 1e-7, np.float64: 2e-16}
"""Relative noise on the weights, of the size of their rounding."""

Arrays = dict[str, np.ndarray]


def record(
    exam: Exam, probe: ModuleType, learner: Learner, *, precision: str, steps: int, draws: int = 0
) -> tuple[Arrays, dict[str, Any]]:
    """Return (arrays, facts) of a learner of exam.learner.

    steps: of training, 0 for none. draws: how many times more to train, from weights with noise of the precision.
    """
    dtype = np.float64 if precision == "float64" else np.float32
    arrays, facts, seconds = {}, {"precision": precision, "steps": steps, "draws": draws}, {}
    with _timed(seconds, "layers"):
        found, facts["own"] = layer_by_layer(exam, probe, learner)
        arrays.update(found)
    with _timed(seconds, "losses"):
        chosen = loss_cases.cases(exam.learner, exam.identities, exam.images, architecture(exam.network.arch).features)
        facts["losses"] = loss_cases.errors(probe, chosen, dtype)
    with _timed(seconds, "step"):
        found, facts["rules"] = one_step(exam, probe, learner)
        arrays.update(found)
    with _timed(seconds, "embedding"):
        learner.import_state(exam.start)
        arrays["embedding/start"] = learner.embed(chunks(exam.test.images))
    if steps:
        with _timed(seconds, "training"):
            arrays.update(training(exam, learner, exam.start, steps))
    for draw in range(draws if steps else 0):
        with _timed(seconds, f"noise {draw + 1}"):
            start = {name: value.astype(dtype) if np.ndim(value) else value for name, value in exam.start.items()}
            found = training(exam, learner, disturbed(start, draw + 1, NOISE[dtype]), steps)
            arrays.update({f"noise{draw + 1}/{name}": value for name, value in found.items()})
    return arrays, facts | {"seconds": seconds, "digest": exam.digest}


def followed(exam: Exam) -> tuple[str, np.ndarray, np.ndarray | None]:
    """Return the network whose layers are looked at, its images uint8 (B, H, W, 3) and its noise for dropout."""
    batch, count = exam.batch(0), exam.layer_images
    return exam.roles.students[0], batch.images[0][:count], None if batch.noise is None else batch.noise[:count]


def layer_by_layer(exam: Exam, probe: ModuleType, learner: Learner) -> tuple[Arrays, dict[str, dict[str, float]]]:
    """Return samples of every layer's output as MODE/LAYER, and by mode each layer's own error."""
    role, images, noise = followed(exam)
    prefix = f"{role}."
    tensors = {name.removeprefix(prefix): v for name, v in exam.start.items() if name.startswith(prefix)}
    arrays, own = {}, {}
    for mode, train in MODES.items():
        learner.import_state(exam.start)
        outputs = probe.layers(learner, role, images, train=train, noise=noise)
        listed = judge.stages(exam.learner, tensors, images, noise, train=train)
        own[mode] = judge.own_errors(listed, outputs)
        arrays.update(
            {f"{mode}/{stage.name}": sample(outputs[stage.name]) for stage in listed if stage.name in outputs}
        )
    return arrays, own


def one_step(exam: Exam, probe: ModuleType, learner: Learner) -> tuple[Arrays, dict[str, dict[str, float]]]:
    """Return losses of the first batch, samples of gradients of some, and by rule how a step strays from formulas."""
    before = rules.with_moments(exam.start, exam.seed)
    learner.import_state(before)
    before = learner.export_state()
    losses, gradients = probe.gradients_of(learner, exam.batch(0))
    learner.import_state(before)
    learner.step(exam.batch(0), rules.RATE, rules.EMA)
    learner.losses()
    found = rules.step_errors(exam.learner, before, gradients, learner.export_state())
    if not exam.roles.bottlenecks:
        size = (exam.people, architecture(exam.network.arch).features)
        centroids = rng(exam.seed, "parity/centroids").standard_normal(size).astype(np.float32)
        learner.relabel(centroids)
        found |= rules.relabel_errors(exam.learner, centroids, learner.export_state())
    arrays = {f"loss/{name}": np.float64(value) for name, value in losses.items()}
    arrays |= {f"gradient/0/{name}": sample(value) for name, value in gradients.items()}
    for index in range(1, exam.batches):
        learner.import_state(exam.start)
        _, gradients = probe.gradients_of(learner, exam.batch(index))
        arrays |= {f"gradient/{index}/{name}": sample(value) for name, value in gradients.items()}
    return arrays, found


def training(exam: Exam, learner: Learner, state: Arrays, steps: int) -> Arrays:
    """Train from a state; return the losses of every step, samples of the weights at marks, embeddings at the end.

    Methods with pseudo-labels get new classifiers, the mean embeddings of the people, at the start and in the middle.
    """
    learner.import_state(state)
    learner.losses()
    arrays, curves, marks = _weights(0, state), {}, exam.marks(steps)
    for step in range(steps):
        if step in (0, steps // 2) and not exam.roles.bottlenecks:
            people = exam.host.target
            features = average(learner.embed(chunks(people.images)))
            learner.relabel(centroids_of(features, people.split.identities))
        learner.step(exam.batch(step), *exam.rates(step))
        for name, value in learner.losses().items():
            curves.setdefault(name, []).append(value)
        if step + 1 in marks:
            arrays.update(_weights(step + 1, learner.export_state()))
    arrays.update({f"curve/{name}": np.array(values) for name, values in curves.items()})
    return arrays | {"embedding/end": learner.embed(chunks(exam.test.images))}


def _weights(step: int, state: Arrays) -> Arrays:
    names = [name for name, value in state.items() if np.ndim(value) and not name.startswith("adam.")]
    return {f"weights/{step}/{name}": sample(state[name], WEIGHTS_LIMIT) for name in names}


def chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield images uint8 (N, H, W, 3) a few at a time."""
    return (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note how long a block took."""
    began = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - began, 2)


def main(job: Path, out: Path) -> None:
    """Do a job: {"backend", "precision", "runtime", "exam", "steps", "draws"}."""
    given = json.loads(job.read_text())
    exam = from_dict(Exam(), given["exam"])
    backend = importlib.import_module(f"duoreid.backends.{given['backend']}.entry").BACKEND
    probe = importlib.import_module(f"duoreid.backends.{given['backend']}.probe")
    options = from_dict(backend.runtime(), given["runtime"] | {"precision": given["precision"]})
    runtime = backend.open_runtime(options)
    probe.compute_on(options)
    learner = backend.make_learner(exam.learner, runtime, exam.seed)
    arrays, facts = record(
        exam, probe, learner, precision=given["precision"], steps=given["steps"], draws=given["draws"]
    )
    if given["precision"] == "float32" and not getattr(options, "compile", False):
        with _timed(facts["seconds"], "gradients with float64's choices"):
            found, facts["switches"] = switches.record(exam, given["backend"], learner)
        arrays |= found
    about = {"backend": given["backend"], "about": backend.about(runtime), "exam": as_dict(exam)}
    checkpoint.save(out, arrays, facts | about)


if __name__ == "__main__":
    import duoreid.benchmarks.parity.record as module

    sys.exit(guarded(lambda: module.main(Path(sys.argv[1]), Path(sys.argv[2]))))
