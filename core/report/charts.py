"""Charts as SVG: a few lines each, coloured by the page's style sheet.

Drawn here and not by matplotlib because a page has a light and a dark form, and phones: colours are classes of the
style sheet (s1 to s6), text is text in the page's font, points carry their numbers as titles, and a chart takes 2 kB
instead of 40.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 24, 36
COLOURS = 6
MARKED = 40
"""Up to so many points a line shows each of them."""


class Line(NamedTuple):
    """A curve. x, y: of equal length; NaN leaves a gap. colour: from 1."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 1


class Axes:
    """Axes in a plane of WIDTH x HEIGHT: maps values to it, and draws ticks and labels."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], x_label: str, y_label: str) -> None:
        self.x_span, self.y_span = _widened(x), _widened(y)
        self.x_label, self.y_label = x_label, y_label

    def x(self, value: float) -> float:
        """Return where a value lies from the left."""
        low, high = self.x_span
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return where a value lies from the top."""
        low, high = self.y_span
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def frame(self, x_ticks: Sequence[float], y_ticks: Sequence[float], shown: Callable[[float], str]) -> str:
        """Return grid lines, numbers and labels."""
        parts = []
        for tick in y_ticks:
            place = f"{self.y(tick):.1f}"
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place}" y2="{place}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{place}" dy="4" text-anchor="end">{shown(tick)}</text>')
        for tick in x_ticks:
            parts.append(
                f'<text x="{self.x(tick):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{_number(tick)}</text>'
            )
        base = f"{HEIGHT - BOTTOM}"
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text class="label" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(self.x_label)}</text>'
        )
        parts.append(f'<text class="label" x="2" y="12">{escape(self.y_label)}</text>')
        return "".join(parts)


def lines(curves: Sequence[Line], x_label: str, y_label: str, *, whole: bool = True, top: float | None = None) -> str:
    """Return curves over a common axis.

    whole: ticks of x are whole numbers. top: the vertical axis' end, where it is not the largest value.

    >>> svg = lines([Line("mAP", [1, 2, 3], [10.0, 30.0, 40.0])], "epoch", "mAP in %")
    >>> svg.count("<circle"), "epoch" in svg
    (3, True)
    """
    xs = np.concatenate([np.asarray(curve.x, float) for curve in curves])
    ys = np.concatenate([np.asarray(curve.y, float) for curve in curves])
    ys = ys[np.isfinite(ys)]
    if not len(ys):
        raise ValueError("a chart needs at least one finite value to draw")
    low = min(0.0, float(ys.min()))
    axes = Axes((float(xs.min()), float(xs.max())), (low, top or float(ys.max())), x_label, y_label)
    x_ticks, y_ticks = nice_ticks(*axes.x_span, 7, whole=whole), nice_ticks(*axes.y_span, 5)
    parts = [axes.frame(x_ticks, y_ticks, _number)]
    for curve in curves:
        colour = (curve.colour - 1) % COLOURS + 1
        points = [(axes.x(x), axes.y(y), x, y) for x, y in zip(curve.x, curve.y, strict=True)]
        parts.append(f'<path class="line s{colour}" d="{_path(points)}"/>')
        if len(points) <= MARKED:
            for left, top_, x, y in points:
                if np.isfinite(y):
                    title = escape(f"{curve.name}: {y:.4g} at {x_label} {x:g}")
                    parts.append(
                        f'<circle class="dot s{colour}" cx="{left:.1f}" cy="{top_:.1f}" r="2.6">'
                        f"<title>{title}</title></circle>"
                    )
    return _svg(parts, f"{y_label} over {x_label}")


