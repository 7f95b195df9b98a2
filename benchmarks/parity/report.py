"""The comparison as text and as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.parity import doubles, explanations, trajectories
from duoreid.benchmarks.parity.compare import BOTH, Check, gradient_errors, signs, stages
from duoreid.benchmarks.parity.halves import Half
from duoreid.benchmarks.parity.tolerances import TOLERANCES
from duoreid.core.networks.architectures import architecture
from duoreid.core.settings.config import as_dict
from duoreid.core.training.tables import table

PARTS = {
    "losses alone, single": "Losses by themselves in training's precision, on drawn inputs, beside NumPy in float64.",
    "losses alone, double": "The same in float64.",
    "rules, single": "What one step does to the weights, beside NumPy in float64 given the backend's own gradients.",
    "rules, double": "The same in float64.",
    "losses": "Losses of the first batch through the whole networks: from float64, and apart; relative to the total.",
    "gradients": "Gradients of the total loss: L2 distance from float64 relative to its norm, median over batches.",
    "compiled": "Gradients of the compiled step, beside the same operations one by one, which are judged above: median "
    "over batches.",
    "embeddings": "Embeddings of the test people in the starting state: largest difference.",
    "double": "Both backends in float64, step for step: the same algorithms leave rounding apart, and what training "
    "makes of it. Limits beyond 1e-8: from a backend's own runs with 2e-16 of noise on the weights.",
    "training": "Training in float32: how far the two are apart. Limits: from what rounding alone does to one backend, "
    "which is run from weights with 1e-7 of noise, and beside its own float64.",
}
"""Parts behind the layers, in the order of the report."""

LAYERS = """Layer by layer. own: what the layer adds, its output beside NumPy in float64 given its own inputs, relative
to the largest number. truth: what has added up, L2 distance from the whole network in float64."""


def text(first: Half, second: Half, checks: Sequence[Check], *, every: bool = False) -> str:
    """Return the report. every: a line for each layer and tensor; else the worst of each block of a deep network."""
    deep = not every and sum(architecture(first.exam.network.arch).depths) > 8
    names = (first.backend, second.backend)
    lines = [*heading(first, second), "", LAYERS, "", _layers(names, checks, deep)]
    lines += ["", *_reasons([c for c in checks if c.part.startswith(("own", "layers"))])]
    lines += ["", *in_double(checks), *switched(first, second)]
    for part, words in PARTS.items():
        chosen = [check for check in checks if check.part == part]
        if chosen:
            more = held(first, second) if part == "gradients" else equal(first, second) if part == "double" else []
            lines += [
                "",
                words,
                *more,
                "",
                _pivot(chosen, names, deep and part in ("gradients", "compiled")),
                "",
                *_reasons(chosen),
            ]
    if not any(check.part == "training" for check in checks):
        lines += ["", "Training is not judged: no disturbed run (--envelope) and no float64 run of as many steps."]
    cpu = all("CPU" in half.about for half in (first, second))
    lines += ["", *explanations.farther(names, checks, cpu=cpu), "", *short(summary(first, second, checks))]
    return "\n".join([*lines, "", *verdict(checks)])


def heading(first: Half, second: Half) -> list[str]:
    """Return what was compared, on what, and how long it took."""
    exam = first.exam
    settings = f"{exam.method}, {exam.network.arch} at {exam.size}, batches of {exam.identities} x {exam.each}"
    lines = [f"Parity of {first.backend} and {second.backend}: {settings}, seed {exam.seed}"]
    for half in (first, second):
        for facts in half.facts.values():
            noise = f" and {facts['draws']} times with noise" if facts["draws"] else ""
            seconds = sum(facts["seconds"].values())
            lines.append(f"  {half.about}, {facts['precision']}: {facts['steps']} steps{noise}, {seconds:.0f} s")
    if not (first.double or second.double):
        lines.append("  no float64 record: gradients and losses have no judge")
    elif not (first.double and second.double):
        lines.append(f"  judge of gradients and losses: {(first if first.double else second).about} in float64")
    return lines


def in_double(checks: Sequence[Check]) -> list[str]:
    """Return the largest error that a layer adds by itself in float64, of each backend."""
    chosen = [check for check in checks if check.part == "own, double"]
    worst = {check.who: check for check in sorted(chosen, key=lambda check: check.value)}
    lines = [f"  {who}: {check.value:.1e} in {check.what}" for who, check in worst.items()]
    return ["Largest error that a layer adds by itself in float64:", *lines, ""] if lines else []


def switched(first: Half, second: Half) -> list[str]:
    """Return how many numbers before ReLUs have another sign than in float64: each is a jump in the gradients."""
    listed, lines = stages(first.exam), ["Numbers behind norms whose sign is not that of float64, among those sampled:"]
    for half in (first, second):
        found = ", ".join(f"{wrong} of {count} in {mode}" for mode, (wrong, count) in signs(half, listed).items())
        lines.append(f"  {half.backend}: {found}")
    return lines


def held(first: Half, second: Half) -> list[str]:
    """Return which choices rounding has switched in a half whose gradients were taken with float64's choices."""
    lines = []
    for half in (first, second):
        for index, found in enumerate(half.facts["single"].get("switches", [])):
            count, more = found["switched"], found["switched"] - len(found["places"])
            lines.append(f"  {half.backend}, batch {index}: {count} of {found['choices']} switched by rounding")
            lines += [f"    {words}" for words in found["places"]] + ([f"    ... and {more} more"] if more else [])
    if not lines:
        return []
    raw = gradient_errors((first, second), held=False)["all"]
    words = ", ".join(f"{half.backend} {value:.1e}" for half, value in zip((first, second), raw, strict=True))
    return [
        "Where a ReLU or a pooled maximum chooses otherwise than in float64 the gradient before it jumps:",
        *lines,
        f"  whole gradients as they are: {words}; below, those of batches listed here with float64's choices",
    ]


