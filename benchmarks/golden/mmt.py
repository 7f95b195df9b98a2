"""The public MMT code's three trainers, replayed by a learner: from the same weights and pictures to the same numbers.

The inputs follow from names (`values.py`); what the public code computed from them lies in tests/golden/mmt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from duoreid.benchmarks.golden.values import digest, images, uniform, words
from duoreid.core.checkpoints.weights import canonical, recognise
from duoreid.core.contract.learner import Batch, Learner
from duoreid.core.contract.state import FIRST
from duoreid.core.methods.registry import spec_of
from duoreid.core.methods.schedules import ema_decay
from duoreid.core.settings.config import LearnerConfig, NetworkConfig

IDENTITIES, EACH, HEIGHT, WIDTH, FEATURES = 16, 6, 64, 32, 2048
P, K = 4, 4
RATE, DECAY = 3.5e-4, 5e-4
ARCHS = {"resnet50": NetworkConfig("resnet50", stem_relu=False), "resnet_ibn50a": NetworkConfig("resnet50_ibn_a")}
"""The networks by their names in the public code; its ResNet-50 has no ReLU in the stem."""

TRAINERS = {
    name: spec_of(method).learner_config(ARCHS["resnet50"], IDENTITIES, IDENTITIES, HEIGHT, WIDTH)
    for name, method in (("mmt", "mmt"), ("pretrain", "source"), ("baseline", "baseline"))
}
"""The learner of each of the public code's trainers, with ResNet-50."""

LOSSES = {
    "hard_ce": ("ce", "ce_1", "ce_2"),
    "hard_triplet": ("tri", "tri_1", "tri_2"),
    "soft_ce": ("soft_ce",),
    "soft_triplet": ("soft_tri",),
    "total": ("total",),
}
"""Our losses, and the terms of the public code that are summed in each."""


class Difference(NamedTuple):
    """How far one number, or one tensor's digest, lies from the public code's, in the unit of its kind.

    kind: "loss" (absolute), "gradient" and "weights" (of norm and of dot product, relative to the norm) or "embedding"
    (absolute). step: steps done when it was taken.
    """

    kind: str
    step: int
    what: str
    value: float


# Inputs