def histogram(
    edges: np.ndarray,
    shares: Sequence[tuple[str, np.ndarray, int]],
    x_label: str,
    y_label: str,
    *,
    at: tuple[float, str] | None = None,
    whole: bool = False,
) -> str:
    """Return areas over bins. edges: (B + 1,); shares: (name, heights (B,), colour); at: a line, and its words."""
    top = max(float(np.max(heights, initial=0)) for _, heights, _ in shares)
    axes = Axes((float(edges[0]), float(edges[-1])), (0.0, top or 1.0), x_label, y_label)
    parts = [
        axes.frame(
            nice_ticks(*axes.x_span, 7, whole=whole), nice_ticks(*axes.y_span, 5, whole=whole and top >= 5), _number
        )
    ]
    for name, heights, colour in shares:
        corners = [(axes.x(edges[0]), axes.y(0))]
        for low, high, height in zip(edges[:-1], edges[1:], heights, strict=True):
            corners += [(axes.x(low), axes.y(height)), (axes.x(high), axes.y(height))]
        corners.append((axes.x(edges[-1]), axes.y(0)))
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        parts.append(f'<polygon class="area s{colour}" points="{points}"><title>{escape(name)}</title></polygon>')
    if at is not None:
        place = axes.x(at[0])
        anchor, shift = ("end", -5) if place > (LEFT + WIDTH) / 2 else ("start", 5)
        parts.append(f'<line class="mark" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="label" x="{place + shift:.1f}" y="{TOP + 10}" text-anchor="{anchor}">{escape(at[1])}</text>'
        )
    return _svg(parts, f"{y_label} by {x_label}")


def bars(names: Sequence[str], values: Sequence[float], x_label: str, y_label: str, colour: int = 1) -> str:
    """Return a bar for each name, with its number above.

    >>> bars(["camera 1", "camera 2"], [120, 80], "camera", "images").count("<rect")
    2
    """
    axes = Axes((0.0, len(names)), (0.0, max(*values, 0.0) or 1.0), x_label, y_label)
    parts = [axes.frame([], nice_ticks(*axes.y_span, 5), _number)]
    every = -(-len(names) // 14)
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        left, right, top = axes.x(index + 0.12), axes.x(index + 0.88), axes.y(value)
        parts.append(
            f'<rect class="bar s{colour}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{axes.y(0) - top:.1f}"><title>{escape(f"{name}: {value:g}")}</title></rect>'
        )
        if index % every == 0:
            middle = (left + right) / 2
            parts.append(
                f'<text x="{middle:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{escape(name)}</text>'
            )
    return _svg(parts, f"{y_label} by {x_label}")


class Point(NamedTuple):
    """A point of a map: where, which picture, by what it is coloured, and its words."""

    x: float
    y: float
    place: int
    colours: tuple[int, ...]
    words: str


def cloud(points: Sequence[Point], side: int = 640) -> str:
    """Return a square map of points. A point's classes are a1, b3, ...: its colour by the first way, the second."""
    xs, ys = (np.array([getattr(point, axis) for point in points], float) for axis in "xy")
    parts = []
    for point, left, top in zip(points, _scaled(xs, side), _scaled(-ys, side), strict=True):
        classes = " ".join(f"{way}{colour}" for way, colour in zip("abc", point.colours, strict=False))
        parts.append(
            f'<circle class="{classes}" cx="{left:.0f}" cy="{top:.0f}" r="4" data-p="{point.place}" '
            f'data-w="{escape(point.words)}"/>'
        )
    return f'<svg viewBox="0 0 {side} {side}" role="img" aria-label="map of the features">{"".join(parts)}</svg>'


def _scaled(values: np.ndarray, side: int) -> np.ndarray:
    low, high = values.min(), values.max()
    return 10 + (values - low) / ((high - low) or 1.0) * (side - 20)


def nice_ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """Return at most about `count` round numbers within a span.

    >>> nice_ticks(0, 9.3, 5)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    rough = (high - low) / max(count, 1)
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, float(np.ceil(step)))
    first = np.ceil(low / step - 1e-9) * step
    return [float(round(first + index * step, 12)) for index in range(int((high - first) / step + 1e-6) + 1)]


def _widened(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _number(value: float) -> str:
    if abs(value) >= 10000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def _path(points: Sequence[tuple[float, float, float, float]]) -> str:
    words, pen = [], "M"
    for left, top, _, y in points:
        if not np.isfinite(y):
            pen = "M"
            continue
        words.append(f"{pen}{left:.1f} {top:.1f}")
        pen = "L"
    return "".join(words)


def _svg(parts: Sequence[str], label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
