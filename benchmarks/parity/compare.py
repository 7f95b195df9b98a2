"""Two halves against each other and against the truth, in NumPy alone: a list of checks, each with its limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from duoreid.benchmarks.parity import doubles, judge, trajectories
from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.halves import Arrays, Half
from duoreid.benchmarks.parity.record import MODES, followed
from duoreid.benchmarks.parity.sampling import relative, sample, together
from duoreid.benchmarks.parity.tolerances import TOLERANCES


class Check(NamedTuple):
    """One number with its limit. part: of the report. what: layer, loss, tensor or step. who: the backend, or both.

    rule: what should have been computed, in words. tolerance: the entries of tolerances.py that give the limit.
    """

    part: str
    what: str
    who: str
    value: float
    limit: float
    tolerance: str
    rule: str = ""

    @property
    def passed(self) -> bool:
        return bool(self.value <= self.limit)  # False for NaN


LEAST = 1e-5
"""Of the whole gradient's norm: a tensor with less has, in truth, none (a bias whose effect the next norm removes)."""

BOTH = "apart"
"""`who` of a distance between the two."""


def compare(first: Half, second: Half) -> list[Check]:
    """Return every check of two halves of the same exam; see report.py for the parts' meaning."""
    exam, halves = first.exam, (first, second)
    listed = stages(exam)
    checks = [check for half in halves for check in own(half, listed)]
    checks += [check for half in halves for check in alone(half)]
    checks += layers(halves, listed)
    checks += losses(halves)
    checks += gradients(halves)
    checks += compiled(halves)
    checks += embeddings(halves)
    if first.double and second.double:
        checks += double(halves)
    for name, value, limit, tolerance in trajectories.distances(exam, first.single, second.single, first.double):
        checks.append(Check("training", name, BOTH, value, limit, tolerance))
    return checks


def stages(exam: Exam) -> dict[str, list[judge.Stage]]:
    """Return the layers that were looked at, by mode."""
    role, images, noise = followed(exam)
    tensors = {n.removeprefix(f"{role}."): v for n, v in exam.start.items() if n.startswith(f"{role}.")}
    return {mode: judge.stages(exam.learner, tensors, images, noise, train=train) for mode, train in MODES.items()}


def value_of(name: str) -> float:
    """Return a tolerance."""
    return TOLERANCES[name].value


def own(half: Half, listed: dict[str, list[judge.Stage]]) -> Iterator[Check]:
    """What each layer adds to its own inputs' errors."""
    for part, facts in half.facts.items():
        name = f"parity.own.{'float64' if part == 'double' else 'float32'}"
        for mode, errors in facts["own"].items():
            for stage in listed[mode]:
                error = errors.get(stage.name, float("inf"))
                yield Check(
                    f"own, {part}", f"{mode}, {stage.name}", half.backend, error, value_of(name), name, stage.rule
                )


def alone(half: Half) -> Iterator[Check]:
    """Losses by themselves, and what a step does to the weights."""
    for part, facts in half.facts.items():
        kind = "float64" if part == "double" else "float32"
        for loss, error in facts["losses"].items():
            name = f"parity.loss.{kind}" + (".transport" if loss.startswith("mutual_learning") else "")
            yield Check(f"losses alone, {part}", loss, half.backend, error, value_of(name), name, "core/losses")
        for rule, errors in facts["rules"].items():
            name = f"parity.rule.{kind}"
            worst = max(errors, key=errors.get)
            text = f"benchmarks/parity/rules.py; worst in {worst}"
            yield Check(f"rules, {part}", rule, half.backend, errors[worst], value_of(name), name, text)


def _against(
    part: str,
    what: str,
    names: tuple[str, str],
    errors: tuple[float, float],
    floor: str,
    rule: str = "",
    measures: tuple[float, float] | None = None,
    first: str = "parity.factor.first",
) -> list[Check]:
    """The second of two errors from the truth is at most a factor beyond the first, the first at most a wider one.

    measures: what the other one is measured by, where it is not its error. first: that wider factor.
    """
    factors = (first, "parity.factor")
    others = (measures or errors)[::-1]
    return [
        Check(part, what, name, own, max(value_of(factor) * other, value_of(floor)), f"{factor}, {floor}", rule)
        for name, own, other, factor in zip(names, errors, others, factors, strict=True)
    ]