def first_weights(role: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the first value, float32, of a tensor of a network by the public code's name."""
    kind, x = name.rpartition(".")[2], uniform(f"{role}.{name}", shape)
    if name == "feat_bn.bias":
        x = np.zeros(shape)
    elif len(shape) > 1:
        x = x * np.sqrt(2.0 / np.prod(shape[1:]))
    elif kind in ("running_mean", "bias"):
        x = 0.1 * x
    elif kind == "running_var":
        x = 1.0 + 0.2 * x
    else:  # the gain of a norm; small at the end of a residual branch
        x = (0.3 if ".bn3." in name else 1.0) * (1.0 + 0.1 * x)
    return x.astype(np.float32)


def pool(view: str) -> np.ndarray:
    """Return the pictures uint8 (96, 64, 32, 3) of "view1", "view2" or "target"; picture i shows person i // 6."""
    return images(f"mmt-{view}", IDENTITIES * EACH, HEIGHT, WIDTH, per=EACH)


def rows(name: str, classes: int) -> np.ndarray:
    """Return the rows of a batch, int64 (16,): 4 of the first `classes` people, 4 pictures of each."""
    people = np.argsort(words(f"{name}/identities", classes), kind="stable")[:P]
    pictures = np.argsort(words(f"{name}/images", P * EACH).reshape(P, EACH), axis=1, kind="stable")[:, :K]
    return (people[:, None] * EACH + pictures).ravel()


def centroids(name: str, classes: int) -> np.ndarray:
    """Return float64 (classes, 2048), each row of length 1."""
    x = uniform(name, (classes, FEATURES))
    return x / np.sqrt((x * x).sum(axis=1, keepdims=True))


# Replays

MakeLearner = Callable[[LearnerConfig], Learner]


def replay(
    make_learner: MakeLearner, numbers: dict[str, Any], trainer: str, arch: str = "resnet50", *, steps: int = 10**9
) -> Iterator[Difference]:
    """Train as the public code did and yield the differences, up to `steps` steps.

    make_learner: configuration -> learner, in float64 for the differences to be rounding alone. numbers: the contents
    of mmt-trainer.json. trainer: one of TRAINERS. arch: one of ARCHS.
    """
    recorded, names = numbers[arch][trainer], _names(numbers[arch])
    learner = make_learner(replace(TRAINERS[trainer], network=ARCHS[arch]))
    learner.import_state(_first_state(learner, numbers[arch], trainer))
    if trainer == "mmt":
        yield from _embeddings(learner, recorded["embeddings_before"], 0)
    for done, (batch, expected, decay, centres) in enumerate(_plan(recorded, trainer)):
        if done == steps:
            return
        if centres is not None:
            learner.relabel(centres)
        before = learner.export_state() if not done else {}
        learner.step(batch, RATE, decay)
        yield from losses_apart(learner.losses(), expected, done + 1)
        if not done:
            yield from _gradients(before, learner.export_state(), recorded["first_step_gradients"], names)
        yield from _weights(learner, _after(recorded, trainer, done + 1), names, done + 1)
    if trainer == "mmt":
        yield from _embeddings(learner, recorded["embeddings_after"], done + 1)


class Step(NamedTuple):
    """One step of a trainer: its batch, the recorded losses, the teachers' decay, centroids set before it."""

    batch: Batch
    losses: dict[str, float]
    decay: float
    centroids: np.ndarray | None


def _plan(recorded: dict[str, Any], trainer: str) -> Iterator[Step]:
    if trainer == "mmt":
        yield from _plan_of_mmt(recorded["epochs"])
        return
    view, target = pool("view1"), pool("target")
    classes = IDENTITIES if trainer == "pretrain" else 12
    for index, losses in enumerate(recorded["steps"]):
        own = rows(f"pretrain/step{index}/source" if trainer == "pretrain" else f"baseline/step{index}", classes)
        views = [view[own]]
        if trainer == "pretrain":
            views.append(target[rows(f"pretrain/step{index}/target", IDENTITIES)])
        centres = centroids("centroids/baseline", classes) if trainer == "baseline" and not index else None
        yield Step(Batch(np.stack(views), (own // EACH).astype(np.int32)), losses, 0.0, centres)


def _plan_of_mmt(epochs: list[dict[str, Any]]) -> Iterator[Step]:
    first, second, done = pool("view1"), pool("view2"), 0
    for epoch in epochs:
        for index, (listed, losses) in enumerate(zip(epoch["rows"], epoch["steps"], strict=True)):
            own = rows(f"mmt/epoch{epoch['epoch']}/step{index}", epoch["classes"])
            if own.tolist() != listed:
                raise ValueError(f"rows of epoch {epoch['epoch']}, step {index}: {own.tolist()}, recorded are {listed}")
            decay = ema_decay(done)
            if abs(decay - losses["ema_decay"]) > 1e-15:
                raise ValueError(f"the teachers' decay at update {done} is {decay}, recorded is {losses['ema_decay']}")
            batch = Batch(np.stack([first[own], second[own]]), (own // EACH).astype(np.int32))
            centres = centroids(epoch["centroids"], epoch["classes"]) if not index else None
            yield Step(batch, losses, decay, centres)
            done += 1


def _after(recorded: dict[str, Any], trainer: str, done: int) -> dict[str, Any]:
    """Return the digests recorded after so many steps, none after most."""
    if trainer != "mmt":
        return recorded["after"] if done == len(recorded["steps"]) else {}
    if done == 3 and "after_3_steps" in recorded:
        return recorded["after_3_steps"]
    ends = np.cumsum([len(epoch["steps"]) for epoch in recorded["epochs"]]).tolist()
    return recorded["epochs"][ends.index(done)]["after"] if done in ends else {}


def _names(numbers: dict[str, Any]) -> dict[str, str]:
    """Return our name of each of the public code's tensors."""
    shapes = {name: np.empty(tensor["shape"], np.float32) for name, tensor in numbers["tensors"].items()}
    layout, named, _ = recognise(shapes, Path("mmt-trainer.json"), "resnet50")
    return {tensor.name: canonical(layout, name, shapes) for name, tensor in named}


def _ours(trainer_role: str) -> str:
    """Return our role of a network of the public code: its single network is our student."""
    return trainer_role if trainer_role[-1].isdigit() else "student"


def _first_state(learner: Learner, numbers: dict[str, Any], trainer: str) -> dict[str, np.ndarray]:
    """Return the learner's state, its optimiser at rest, with every tensor of every network as the public code had."""
    state, names = learner.export_state(), _names(numbers)
    for role in numbers[trainer]["first_step_gradients"] | numbers[trainer].get("embeddings_before", {}):
        for name, tensor in numbers["tensors"].items():
            state[f"{_ours(role)}.{names[name]}"] = first_weights(role, name, tuple(tensor["shape"]))
    return state


# Comparisons


def losses_apart(losses: dict[str, float], expected: dict[str, float], step: int) -> Iterator[Difference]:
    """Compare our losses with the sums of the public code's terms."""
    for name, value in losses.items():
        terms = [expected[term] for term in LOSSES[name] if term in expected]
        yield Difference("loss", step, name, abs(value - sum(terms)))


def _gradients(
    before: dict[str, np.ndarray], after: dict[str, np.ndarray], expected: dict[str, Any], names: dict[str, str]
) -> Iterator[Difference]:
    """Compare the first gradients, read from Adam's first moment: 0.1 (gradient + decay * weight).

    A gradient that is zero but for rounding (norm below 1e-9) has no direction and is left out.
    """
    for role, tensors in expected.items():
        for name, recorded in tensors.items():
            ours = f"{_ours(role)}.{names[name]}"
            gradient = after[FIRST + ours].astype(np.float64) / 0.1 - DECAY * before[ours].astype(np.float64)
            if recorded[0] > 1e-9:
                yield apart("gradient", 1, f"{role}.{name}.gradient", gradient, recorded)


def _weights(learner: Learner, expected: dict[str, Any], names: dict[str, str], step: int) -> Iterator[Difference]:
    """Compare every tensor of every network. Of the classifier the live rows: the others reach no loss."""
    state = learner.export_state() if expected else {}
    for role, tensors in expected.items():
        for name, recorded in tensors.items():
            whole, _, live = name.partition("[:")
            if whole == "classifier.weight" and f"{whole}[:{state['classes']}]" in tensors and not live:
                continue
            tensor = state[f"{_ours(role)}.{names[whole]}"]
            tensor = tensor[: int(live[:-1])] if live else tensor
            yield apart("weights", step, f"{role}.{name}", tensor, recorded)


def _embeddings(learner: Learner, expected: dict[str, Any], step: int) -> Iterator[Difference]:
    features = learner.embed([pool("target")[:8]])
    for (role, recorded), embedded in zip(expected.items(), features, strict=True):
        for index, row in enumerate(recorded):
            name = f"{role}.embedding.{index}"
            value = max(abs(a - b) for a, b in zip(digest(name, embedded[index]), row, strict=True))
            yield Difference("embedding", step, name, value)


def apart(kind: str, step: int, name: str, tensor: np.ndarray, recorded: list[float]) -> Difference:
    """Compare a tensor's norm and dot product with those recorded, relative to the norm."""
    norm, dot = digest(name, tensor)
    return Difference(kind, step, name, max(abs(norm - recorded[0]), abs(dot - recorded[1])) / max(recorded[0], 1e-30))
