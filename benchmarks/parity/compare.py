"""Two halves against each other and against the truth, in NumPy alone: a comparison, of checks each with its limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.parity import training
from duoreid.benchmarks.parity.comparison import BOTH, Check, Comparison, Curve, check, fixed, times
from duoreid.benchmarks.parity.halves import Half
from duoreid.benchmarks.parity.record import stages
from duoreid.benchmarks.parity.sampling import Arrays, relative, sample, together, under
from duoreid.benchmarks.parity.tolerances import TOLERANCES
from duoreid.core.losses.float64 import network as judge
from duoreid.core.settings.config import as_dict

LEAST = 1e-5
"""Of the whole gradient's norm: a tensor with less has, in truth, none (a bias whose effect the next norm removes)."""

FLOAT = {"single": "float32", "double": "float64"}
Halves, Errors, Checks = tuple[Half, Half], dict[str, float], Iterator[Check]
Layers = dict[str, list[judge.Stage]]
"""The layers that are looked at by mode."""


def compare(first: Half, second: Half) -> Comparison:
    """Return every check of two halves of the same exam; see report.py for the kinds' meaning."""
    exam, halves = first.exam, (first, second)
    layers, true = stages(exam), first.double or second.double
    raw, judged = ([gradient_errors(half, true, held=held) for half in halves] for held in (False, True))
    entries: list[Check | Curve] = [
        *chain.from_iterable(own(half, layers) for half in halves),
        *chain.from_iterable(map(alone, halves)),
        *from_truth(halves, layers),
        *losses(halves, true),
        *gradients(halves, raw, judged),
        *chain.from_iterable(map(compiled, halves, judged)),
        *embeddings(halves, true),
        *in_double(first.double, second.double),
        *training.in_single(exam, first.single, second.single, first.double),
    ]
    checks = [one for one in entries if isinstance(one, Check)]
    curves = [*totals(halves), *(one for one in entries if isinstance(one, Curve))]
    short = summary(checks, {half.backend: errors.get("all") for half, errors in zip(halves, raw, strict=True)})
    if "double" in short:
        short["double"]["equal"] = training.equal(first.double, second.double)
    about = as_dict(exam) | {"state": Path(exam.state).name, "words": exam.words}
    reasons = {name: TOLERANCES[name]._asdict() for one in checks for name in one.tolerances}
    return Comparison(about, [_about(half) for half in halves], checks, curves, short, reasons)


def _about(half: Half) -> dict[str, Any]:
    kept = ("precision", "steps", "draws", "seconds")
    parts = {part: {name: facts[name] for name in kept} for part, facts in half.facts.items()}
    switches = half.facts["single"].get("switches", [])
    return {"name": half.backend, "about": half.about, "parts": parts, "switches": switches}


def totals(halves: Halves) -> Iterator[Curve]:
    """The total loss of every step, in the first float64 that there is too."""
    runs = [("run", half.backend, half.single) for half in halves]
    runs += [("noise", half.backend, run) for half in halves for run in training.noisy(half.single)]
    runs += [("double", "", half.double) for half in halves if training.steps_of(half.double)][:1]
    for role, who, run in runs:
        values = {step: round(float(value), 6) for step, value in enumerate(run.get("curve/total", ()), start=1)}
        yield Curve("total", role, who, values)


def own(half: Half, layers: Layers) -> Checks:
    """What each layer adds to its own inputs' errors."""
    for precision, facts in half.facts.items():
        limit = fixed(f"parity.own.{FLOAT[precision]}")
        for mode, errors in facts["own"].items():
            where = {"precision": precision, "mode": mode}
            for stage in layers[mode]:
                error = errors.get(stage.name, float("inf"))
                yield check("own", stage.name, half.backend, error, limit, note=stage.rule, **where)


def alone(half: Half) -> Checks:
    """Losses by themselves, and what a step does to the weights."""
    for precision, facts in half.facts.items():
        for loss, errors in facts["losses"].items():
            transport = ".transport" if loss == "mutual_learning" else ""
            limit = fixed(f"parity.loss.{FLOAT[precision]}{transport}")
            for mode, error in errors.items():
                yield check("losses alone", loss, half.backend, error, limit, precision=precision, mode=mode)
        for rule, errors in facts["rules"].items():
            worst, limit = max(errors, key=errors.get), fixed(f"parity.rule.{FLOAT[precision]}")
            where = {"precision": precision, "note": f"as in benchmarks/parity/rules.py; worst in {worst}"}
            yield check("rules", rule, half.backend, errors[worst], limit, **where)


def beside(halves: Halves, errors: list[float], noise: list[float], floor: str, first: str, **where: Any) -> Checks:
    """Yield both halves' errors: at most a factor times the noise, `first` for the first half's, or a floor.

    noise: for each half, the error that its own is measured by: mostly the other's. where: what else a check says.
    """
    for half, error, alone, factor in zip(halves, errors, noise, (first, "parity.factor"), strict=True):
        yield check(who=half.backend, value=error, limit=times(alone, factor, floor), **where)


def from_truth(halves: Halves, layers: Layers) -> Checks:
    """Errors of outputs against the whole network in float64: what a layer adds and what it inherits."""
    missing = np.full(0, np.nan)
    for mode, listed in layers.items():
        true = judge.truth(listed, lambda _, value: sample(value))
        for stage in listed:
            outputs = [half.single.get(f"{mode}/{stage.name}", missing) for half in halves]
            errors = [relative(one, true[stage.name]) for one in outputs]
            where = {"kind": "layers", "name": stage.name, "mode": mode, "note": stage.rule}
            yield from beside(halves, errors, errors[::-1], f"parity.layer.{mode}", "parity.factor.first", **where)


