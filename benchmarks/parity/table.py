"""Several comparisons as one table in Markdown, a row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from duoreid.benchmarks.parity.comparison import Comparison

HEADER = (
    "",
    "images, batch",
    "test embeddings apart",
    "gradients from float64: {} (with its ReLUs' choices)",
    "float64 training apart (rounding alone)",
    "float32 losses apart (rounding alone)",
    "checks passed",
)


def row(found: Comparison) -> list[str]:
    """Return the cells of one comparison."""
    short, words = found.summary, found.exam["words"]
    double, single = short.get("double"), short.get("single")
    return [
        ", ".join([words["network"], *_devices(found)]),
        words["batch"],
        f"{short['embeddings']:.1e}",
        ", ".join(once(*pair) for pair in short["gradients"].values()),
        f"{beside_noise(double)} in {_steps(double)}" if double else "",
        f"{single['apart']:.1e} ({single['noise']:.1e}) in {_steps(single)}" if single else "",
        f"{short['passed']} of {short['checks']}",
    ]


def _devices(found: Comparison) -> list[str]:
    """Which backend computed on what, where it was no CPU."""
    halves = [half["about"].partition(" on ") for half in found.backends]
    return [f"{name.split()[0]} on {device}" for name, _, device in halves if device[:3] not in ("", "CPU")]


def beside_noise(double: dict[str, Any]) -> str:
    """What rounding does to one backend alone is told where the two are not simply equal."""
    apart, noise = f"{double['apart']:.1e}", double.get("noise")
    return apart if noise is None or double["equal"] == double["steps"] else f"{apart} ({noise:.1e})"


def once(raw: float, judged: float, words: str = "") -> str:
    """Return a number as it is and, in brackets with more words, as it is judged, where the two look different."""
    first, second = f"{raw:.1e}", f"{judged:.1e}"
    return first if first == second else f"{first} ({second}{words})"


def _steps(part: dict[str, Any]) -> str:
    return f"{part['steps']} step{'s' if part['steps'] > 1 else ''}"


def markdown(reports: Sequence[Comparison]) -> str:
    """Return the table."""
    names = ", ".join(reports[0].summary["gradients"]) or "none"
    header = [cell.format(names) for cell in HEADER]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *map(row, reports)])