def layers(halves: tuple[Half, Half], listed: dict[str, list[judge.Stage]]) -> list[Check]:
    """Errors of outputs against the whole network in float64: what a layer adds and what it inherits."""
    names, checks = (halves[0].backend, halves[1].backend), []
    for mode, chosen in listed.items():
        true = judge.truth(chosen, lambda name, value: sample(value))
        for stage in chosen:
            key = f"{mode}/{stage.name}"
            missing = np.full(0, np.nan)
            errors = tuple(relative(half.single.get(key, missing), true[stage.name]) for half in halves)
            checks += _against("layers", f"{mode}, {stage.name}", names, errors, f"parity.layer.{mode}", stage.rule)
    return checks


def signs(half: Half, listed: dict[str, list[judge.Stage]]) -> dict[str, tuple[int, int]]:
    """Return by mode how many of the sampled outputs of norms have another sign than in float64, and of how many.

    A ReLU behind such a number lets through what it should stop, or the other way round.
    """
    found = {}
    for mode, chosen in listed.items():
        true = judge.truth(chosen, lambda name, value: sample(value))
        names = [s.name for s in chosen if f"{mode}/{s.name}" in half.single and s.name.split(".")[-1].startswith("bn")]
        same = [half.single[f"{mode}/{name}"].shape == true[name].shape for name in names]
        kept = [name for name, fits in zip(names, same, strict=True) if fits]
        wrong = sum(int(((half.single[f"{mode}/{name}"] > 0) != (true[name] > 0)).sum()) for name in kept)
        found[mode] = wrong, sum(true[name].size for name in kept)
    return found


def _truth(halves: tuple[Half, Half]) -> Arrays:
    """The float64 record that gradients and losses are judged by: the first half's, or the second's."""
    return halves[0].double or halves[1].double


def losses(halves: tuple[Half, Half]) -> list[Check]:
    """The losses of the first batch: apart, and from float64."""
    first, second = (half.single for half in halves)
    true, checks = _truth(halves), []
    size = abs(float((true or first)["loss/total"]))
    for name in [name for name in first if name.startswith("loss/")]:
        what, limit = name.removeprefix("loss/"), "parity.losses.float32"
        apart = abs(float(second[name]) - float(first[name])) / size
        checks.append(Check("losses", what, BOTH, apart, value_of(limit), limit))
        for half in halves if true else ():
            error = abs(float(half.single[name]) - float(true[name])) / size
            checks.append(Check("losses", what, half.backend, error, value_of(limit), limit))
    return checks


def gradient_errors(halves: tuple[Half, Half], *, held: bool) -> dict[str, tuple[float, float]]:
    """Return by tensor, and for "all", both halves' L2 distances of the gradients from float64: medians over batches.

    held: with float64's choices of ReLUs and pooled maxima, where a half has such gradients (switches.py).
    """
    true = _truth(halves)
    tensors = [name.removeprefix("gradient/0/") for name in true if name.startswith("gradient/0/")]
    found: dict[str, list[list[float]]] = {}
    for index in range(halves[0].exam.batches if true else 0):
        names = {tensor: f"gradient/{index}/{tensor}" for tensor in tensors}
        whole = together(true, names.values())
        least = LEAST * float(np.linalg.norm(whole))
        both = [{n: _gradient(half.single, n, held) for n in names.values()} for half in halves]
        rows = {"all": [relative(together(one, names.values()), whole) for one in both]}
        rows |= {tensor: [relative(one[name], true[name], least) for one in both] for tensor, name in names.items()}
        for tensor, errors in rows.items():
            found.setdefault(tensor, []).append(errors)
    middle = {tensor: np.median(errors, axis=0).tolist() for tensor, errors in found.items()}
    return {tensor: (first, second) for tensor, (first, second) in middle.items()}


