"""The one style of the benchmarks' plots: colours, type, and paper of their own, so that they also fit a dark page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PAPER, INK, SOFT, RULE = "#fbfbf9", "#1c1d22", "#5d616b", "#e2e2dd"
FIRST, SECOND, THIRD, FOURTH, FIFTH = COLOURS = ("#1f6fb2", "#d1600a", "#0b8466", "#9a4aa3", "#8a6d00")
"""Told apart by people who see no red or green, and in grey: they differ in brightness too."""

NOISE = "#a9aaa5"
"""Of what is no result: noise, bounds, slopes to compare with."""

DPI = 120

SETTINGS = {
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelsize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.7,
    "lines.markersize": 4,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "font.size": 9.5,
    "figure.constrained_layout.use": True,
}


@contextmanager
def drawing() -> Iterator[Any]:
    """Give pyplot in this style, without a screen; figures made within are closed at the end.

    with drawing() as pyplot:
        figure, axes = pyplot.subplots()
        ...
        save(figure, path)
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(SETTINGS):
        try:
            yield pyplot
        finally:
            pyplot.close("all")


def head(figure: Any, title: str, words: str = "") -> None:
    """Write above a figure what to see in it, and below that what it is made of."""
    figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK)
    if words:
        figure.text(0.012, -0.012, words, ha="left", va="top", fontsize=8, color=SOFT)


def save(figure: Any, path: Path) -> None:
    """Write a figure with a margin of paper around it."""
    figure.savefig(path, dpi=DPI, bbox_inches="tight", pad_inches=0.22)