def losses(halves: Halves, true: Arrays) -> Checks:
    """The losses of the first batch: apart, and from float64, {} for none."""
    by_half = [under(half.single, "loss/") for half in halves]
    size, limit = abs(float((true or halves[0].single)["loss/total"])), fixed("parity.losses.float32")
    for name, value in by_half[0].items():
        yield check("losses", name, BOTH, abs(float(by_half[1][name]) - float(value)) / size, limit)
        for half, one in zip(halves, by_half, strict=True) if true else ():
            error = abs(float(one[name]) - float(true[f"loss/{name}"])) / size
            yield check("losses", name, half.backend, error, limit)


def embeddings(halves: Halves, true: Arrays) -> Checks:
    """Embeddings of the test people in the starting state: apart, and from float64, {} for none."""
    pairs = [(BOTH, halves[1].single, halves[0].single)]
    pairs += [(half.backend, half.single, true) for half in halves if true]
    for who, arrays, expected in pairs:
        error = judge.distance(arrays["embedding/start"], expected["embedding/start"])
        yield check("embeddings", "embedding", who, error, fixed("parity.embedding.float32"), step=0)


def medians(pairs: Iterable[tuple[Arrays, Arrays]]) -> Errors:
    """Return by tensor, and for "all", the median over batches of gradients' L2 distances from others, relative."""
    distances: dict[str, list[float]] = {}
    for one, true in pairs:
        whole = together(true, true)
        least = LEAST * float(np.linalg.norm(whole))
        distances.setdefault("all", []).append(relative(together(one, true), whole))
        for tensor, value in true.items():
            distances.setdefault(tensor, []).append(relative(one[tensor], value, least))
    return {tensor: float(np.median(errors)) for tensor, errors in distances.items()}


def has_held(half: Half) -> bool:
    """Whether a half has gradients with float64's choices of ReLUs and pooled maxima (choices.py)."""
    return any(name.startswith("held/") for name in half.single)


def gradient_errors(half: Half, true: Arrays, *, held: bool) -> Errors:
    """Return the `medians` of a half's gradients from float64, {} without that. held: of those with its choices."""
    kind = "held" if held and has_held(half) else "gradient"
    batches = range(half.exam.batches if true else 0)
    return medians((under(half.single, f"{kind}/{k}/"), under(true, f"gradient/{k}/")) for k in batches)


def gradients(halves: Halves, raw: list[Errors], judged: list[Errors]) -> Checks:
    """Gradients of the total loss against float64: the whole, then tensor by tensor.

    One ReLU or pooled maximum that switches by rounding counts more than all other rounding, in either backend and by
    chance. So they are `judged` with float64's choices where a half has them so, and else by the median over batches:
    such a half is measured by the other's as they are, `raw`, which may have switched as well.
    """
    for tensor in judged[0]:
        noise = [(judged if has_held(halves[k]) else raw)[1 - k][tensor] for k in (0, 1)]
        errors, limits = [one[tensor] for one in judged], ("parity.gradient.floor", "parity.gradient.first")
        yield from beside(halves, errors, noise, *limits, kind="gradients", name=tensor)


def compiled(half: Half, judged: Errors) -> Checks:
    """Gradients of a compiled step beside those of the same operations one by one, which `gradients` judges.

    They may be as far apart as a few times what the latter are from float64.
    """
    pairs = [[under(half.single, f"{kind}/{k}/") for kind in ("gradient", "eager")] for k in range(half.exam.batches)]
    for tensor, apart in medians(pair for pair in pairs if pair[1]).items():
        limit = times(judged.get(tensor, 0.0), "parity.factor", "parity.gradient.compiled")
        yield check("compiled", tensor, half.backend, apart, limit)


def in_double(first: Arrays, second: Arrays) -> Iterator[Check | Curve]:
    """The two in float64: nothing but rounding of 1e-16 may lie between starting states; and training."""
    for start in ("test/", "train/", "loss/", "gradient/", "embedding/start"):
        distances = {n: judge.distance(second.get(n), np.asarray(v)) for n, v in first.items() if n.startswith(start)}
        if distances and second:
            worst, name = max(distances, key=distances.get), start.split("/")[0]
            where = {"precision": "double", "note": f"worst in {worst}"}
            yield check("start", name, BOTH, distances[worst], fixed("parity.double"), **where)
    yield from training.in_double(first, second)


def summary(checks: list[Check], raw: Errors) -> dict[str, Any]:
    """Return the few numbers that stand for the comparison; what was not measured is missing.

    embeddings: largest difference at the start. gradients: by backend, of the whole gradient from float64, as it is
    (raw) and as judged. double: steps in float64, the largest distance in them, and the largest that noise of rounding
    makes of one backend (None: not run); `compare` adds up to which step all are equal to 1e-8. single: steps in
    float32, how far losses have been apart, relative to the first, and how far rounding alone has led one backend.
    """
    double, single = ([one for one in checks if one[:2] == ("training", part)] for part in ("double", "single"))
    numbers: dict[str, Any] = {
        "embeddings": next(one.value for one in checks if (one.kind, one.who) == ("embeddings", BOTH)),
        "gradients": {
            one.who: [raw[one.who], one.value] for one in checks if (one.kind, one.name) == ("gradients", "all")
        },
        "checks": len(checks),
        "passed": sum(one.passed for one in checks),
    }
    if double:
        noise = [one.noise for one in double if one.noise is not None]
        apart = float(np.max([one.value for one in double]))
        numbers["double"] = {"steps": double[-1].step, "apart": apart, "noise": float(np.max(noise)) if noise else None}
    if single:
        last = [one for one in single if one.name == "losses"][-1]
        numbers["single"] = {"steps": last.step, "apart": last.value, "noise": last.noise}
    return numbers
