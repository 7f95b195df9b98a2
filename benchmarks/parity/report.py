"""`python -m benchmarks.parity.report REPORT.json`: a comparison as text; of several, a table with a row each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.parity import comparison
from duoreid.benchmarks.parity.comparison import BOTH, Check, Comparison
from duoreid.benchmarks.parity.plot import plot
from duoreid.benchmarks.parity.tolerances import tolerance
from duoreid.core.commands.command import guarded
from duoreid.core.training.tables import table

KINDS = {
    "own": "What a layer adds: its output beside float64 on the same inputs, relative to the largest number.",
    "layers": "What has added up: a layer's L2 distance from the whole network in float64.",
    "losses alone": "Losses by themselves, on drawn inputs, beside NumPy in float64.",
    "rules": "What one step does to the weights, beside NumPy in float64 given the backend's own gradients.",
    "losses": "Losses of the first batch through the whole networks: from float64, and apart; relative to the total.",
    "gradients": "Gradients of the total loss: L2 distance from float64 relative to its norm, median over batches.",
    "compiled": "Gradients of the compiled step, beside the same operations one by one, which are judged above: median "
    "over batches.",
    "embeddings": "Embeddings of the test people in the starting state: largest difference.",
    "start": "The starting state, largest difference.",
    "training": "How far training leads the two apart: losses up to a step, weights and statistics after it, mAP and "
    "clusters (1 - adjusted Rand index). Limits: from what rounding does to one backend, run again from weights with "
    "noise of that size, and beside its own float64.",
}
"""What is compared, in the order of the report."""

COLUMNS = (
    "",
    "images, batch",
    "test embeddings apart",
    "gradients from float64: {} (with its ReLUs' choices)",
    "float64 training apart (rounding alone)",
    "float32 losses apart (rounding alone)",
    "checks passed",
)
"""Of the table of several comparisons."""

DEEP, SHOWN = 100, 15
"""More names than DEEP in a table: a line for each block. So many failures are told."""


def text(compared: Comparison, *, every: bool = False) -> str:
    """Return the report. every: a line for each layer and tensor; else the worst of each block of a deep network."""
    lines = [*heading(compared), *switched(compared)]
    for kind, words in KINDS.items():
        for precision, where in (("single", ""), ("double", "In float64. ")):
            chosen = [check for check in compared.checks if check[:2] == (kind, precision)]
            if chosen:
                lines += ["", where + words, "", *_table(chosen, compared, every), *_reasons(compared, chosen)]
    if not any(check[:2] == ("training", "single") for check in compared.checks):
        lines += ["", "Training is not judged: no disturbed run (--envelope) and no float64 run of as many steps."]
    return "\n".join([*lines, "", *short(compared.summary), *verdict(compared)])


def heading(compared: Comparison) -> list[str]:
    """Return what was compared, on what, and how long it took."""
    words = compared.exam["words"]
    lines = [
        (
            f"Parity of {' and '.join(compared.names)}: {words['network']} at {words['batch']}, "
            f"seed {compared.exam['seed']}"
        )
    ]
    lines += [f"  {words['options']}"] if words.get("options") else []
    for half in compared.backends:
        for part in half["parts"].values():
            noise = f" and {part['draws']} times with noise" if part["draws"] else ""
            seconds = sum(part["seconds"].values())
            lines.append(f"  {half['about']}, {part['precision']}: {part['steps']} steps{noise}, {seconds:.0f} s")
    judges = [half["about"] for half in compared.backends if "double" in half["parts"]]
    lines += ["  no float64 record: gradients and losses have no judge"] if not judges else []
    lines += [f"  judge of gradients and losses: {judges[0]} in float64"] if len(judges) == 1 else []
    return lines


def switched(compared: Comparison) -> list[str]:
    """Return which choices rounding has switched in a half whose gradients were taken with float64's choices."""
    lines = []
    for half in compared.backends:
        for index, batch in enumerate(half.get("switches", [])):
            places, more = batch["places"], batch["switched"] - len(batch["places"])
            words = f"{batch['switched']} of {batch['choices']} switched by rounding"
            lines += [f"  {half['name']}, batch {index}: {words}", *(f"    {place}" for place in places)]
            lines += [f"    ... and {more} more"] if more else []
    raw = ", ".join(f"{who} {raw:.1e}" for who, (raw, _) in compared.summary["gradients"].items())
    title = "Where a ReLU or a pooled maximum chooses otherwise than in float64 the gradient before it jumps:"
    last = f"  whole gradients as they are: {raw}; below, those of batches listed here with float64's choices"
    return ["", title, *lines, last] if lines else []


def _table(chosen: Sequence[Check], compared: Comparison, every: bool) -> list[str]:
    """A row for each name and step, or for each block of many; a column for each mode and backend."""
    deep = not every and len({check.name for check in chosen}) > DEEP
    block = compared.block if deep else lambda check: check.name
    cells: dict[str, dict[tuple[str, str], Check]] = {}
    for check in sorted(chosen, key=lambda check: check.mode, reverse=True):  # training has layers that test has not
        row = cells.setdefault(_row(check, block(check), every), {})
        column = check.mode, check.who
        row[column] = max(row.get(column, check), check, key=_share)
    who = [name for name in (*compared.names, BOTH) if any(check.who == name for check in chosen)]
    columns = [(mode, name) for mode in dict.fromkeys(check.mode for check in chosen) for name in who]
    head = {column: " ".join(filter(None, column)) for column in columns}
    rows = []
    for name, row in cells.items():
        numbers = [f"{row[column].value:.2e}" if column in row else "" for column in columns]
        limits = dict.fromkeys(f"{row[column].limit:.1e}" for column in columns if column in row)
        wrong = ", ".join(head[column] for column in columns if column in row and not row[column].passed)
        rows.append((name, *numbers, ", ".join(limits), f"FAILED {wrong}" if wrong else "ok"))
    return table((chosen[0].kind, *head.values(), "limit", "verdict"), rows).splitlines()


