"""Tables for people: what a run prints at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from duoreid.core.protocols import Metrics, SearchResult

COLUMNS = ("mAP", "rank-1", "rank-5", "rank-10", "mINP", "clusters", "outliers", "ARI", "seconds")


@dataclass(frozen=True)
class Row:
    """One line: a network at a snapshot. facts: of the labelling that it was trained on."""

    name: str
    metrics: Metrics
    facts: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None

    def cells(self) -> list[str]:
        """Return the cells below COLUMNS; empty where there is nothing to say."""
        metrics = self.metrics
        shares = (metrics.mean_ap, metrics.rank1, metrics.rank5, metrics.rank10, metrics.mean_inp)
        cells = [f"{100 * share:.1f}" for share in shares]
        for key, form in (("clusters", "{:.0f}"), ("outliers", "{:.0f}"), ("adjusted_rand", "{:.3f}")):
            cells.append(form.format(self.facts[key]) if key in self.facts else "")
        return [*cells, "" if self.seconds is None else f"{self.seconds:.1f}"]


def spread_cell(result: SearchResult, name: str) -> str:
    """Return one metric of a search in percent, with its spread where there are several trials."""
    mean, spread = 100 * getattr(result.mean, name), 100 * getattr(result.spread, name)
    return f"{mean:.1f} ± {spread:.1f}" if len(result.trials) > 1 else f"{mean:.1f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return lines with the first column left-aligned and the others right-aligned."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in (header, *rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def results(rows: Sequence[Row], published: Sequence[tuple[str, tuple[float, float] | None]] = ()) -> str:
    """Return the table of results, with published (mAP, rank-1) in percent below where there are any."""
    lines = [[row.name, *row.cells()] for row in rows]
    for name, numbers in published:
        if numbers is not None:
            lines.append([f"published, {name}", *(f"{number:.1f}" for number in numbers), *[""] * (len(COLUMNS) - 2)])
    return table(("", *COLUMNS), lines)


def stages(seconds: dict[str, float]) -> str:
    """Return the time of each stage and the whole."""
    total = sum(seconds.values())
    lines = [(name, f"{value:.1f}", f"{100 * value / total:.0f}%") for name, value in seconds.items()]
    return table(("stage", "seconds", "share"), [*lines, ("whole run", f"{total:.1f}", "100%")])
