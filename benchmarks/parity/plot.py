"""Pictures of a comparison: loss curves, drift, errors by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks import style
from duoreid.benchmarks.parity.comparison import Comparison
from duoreid.benchmarks.parity.tolerances import tolerance

PLACES = [["total", "weights"], ["losses", "weights"], ["own", "layers"]]
PANELS = {
    "total": ("Loss of every step: one line should lie over the other", "total loss", "linear", "linear"),
    "losses": ("Farthest that any loss has been apart", "relative", "linear", "log"),
    "weights": ("Drift of the weights apart, beside rounding's", "distance / distance travelled", "log", "log"),
}
"""Titles, vertical axes and the scales of both axes, by what is drawn."""

LINES = {
    "noise": ("{} from weights with 1e-7 noise", {"color": style.NOISE, "linewidth": 0.8}),
    "run": ("{}, float32", {"linewidth": 1.4, "zorder": 2.5}),
    "rounding": ("one backend, by rounding or 1e-7 noise", {"color": style.NOISE, "linewidth": 1.2}),
    "single": ("the two in float32", {"color": style.INK, "zorder": 2.5}),
    "double": ("float64", {"color": style.INK, "linestyle": ":", "zorder": 3}),
}
"""Labels and styles of the curves by role; without a colour: their backend's."""


def plot(compared: Comparison, path: Path) -> None:
    """Draw everything into one PNG."""
    with style.drawing() as pyplot:
        figure, axes = pyplot.subplot_mosaic(PLACES, figsize=(13, 9.4), height_ratios=(3, 2, 4))
        for name in PANELS:
            _curves(axes[name], compared, name)
        for kind, words in (("own", "adds by itself"), ("layers", "inherits and adds, from float64")):
            _bars(axes[kind], compared, kind)
            axes[kind].set_title(f"Error that a layer {words} (float32, training)")
        failed = f"NO PARITY, {len(compared.failed)} checks fail" if compared.failed else "every check within its limit"
        first, second = compared.names
        words = "{network}, {batch} images. Grey: what rounding alone does to one backend.".format(
            **compared.exam["words"]
        )
        style.head(figure, f"{first} and {second} on the same bytes: {failed}", words)
        style.save(figure, path)


def _curves(axis: Any, compared: Comparison, name: str) -> None:
    title, words, horizontal, vertical = PANELS[name]
    axis.set_title(title)
    colours, labels = dict(zip(compared.names, (style.SECOND, style.FIRST), strict=True)), set()
    for curve in (curve for curve in compared.curves if curve.name == name and curve.values):
        label, look = LINES[curve.role]
        label = label.format(curve.who)
        values = np.maximum(list(curve.values.values()), 1e-17 if vertical == "log" else -np.inf)
        look = {"color": colours.get(curve.who), "label": None if label in labels else label} | look
        axis.plot(list(curve.values), values, **look)
        labels.add(label)
    axis.set(xlabel="step", ylabel=words)
    if not labels:
        axis.set_axis_off()
        axis.set_title(f"{title}: not recorded")
    else:
        axis.set(xscale=horizontal, yscale=vertical)
        axis.legend(fontsize=8, labelspacing=0.2, loc="best")
    if "float64" in labels and vertical == "log":
        axis.axhline(tolerance("parity.double"), color=style.INK, linewidth=0.5)


def _bars(axis: Any, compared: Comparison, kind: str) -> None:
    """Draw the worst of each block in training."""
    chosen = [
        check for check in compared.checks if check[:3] == (kind, "single", "train") and ".running_" not in check.name
    ]
    worst: dict[str, dict[str, float]] = {}
    for check in chosen:
        of = worst.setdefault(compared.block(check), {})
        of[check.who] = max(of.get(check.who, 0.0), check.value)
    where = np.arange(len(worst))
    for index, (name, colour) in enumerate(zip(compared.names, (style.SECOND, style.FIRST), strict=True)):
        heights = [min(max(values.get(name, 0.0), 1e-9), 10.0) for values in worst.values()]
        axis.bar(where + 0.4 * index - 0.2, heights, 0.4, color=colour, label=name)
    if kind == "own":
        axis.axhline(chosen[0].limit, color=style.INK, linewidth=0.8)
        axis.text(len(worst) - 0.5, chosen[0].limit * 1.1, "limit", ha="right", va="bottom", fontsize=8)
    low, high = axis.get_ylim()
    axis.set(yscale="log", ylabel="relative error", ylim=(max(low, 1e-9), 4 * high))
    axis.set_xticks(where, worst, rotation=60, ha="right", fontsize=8)
    axis.legend(fontsize=8, loc="upper left", ncols=2)