def _row(check: Check, name: str, every: bool) -> str:
    """The row that a check stands in. name: its own, or that of its block."""
    if (check.kind, check.precision) == ("own", "double") and not every:
        return "all layers"
    step = "" if check.step is None else f", step {check.step}"
    note = f" ({check.note})" if check.note and check.who == BOTH else ""
    return f"{name}{step}{note}"


def _share(check: Check) -> float:
    return check.value / check.limit if check.value == check.value else np.inf


def _reasons(compared: Comparison, chosen: Sequence[Check]) -> list[str]:
    told = {name: compared.tolerances[name] for name in sorted({name for check in chosen for name in check.tolerances})}
    return ["", *(f"  {name} = {one['value']:g}: {one['reason']}" for name, one in told.items())]


def short(summary: dict[str, Any]) -> list[str]:
    """Return a summary in words."""
    words = " with float64's choices of ReLUs"
    gradients = ", ".join(f"{backend} {once(*pair, words)}" for backend, pair in summary["gradients"].items())
    lines = ["In short:", f"  test embeddings of the same weights are {summary['embeddings']:.1e} apart"]
    lines += [f"  gradients are from float64: {gradients}"] if gradients else []
    if one := summary.get("double"):
        alone = "" if one["noise"] is None else f"; noise of 2e-16 leads one backend {one['noise']:.1e} away"
        equal = f"equal to {tolerance('parity.double'):.0e} up to step {one['equal']} of {one['steps']}"
        words = f"losses, weights and embeddings {one['apart']:.1e} apart, {equal}{alone}"
        lines.append(f"  {one['steps']} steps in float64: {words}")
    if one := summary.get("single"):
        words = f"losses {one['apart']:.1e} apart; rounding alone leads one backend {one['noise']:.1e} away"
        lines.append(f"  {one['steps']} steps in float32: {words}")
    return lines


def verdict(compared: Comparison) -> list[str]:
    """Return the failures, what adds an error first, and the sum."""
    failed, count, lines = compared.failed, len(compared.checks), []
    if failed:
        lines = ["", *(f"FAILED {_said(check)}" for check in failed[:SHOWN])]
        lines += [f"... and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
        lines += ["", f"Look first at: {_said(culprit(failed))}"]
    return [*lines, "", f"{count - len(failed)} of {count} checks passed: {'NO PARITY' if failed else 'parity'}"]


def culprit(failed: Sequence[Check]) -> Check:
    """Return the failure that explains the others: the first layer, loss or rule that is wrong by itself, if any."""
    order = ("own", "losses alone", "rules")
    return next((check for kind in order for check in failed if check.kind == kind), failed[0])


def _said(check: Check) -> str:
    rule = f"; should be: {check.note}" if check.note and check.kind in ("own", "rules") else ""
    where = f"{check.kind}, {check.precision}: {check.what} ({check.who})"
    return f"{where}: {check.value:.2g}, limit {check.limit:.2g}{rule}"


def once(raw: float, judged: float, words: str = "") -> str:
    """Return a number as it is and, in brackets with more words, as it is judged, where the two look different."""
    first, second = f"{raw:.1e}", f"{judged:.1e}"
    return first if first == second else f"{first} ({second}{words})"


def markdown(reports: Sequence[Comparison]) -> str:
    """Return a table with a row for each comparison."""
    names = ", ".join(reports[0].summary["gradients"]) or "none"
    header = [cell.format(names) for cell in COLUMNS]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *map(row, reports)])


def row(compared: Comparison) -> list[str]:
    """Return the cells of one comparison. What it was computed on is told where that was no CPU."""
    short, words = compared.summary, compared.exam["words"]
    double, single = short.get("double"), short.get("single")
    halves = [half["about"].partition(" on ") for half in compared.backends]
    devices = [f"{name.split()[0]} on {device}" for name, _, device in halves if device[:3] not in ("", "CPU")]
    return [
        ", ".join([words["network"], *devices]),
        words["batch"],
        f"{short['embeddings']:.1e}",
        ", ".join(once(*pair) for pair in short["gradients"].values()),
        f"{beside_noise(double)} in {_steps(double)}" if double else "",
        f"{single['apart']:.1e} ({single['noise']:.1e}) in {_steps(single)}" if single else "",
        f"{short['passed']} of {short['checks']}",
    ]


def beside_noise(double: dict[str, Any]) -> str:
    """What rounding does to one backend alone is told where the two are not simply equal."""
    apart, noise = f"{double['apart']:.1e}", double.get("noise")
    return apart if noise is None or double["equal"] == double["steps"] else f"{apart} ({noise:.1e})"


def _steps(part: dict[str, Any]) -> str:
    return f"{part['steps']} step{'s' if part['steps'] > 1 else ''}"


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 2 where a file is no report."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.parity.report", description=__doc__)
    made.add_argument("reports", type=Path, nargs="+", metavar="REPORT.json", help="of --json; several: a table")
    made.add_argument("--every", action="store_true", help="a line for every layer and tensor of deep networks too")
    made.add_argument("--plot", type=Path, metavar="FILE.png", help="draw curves, drift and errors by layer, of one")
    given = made.parse_args(argv)

    def action() -> None:
        comparisons = [comparison.load(path) for path in given.reports]
        print(text(comparisons[0], every=given.every) if len(comparisons) == 1 else markdown(comparisons))
        if given.plot:
            plot(comparisons[0], given.plot)

    return guarded(action)


if __name__ == "__main__":
    import duoreid.benchmarks.parity.report as module

    sys.exit(module.main())