def _gradient(single: Arrays, name: str, held: bool) -> np.ndarray:
    return single.get(name.replace("gradient/", "held/", 1), single[name]) if held else single[name]


def gradients(halves: tuple[Half, Half]) -> list[Check]:
    """Gradients of the total loss against float64: the whole, then tensor by tensor.

    One ReLU or pooled maximum that switches by rounding counts more than all other rounding, in either backend and by
    chance. So they are taken with float64's choices where a half has them so, and else by the median over batches: such
    a half is measured by the other's as they are, which may have switched as well.
    """
    names, raw = (halves[0].backend, halves[1].backend), gradient_errors(halves, held=False)
    bare = [not any(name.startswith("held/") for name in half.single) for half in halves]
    checks = []
    for tensor, errors in gradient_errors(halves, held=True).items():
        measures = tuple(raw[tensor][k] if bare[1 - k] else errors[k] for k in (0, 1))
        checks += _against(
            "gradients",
            tensor,
            names,
            errors,
            "parity.gradient.floor",
            measures=measures,
            first="parity.gradient.first",
        )
    return checks


def compiled(halves: tuple[Half, Half]) -> Iterator[Check]:
    """Gradients of a compiled step beside those of the same operations one by one, which `gradients` judges.

    They may be as far apart as a few times what the latter are from float64.
    """
    judged, names = gradient_errors(halves, held=True), "parity.factor, parity.gradient.compiled"
    for k, half in enumerate(halves):
        for tensor, apart in _from_one_by_one(half).items():
            error = judged[tensor][k] if tensor in judged else 0.0
            limit = max(value_of("parity.factor") * error, value_of("parity.gradient.compiled"))
            yield Check("compiled", tensor, half.backend, apart, limit, names)


def _from_one_by_one(half: Half) -> dict[str, float]:
    """Return by tensor, and for "all", medians of the distances; empty where no gradients were taken one by one."""
    found: dict[str, list[float]] = {}
    for index in range(half.exam.batches):
        prefix = f"eager/{index}/"
        tensors = [name.removeprefix(prefix) for name in half.single if name.startswith(prefix)]
        if tensors:
            one, step = (
                {tensor: half.single[f"{kind}/{index}/{tensor}"] for tensor in tensors}
                for kind in ("eager", "gradient")
            )
            whole = together(one, tensors)
            least = LEAST * float(np.linalg.norm(whole))
            found.setdefault("all", []).append(relative(together(step, tensors), whole))
            for tensor in tensors:
                found.setdefault(tensor, []).append(relative(step[tensor], one[tensor], least))
    return {tensor: float(np.median(errors)) for tensor, errors in found.items()}


def embeddings(halves: tuple[Half, Half]) -> list[Check]:
    """Embeddings of the test people in the starting state: apart, and from float64."""
    name, true = "parity.embedding.float32", _truth(halves)
    first, second = (half.single["embedding/start"] for half in halves)
    checks = [Check("embeddings", "start", BOTH, judge.distance(second, first), value_of(name), name)]
    for half in halves if true else ():
        error = judge.distance(half.single["embedding/start"], true["embedding/start"])
        checks.append(Check("embeddings", "start", half.backend, error, value_of(name), name))
    return checks


DOUBLE = {
    "test/": "layers in test mode",
    "train/": "layers in training",
    "loss/": "losses of the first batch",
    "gradient/": "gradients",
    "embedding/start": "embeddings at the start",
}
"""Groups of arrays of the starting state by how their names begin."""


def double(halves: tuple[Half, Half]) -> Iterator[Check]:
    """The two in float64: nothing but rounding of 1e-16 may lie between them, and what training makes of it."""
    first, second = (half.double for half in halves)
    for start, words in DOUBLE.items():
        names = [name for name in first if name.startswith(start)]
        if names:
            found = {name: judge.distance(second.get(name), np.asarray(first[name])) for name in names}
            worst = max(found, key=found.get)
            yield Check("double", words, BOTH, found[worst], value_of("parity.double"), "parity.double", worst)
    for name, value, limit, tolerance in doubles.distances(first, second):
        yield Check("double", name, BOTH, value, limit, tolerance)
