"""Pictures of a comparison: loss curves, drift, errors by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.parity import trajectories
from duoreid.benchmarks.parity.compare import Check
from duoreid.benchmarks.parity.halves import Half
from duoreid.benchmarks.parity.report import place
from duoreid.benchmarks.parity.tolerances import TOLERANCES

COLOURS = ("#d55e00", "#0072b2")
GREY = "#999999"


def plot(first: Half, second: Half, checks: Sequence[Check], path: Path) -> None:
    """Draw everything into one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    exam = first.exam
    trained = "curve/total" in first.single and "curve/total" in second.single
    places = [["curves", "drift"], ["apart", "drift"], ["own", "truth"]]
    figure, axes = pyplot.subplot_mosaic(places, figsize=(13, 9), layout="constrained", height_ratios=(3, 2, 4))
    own, truth = axes["own"], axes["truth"]
    if trained:
        _curves(axes["curves"], first, second)
        _apart(axes["apart"], first, second)
        _drift(axes["drift"], first, second)
    for axis, part, words in (
        (own, "own, single", "error that a layer adds by itself (float32, training)"),
        (truth, "layers", "error from the float64 truth, inherited and added (float32, training)"),
    ):
        _bars(axis, part, (first.backend, second.backend), checks)
        axis.set_title(words, loc="left", fontsize=10)
    verdict = "parity" if all(check.passed for check in checks) else "NO PARITY"
    figure.suptitle(
        f"{exam.method}, {exam.network.arch}, {exam.size}, {exam.identities} x {exam.each} images: {verdict}",
        fontsize=12,
    )
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _curves(axis: Any, first: Half, second: Half) -> None:
    steps = np.arange(len(first.single["curve/total"])) + 1
    runs = np.array([run["curve/total"] for half in (first, second) for run in trajectories.noisy(half.single)])
    if len(runs):
        axis.fill_between(steps, runs.min(0), runs.max(0), color=GREY, alpha=0.5, label="from weights with 1e-7 noise")
    for half, colour, style in zip((first, second), COLOURS, ("-", "--"), strict=True):
        axis.plot(
            steps, half.single["curve/total"], style, color=colour, linewidth=1.4, label=f"{half.backend}, float32"
        )
    true = first.double or second.double
    if "curve/total" in true:
        axis.plot(np.arange(len(true["curve/total"])) + 1, true["curve/total"], ":k", linewidth=1, label="float64")
    axis.set(xlabel="step", ylabel="total loss")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_title("loss of every step", loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _apart(axis: Any, first: Half, second: Half) -> None:
    steps = np.arange(len(first.single["curve/total"])) + 1
    runs = trajectories.rounding(first.single, second.single, first.double)
    if runs:
        widest = np.max([trajectories.losses_apart(*pair) for pair in runs], axis=0)
        axis.plot(
            steps, np.maximum(widest, 1e-9), color=GREY, linewidth=3, label="one backend, by rounding or 1e-7 noise"
        )
    apart = trajectories.losses_apart(second.single, first.single)
    axis.plot(steps, np.maximum(apart, 1e-9), "k", label=f"{first.backend} and {second.backend}")
    if "curve/total" in first.double and "curve/total" in second.double:
        apart = trajectories.losses_apart(second.double, first.double)
        axis.plot(np.arange(len(apart)) + 1, np.maximum(apart, 1e-17), "k:", label="the two in float64")
        _limit(axis)
    axis.set(yscale="log", xlabel="step", ylabel="relative")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_title("farthest that any loss has been apart", loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=7, labelspacing=0.2, loc="best")


def _limit(axis: Any) -> None:
    """Mark what two runs in float64 are held to where their own rounding does not lead farther."""
    limit = TOLERANCES["parity.double"].value
    axis.axhline(limit, color="k", linewidth=0.5)
    axis.annotate("limit in float64", (0.01, limit), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")


def _drift(axis: Any, first: Half, second: Half) -> None:
    exam = first.exam
    for index, half in enumerate((first, second)):
        for number, run in enumerate(trajectories.noisy(half.single)):
            found = trajectories.drift(exam, run, half.single)
            label = f"{half.backend} from itself with 1e-7 noise" if number == 0 else None
            axis.plot(found.keys(), found.values(), color=GREY, linewidth=1, marker=".", label=label)
        if half.double and trajectories.marks(half.double) == trajectories.marks(half.single):
            found = trajectories.drift(exam, half.single, half.double)
            axis.plot(
                found.keys(),
                found.values(),
                ":",
                color=COLOURS[index],
                linewidth=2.5,
                zorder=3,
                label=f"{half.backend}, float32 from float64",
            )
    found = trajectories.drift(exam, second.single, first.single)
    axis.plot(found.keys(), found.values(), "k-o", markersize=4, label=f"{first.backend} and {second.backend}, float32")
    if trajectories.marks(first.double) and trajectories.marks(first.double) == trajectories.marks(second.double):
        found = trajectories.drift(exam, second.double, first.double)
        axis.plot(found.keys(), found.values(), "k:s", markersize=3, label="the two in float64")
        _limit(axis)
    axis.set(xscale="log", yscale="log", xlabel="step", ylabel="distance / distance travelled")
    axis.set_title("drift of the weights apart", loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=8, loc="best")


def _bars(axis: Any, part: str, names: tuple[str, str], checks: Sequence[Check]) -> None:
    chosen = [c for c in checks if c.part == part and c.what.startswith("train, ") and ".running_" not in c.what]
    worst: dict[str, dict[str, float]] = {}
    for check in chosen:
        of = worst.setdefault(place(check.what.removeprefix("train, ")), {})
        of[check.who] = max(of.get(check.who, 0.0), check.value)
    where = np.arange(len(worst))
    for index, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        heights = [min(max(found.get(name, 0.0), 1e-9), 10.0) for found in worst.values()]
        axis.bar(where + 0.4 * index - 0.2, heights, 0.4, color=colour, label=name)
    if part.startswith("own"):
        axis.axhline(chosen[0].limit, color="k", linewidth=0.8)
        axis.text(len(worst) - 0.5, chosen[0].limit * 1.1, "limit", ha="right", va="bottom", fontsize=8)
    low, high = axis.get_ylim()
    axis.set(yscale="log", ylabel="relative error", ylim=(max(low, 1e-9), 4 * high))
    axis.set_xticks(where, worst, rotation=60, ha="right", fontsize=8)
    axis.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
