"""Pictures of a comparison: loss curves, drift, errors by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.parity.comparison import Comparison
from duoreid.benchmarks.parity.tolerances import tolerance

COLOURS, GREY = ("#d55e00", "#0072b2"), "#999999"
PLACES = [["total", "weights"], ["losses", "weights"], ["own", "layers"]]
PANELS = {
    "total": ("loss of every step", "total loss", "linear", "linear"),
    "losses": ("farthest that any loss has been apart", "relative", "linear", "log"),
    "weights": ("drift of the weights apart", "distance / distance travelled", "log", "log"),
}
"""Titles, vertical axes and the scales of both axes, by what is drawn."""

LINES = {
    "noise": ("{} from weights with 1e-7 noise", {"color": GREY, "linewidth": 0.8}),
    "run": ("{}, float32", {"linewidth": 1.4, "zorder": 2.5}),
    "rounding": ("one backend, by rounding or 1e-7 noise", {"color": GREY, "linewidth": 1.2}),
    "single": ("the two in float32", {"color": "k", "zorder": 2.5}),
    "double": ("float64", {"color": "k", "linestyle": ":", "zorder": 3}),
}
"""Labels and styles of the curves by role; without a colour: their backend's."""


def plot(found: Comparison, path: Path) -> None:
    """Draw everything into one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplot_mosaic(PLACES, figsize=(13, 9), layout="constrained", height_ratios=(3, 2, 4))
    for name in PANELS:
        _curves(axes[name], found, name)
    for kind, words in (("own", "adds by itself"), ("layers", "inherits and adds, from float64")):
        _bars(axes[kind], found, kind)
        axes[kind].set_title(f"error that a layer {words} (float32, training)", loc="left", fontsize=10)
    verdict = "NO PARITY" if found.failed else "parity"
    figure.suptitle(f"{', '.join(found.exam['words'].values())} images: {verdict}", fontsize=12)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _curves(axis: Any, found: Comparison, name: str) -> None:
    title, words, horizontal, vertical = PANELS[name]
    axis.set_title(title, loc="left", fontsize=10)
    colours, labels = dict(zip(found.names, COLOURS, strict=True)), set()
    for curve in (curve for curve in found.curves if curve.name == name and curve.values):
        label, style = LINES[curve.role]
        label = label.format(curve.who)
        values = np.maximum(list(curve.values.values()), 1e-17 if vertical == "log" else -np.inf)
        style = {"color": colours.get(curve.who), "label": None if label in labels else label} | style
        axis.plot(list(curve.values), values, **style)
        labels.add(label)
    axis.set(xlabel="step", ylabel=words)
    if labels:
        axis.set(xscale=horizontal, yscale=vertical)
        axis.legend(frameon=False, fontsize=8, labelspacing=0.2, loc="best")
    if "float64" in labels and vertical == "log":
        axis.axhline(tolerance("parity.double"), color="k", linewidth=0.5)


def _bars(axis: Any, found: Comparison, kind: str) -> None:
    """Draw the worst of each block in training."""
    chosen = [
        check for check in found.checks if check[:3] == (kind, "single", "train") and ".running_" not in check.name
    ]
    worst: dict[str, dict[str, float]] = {}
    for check in chosen:
        of = worst.setdefault(found.block(check), {})
        of[check.who] = max(of.get(check.who, 0.0), check.value)
    where = np.arange(len(worst))
    for index, (name, colour) in enumerate(zip(found.names, COLOURS, strict=True)):
        heights = [min(max(values.get(name, 0.0), 1e-9), 10.0) for values in worst.values()]
        axis.bar(where + 0.4 * index - 0.2, heights, 0.4, color=colour, label=name)
    if kind == "own":
        axis.axhline(chosen[0].limit, color="k", linewidth=0.8)
        axis.text(len(worst) - 0.5, chosen[0].limit * 1.1, "limit", ha="right", va="bottom", fontsize=8)
    low, high = axis.get_ylim()
    axis.set(yscale="log", ylabel="relative error", ylim=(max(low, 1e-9), 4 * high))
    axis.set_xticks(where, worst, rotation=60, ha="right", fontsize=8)
    axis.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