def equal(first: Half, second: Half) -> list[str]:
    """Return up to which step training in float64 is equal to 1e-8, where both have trained in it."""
    if not doubles.trained(first.double, second.double):
        return []
    return [f"  {_equal(doubles.summary(first.double, second.double))}"]


def _equal(found: dict[str, Any]) -> str:
    return f"equal to {TOLERANCES['parity.double'].value:.0e} up to step {found['equal']} of {found['steps']}"


def summary(first: Half, second: Half, checks: Sequence[Check]) -> dict[str, Any]:
    """Return the few numbers that stand for the report; what was not measured is missing.

    embeddings: largest difference at the start. gradients: by backend, of the whole gradient from float64, as it is and
    as judged (with float64's choices where a half has it so). double: steps in float64, the largest distance of losses,
    weights and embeddings in them, the last step up to which all are equal to 1e-8, and the largest distance that noise
    of rounding makes of one backend (None: not run). single: steps in float32, how far losses have been apart, relative
    to the first, and how far rounding alone has led one backend.
    """
    exam, by = first.exam, {(check.part, check.what, check.who): check for check in checks}
    raw = gradient_errors((first, second), held=False).get("all", ())
    judged = [check for check in checks if (check.part, check.what) == ("gradients", "all")]
    found: dict[str, Any] = {
        "embeddings": by["embeddings", "start", BOTH].value,
        "gradients": {check.who: [own, check.value] for check, own in zip(judged, raw, strict=True)},
        "checks": len(checks),
        "passed": sum(check.passed for check in checks),
    }
    if doubles.trained(first.double, second.double):
        found["double"] = doubles.summary(first.double, second.double)
    last = by.get(("training", f"losses up to step {exam.steps}", BOTH))
    if last:
        factor, floor = (TOLERANCES[f"parity.drift.{name}"].value for name in ("factor", "floor"))
        noise = (last.limit - floor) / factor
        found["single"] = {"steps": exam.steps, "apart": last.value, "noise": noise}
    return found


def short(found: dict[str, Any]) -> list[str]:
    """Return a summary in words."""
    gradients = ", ".join(f"{backend} {_twice(*pair)}" for backend, pair in found["gradients"].items())
    lines = ["In short:", f"  test embeddings of the same weights are {found['embeddings']:.1e} apart"]
    lines += [f"  gradients are from float64: {gradients}"] if gradients else []
    if "double" in found:
        double = found["double"]
        alone = "" if double["noise"] is None else f"; noise of 2e-16 leads one backend {double['noise']:.1e} away"
        words = f"losses, weights and embeddings {double['apart']:.1e} apart, {_equal(double)}{alone}"
        lines.append(f"  {double['steps']} steps in float64: {words}")
    if "single" in found:
        single = found["single"]
        words = f"losses {single['apart']:.1e} apart; rounding alone leads one backend {single['noise']:.1e} away"
        lines.append(f"  {single['steps']} steps in float32: {words}")
    return lines


def _twice(raw: float, judged: float) -> str:
    as_it_is, chosen = f"{raw:.1e}", f"{judged:.1e}"
    return as_it_is if as_it_is == chosen else f"{as_it_is} ({chosen} with float64's choices of ReLUs)"


def verdict(checks: Sequence[Check]) -> list[str]:
    """Return the failures, what adds an error first, and the sum."""
    failed = [check for check in checks if not check.passed]
    lines = [f"FAILED {_said(check)}" for check in failed[:15]]
    if len(failed) > 15:
        lines.append(f"... and {len(failed) - 15} more")
    lines += [f"\nLook first at: {_said(culprit(failed))}"] if failed else []
    return [
        *lines,
        f"\n{len(checks) - len(failed)} of {len(checks)} checks passed: {'parity' if not failed else 'NO PARITY'}",
    ]


def culprit(failed: Sequence[Check]) -> Check:
    """Return the failure that explains the others: the first layer, loss or rule that is wrong by itself, if any."""
    order = ("own", "losses alone", "rules")
    return next((check for part in order for check in failed if check.part.startswith(part)), failed[0])


