"""How similar images of one person are, and of two: the two histograms, their overlap, and a threshold between them."""

from __future__ import annotations

import numpy as np

from duoreid.core.report.blocks import Figure
from duoreid.core.report.charts import histogram
from duoreid.core.report.draws import Draw, Scan

RANKS = 20


def overlap(scan: Scan) -> float:
    """Return the area that both histograms cover, from 0 (a threshold tells all pairs apart) to 1 (nothing does)."""
    same, different = shares(scan)
    return float(np.minimum(same, different).sum())


def shares(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Return both histograms as shares of their pairs, float64 (B,) each; zeros without a pair."""
    return tuple(counts / max(1, counts.sum()) for counts in (scan.same, scan.different))


def mean(scan: Scan, counts: np.ndarray) -> float:
    """Return the mean similarity of the pairs of a histogram, NaN without one."""
    middles = (scan.edges[:-1] + scan.edges[1:]) / 2
    return float((middles * counts).sum() / counts.sum()) if counts.sum() else float("nan")


def figure(draw: Draw, scan: Scan, threshold: float | None) -> Figure:
    """Return the chart of both histograms. threshold: the calibrated one, None where there is none."""
    same, different = shares(scan)
    used = np.flatnonzero((scan.same > 0) | (scan.different > 0))
    first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, len(same))
    edges = scan.edges[first : last + 1]
    at = None if threshold is None else (threshold, f"threshold {threshold:.3f}")
    svg = histogram(
        edges,
        [("different people", 100 * different[first:last], 2), ("same person", 100 * same[first:last], 1)],
        "cosine similarity",
        "% of pairs",
        at=at,
    )
    caption = (
        f"{scan.same.sum():,} pairs of one person, mean {mean(scan, scan.same):.2f}; {scan.different.sum():,} of "
        f"two people, mean {mean(scan, scan.different):.2f}. The areas overlap by {100 * overlap(scan):.0f}%: "
        "the less, the better one threshold tells people apart."
    )
    title = f"Similarities, {draw.search.name}" if len(draw.dataset.searches) > 1 else "Similarities"
    return Figure(title, svg, caption, [("same person", 1), ("different people", 2)])


def places(draw: Draw, scan: Scan) -> Figure:
    """Return the chart of where the first right and the first wrong image stand."""
    valid = scan.matches > 0
    edges = np.arange(0.5, RANKS + 1.5)
    made = []
    for name, first, colour in (("first wrong", scan.first_wrong, 2), ("first right", scan.first_right, 1)):
        known = first[valid & (first > 0)]
        made.append((name, 100 * np.histogram(np.minimum(known, RANKS), edges)[0] / max(1, len(known)), colour))
    at_once = 100 * float((scan.first_wrong[valid] == 1).mean())
    title = f"First right and wrong, {draw.search.name}" if len(draw.dataset.searches) > 1 else "First right and wrong"
    caption = (
        f"Place of the first image of the right person and of a wrong one, over {valid.sum():,} queries; {RANKS} "
        f"stands for {RANKS} and more. At {at_once:.0f}% of the queries a wrong one comes first."
    )
    svg = histogram(edges, made, "place in the ranking", "% of queries", whole=True)
    return Figure(title, svg, caption, [("first right", 1), ("first wrong", 2)])