def _said(check: Check) -> str:
    rule = f"; should be: {check.rule}" if check.rule and check.part.split(",")[0] in ("own", "rules") else ""
    return f"{check.part}: {check.what} ({check.who}): {check.value:.2g}, limit {check.limit:.2g}{rule}"


def place(what: str) -> str:
    """Return the block that a layer or tensor lies in: "test, layer1.0.conv2" -> "test, layer1.0"."""
    return re.sub(r"(layer\d\.\d+)\..*", r"\1", what)


def _worst(chosen: Iterable[Check], deep: bool) -> dict[str, Check]:
    """Return by name, or by block, the check that is nearest to its limit or beyond."""
    found: dict[str, Check] = {}
    for check in chosen:
        key = place(check.what) if deep else check.what
        if key not in found or _share(check) > _share(found[key]):
            found[key] = check
    return found


def _share(check: Check) -> float:
    return check.value / check.limit if check.value == check.value else np.inf


def _layers(names: tuple[str, str], checks: Sequence[Check], deep: bool) -> str:
    columns = [(part, mode, name) for part in ("own, single", "layers") for mode in ("test", "train") for name in names]
    cells = {}
    for part, mode, name in columns:
        chosen = [c for c in checks if c.part == part and c.who == name and c.what.startswith(f"{mode}, ")]
        cells[part, mode, name] = {key.removeprefix(f"{mode}, "): c for key, c in _worst(chosen, deep).items()}
    rows = []
    for what in dict.fromkeys(key for column in cells.values() for key in column if column is not None):
        found = [column.get(what) for column in cells.values()]
        wrong = [
            f"{p.split(',')[0]} {m} {n}" for (p, m, n), c in zip(columns, found, strict=True) if c and not c.passed
        ]
        rows.append((what, *("" if c is None else f"{c.value:.1e}" for c in found), "; ".join(wrong) or "ok"))
    order = [check.what.removeprefix("train, ") for check in checks if check.what.startswith("train, ")]
    rows = sorted(rows, key=lambda row: order.index(row[0]))
    short = {"own, single": "own", "layers": "truth"}
    return table(("layer", *(f"{short[p]} {m} {n}" for p, m, n in columns), "verdict"), rows)


def _pivot(chosen: Sequence[Check], names: tuple[str, str], deep: bool) -> str:
    who = [name for name in (*names, BOTH) if any(check.who == name for check in chosen)]
    by = {name: _worst([check for check in chosen if check.who == name], deep) for name in who}
    rows = []
    for what in dict.fromkeys(key for column in by.values() for key in column):
        found = [by[name].get(what) for name in who]
        there = [check for check in found if check]
        wrong = " ".join(check.who for check in there if not check.passed)
        limits = dict.fromkeys(f"{check.limit:.1e}" for check in there)
        numbers = ("" if check is None else f"{check.value:.2e}" for check in found)
        rows.append((what, *numbers, ", ".join(limits), f"FAILED {wrong}" if wrong else "ok"))
    return table((chosen[0].part, *who, "limit", "verdict"), rows)


def _reasons(chosen: Sequence[Check]) -> list[str]:
    names = sorted({name for check in chosen for name in check.tolerance.split(", ")})
    return [f"  {name} = {TOLERANCES[name].value:g}: {TOLERANCES[name].reason}" for name in names]


KEPT = ("precision", "steps", "draws", "seconds")
"""Facts of a record that the JSON repeats."""


def as_json(first: Half, second: Half, checks: Sequence[Check]) -> dict[str, Any]:
    """Return what JSON can hold: settings, machines, every check and its verdict, the curves and the drift."""
    exam = first.exam
    drift = {}
    for key, statistics in (("weights", False), ("statistics", True)):
        if "curve/total" in first.single and "curve/total" in second.single:
            drift[key] = trajectories.drift(exam, second.single, first.single, statistics=statistics)
    return {
        "exam": as_dict(exam) | {"state": Path(exam.state).name},
        "passed": all(check.passed for check in checks),
        "summary": summary(first, second, checks),
        "backends": [
            {"about": half.about, "parts": {p: {n: f[n] for n in KEPT} for p, f in half.facts.items()}}
            for half in (first, second)
        ],
        "curves": {half.backend: _curve(half) for half in (first, second)},
        "drift": drift,
        "tolerances": {n: TOLERANCES[n]._asdict() for c in checks for n in c.tolerance.split(", ")},
        "checks": _plain(checks),
    }


def _curve(half: Half) -> list[float]:
    return [round(float(value), 6) for value in half.single.get("curve/total", [])]


def _plain(checks: Sequence[Check]) -> dict[str, dict[str, dict[str, list]]]:
    """Return [value, limit, passed] by part, what and who."""
    found: dict[str, dict[str, dict[str, list]]] = {}
    for check in checks:
        numbers = [float(f"{check.value:.3g}"), float(f"{check.limit:.3g}"), check.passed]
        found.setdefault(check.part, {}).setdefault(check.what, {})[check.who] = numbers
    return found
