"""`python -m benchmarks.ablation mvd --seeds 3`: the rows of the papers' tables, over several seeds.

Every row of every seed is a run of the public training command in a process of its own. Options that this command
does not know go to all of them (`--epochs 4 --arch tiny --threads 1`). Finished runs are kept in --runs and not done
again; an interrupted one is resumed. A row's spread is the standard deviation over the seeds. Differences are taken
seed by seed, since a seed has the same weights and batches in every row, and one counts as found where its mean
exceeds the standard deviation of the differences. mmt: all rows of a seed start from the same networks of stage 1.
mvd-public: the terms of MVD's public code, in its own recipe. mvd-choices: what our recommended recipe chose, each
taken back alone.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks import style
from duoreid.benchmarks.ablation_rows import ABLATIONS, Ablation, Row
from duoreid.benchmarks.measure import command_of, environment, inherited
from duoreid.core.checkpoints.files import write_atomically
from duoreid.core.commands.command import guarded
from duoreid.core.errors import UserError, unknown
from duoreid.core.methods.registry import spec_of
from duoreid.core.training.tables import table

PLAN = "ablation.json"

Scores = dict[str, dict[str, float]]
"""What is measured ("mean", or a search) -> {"mAP": ..., "rank-1": ...} in percent."""


def process(command: Sequence[str], log: Path) -> int:
    """Run a command to its end, what it prints appended to a file; return its status."""
    with log.open("a") as file:
        return subprocess.run(command, env=inherited(), stdout=file, stderr=subprocess.STDOUT, check=False).returncode


def train(backend: str, method: str, argv: Sequence[str], folder: Path) -> dict[str, Any]:
    """Return the summary of a run in `folder`: done before, resumed, or begun, in a process of its own."""
    done, plan = folder / "summary.json", {"backend": backend, "method": method, "options": list(argv)}
    if (folder / PLAN).exists() and (other := json.loads((folder / PLAN).read_text())) != plan:
        raise UserError(
            f"{folder} holds a run made with {other}, but {plan} is wanted: choose another --runs, or remove that one."
        )
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / PLAN, json.dumps(plan).encode())
        again = (folder / "config.json").exists()
        words = ["--resume", str(folder)] if again else [method, *argv, "--output", str(folder)]
        command = [sys.executable, "-m", f"backends.{backend}.train", *words]
        print(f"{folder.name}: {' '.join(command[1:])}", file=sys.stderr, flush=True)
        status = process(command, folder / "log.txt")
        if status:
            tail = "\n".join((folder / "log.txt").read_text().splitlines()[-5:])
            raise UserError(f"the run in {folder} ended with status {status}; its last lines:\n{tail}")
    return json.loads(done.read_text())


def scores(summary: Mapping[str, Any], networks: slice = slice(-2, None)) -> Scores:
    """Return what a summary measured. networks: rows of an adaptation's table that count."""

    def of(mean: Mapping[str, float]) -> dict[str, float]:
        return {"mAP": 100 * mean["mean_ap"], "rank-1": 100 * mean["rank1"]}

    if "searches" in summary:
        figures = {search["name"]: of(search["mean"]) for search in summary["searches"]}
    else:
        rows = summary["rows"][networks]
        figures = {str(i): of(row) for i, row in enumerate(rows)}
    mean = {key: float(np.mean([one[key] for one in figures.values()])) for key in ("mAP", "rank-1")}
    return {"mean": mean} | (figures if "searches" in summary else {})


def run_row(ablation: Ablation, row: Row, seed: int, given: argparse.Namespace, more: Sequence[str]) -> Scores:
    """Return the scores of one row under one seed, training what is not there yet."""
    argv, folder = [*ablation.common, *more, "--seed", str(seed)], given.runs / f"seed-{seed}"
    method = row.method or ablation.method
    if ablation.stage1:
        start = folder / "stage-1"
        first = train(given.backend, ablation.method, [*argv, *ablation.stage1], start)
        if row.name == ablation.source:
            return scores(first, slice(0, 2))
        argv += ["--start", str(start)]
    folder /= re.sub(r"[^\w]+", "-", row.name.replace("+", "plus")).strip("-").lower()
    summary = train(given.backend, method, [*argv, *row.options], folder)
    return scores(summary, slice(-len(spec_of(method).embedders), None))


def compare(results: Mapping[str, Sequence[Scores]], against: str) -> dict[str, dict[str, Any]]:
    """Return by row and measure the mean and spread over seeds, and those of its differences from `against`.

    found: the mean difference exceeds the spread of the differences; None where one seed leaves no spread.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, runs in results.items():
        rows[name] = {}
        for what in runs[0]:
            for key in ("mAP", "rank-1"):
                values = np.array([one[what][key] for one in runs])
                base = np.array([one[what][key] for one in results[against]]) if against in results else None
                rows[name][f"{what} {key}"] = _statistics(values, None if name == against else base)
    return rows


def _statistics(values: np.ndarray, base: np.ndarray | None) -> dict[str, Any]:
    spread = float(values.std(ddof=1)) if len(values) > 1 else None
    figures: dict[str, Any] = {"values": values.tolist(), "mean": float(values.mean()), "spread": spread}
    if base is not None:
        change = values - base
        noise = float(change.std(ddof=1)) if len(change) > 1 else None
        clear = None if noise is None else bool(abs(change.mean()) > noise)
        figures |= {"difference": float(change.mean()), "difference_spread": noise, "found": clear}
    return figures


def text(ablation: Ablation, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table; published differences beside ours where there are any."""
    searches = [name.removesuffix(" mAP") for name in next(iter(rows.values())) if name.endswith(" mAP")]
    shown = any(ablation.by_name[name].published for name in rows)
    header = [ablation.method, *(f"{name} mAP" for name in searches[1:]), "mAP", "rank-1", "Δ mAP", "Δ rank-1"]
    lines = []
    for name, row in rows.items():
        cells = [_cell(row[f"{search} mAP"]) for search in searches[1:]]
        cells += [_cell(row["mean mAP"]), _cell(row["mean rank-1"])]
        cells += [_cell(row[f"mean {key}"], "difference") for key in ("mAP", "rank-1")]
        cells.append(_verdict(row["mean mAP"]))
        if shown:
            published = ablation.by_name[name].published
            cells.append("" if published is None else f"{published[0]:+.1f} / {published[1]:+.1f}")
        lines.append([name, *cells])
    return table([*header, "beyond the spread", *(["published Δ"] if shown else [])], lines)


def _cell(value: Mapping[str, Any], key: str = "") -> str:
    if key and key not in value:
        return ""
    mean, spread = (value[key], value[f"{key}_spread"]) if key else (value["mean"], value["spread"])
    shown = f"{mean:+.1f}" if key else f"{mean:.1f}"
    return shown if spread is None else f"{shown} ± {spread:.1f}"


def _verdict(value: Mapping[str, Any]) -> str:
    if "difference" not in value:
        return ""
    return "one seed" if value["found"] is None else "yes" if value["found"] else "no"


def plot(ablation: Ablation, rows: Mapping[str, Mapping[str, Any]], path: Path, words: str) -> None:
    """Draw mean mAP and spread of each row, every seed as a point, and the compared row as a line."""
    names = list(rows)[::-1]
    measured = [rows[name]["mean mAP"] for name in names]
    with style.drawing() as pyplot:
        figure, axes = pyplot.subplots(figsize=(8, 1.3 + 0.42 * len(names)))
        colours = [style.SECOND if name == ablation.against else style.FIRST for name in names]
        spreads = [one["spread"] or 0 for one in measured]
        bars = {"xerr": spreads, "color": colours, "alpha": 0.6, "capsize": 3, "ecolor": style.SOFT}
        axes.barh(names, [one["mean"] for one in measured], **bars)
        for place, one in enumerate(measured):
            axes.plot(one["values"], [place] * len(one["values"]), ".", color=style.INK, markersize=4)
        if ablation.against in rows:
            axes.axvline(rows[ablation.against]["mean mAP"]["mean"], color=style.SECOND, linewidth=0.9)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("mAP in %")
        how = f"Bars: means; lines: spread; points: every seed; orange: {ablation.against}"
        axes.set_title(how, fontsize=9, fontweight="normal", color=style.SOFT)
        style.head(figure, headline(ablation, rows), words)
        style.save(figure, path)


def headline(ablation: Ablation, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what to see: the row that is farthest below the compared one, if that is beyond the spread."""
    changes = {name: row["mean mAP"] for name, row in rows.items() if "difference" in row["mean mAP"]}
    below = {name: one["difference"] for name, one in changes.items() if one["found"]}
    if not below or min(below.values()) >= 0:
        return f"{ablation.method}: no row is below {ablation.against!r} beyond the spread"
    worst = min(below, key=below.get)
    return f"{ablation.method}: most is lost by {worst!r}, {below[worst]:+.1f} points of mAP"


def words(method: str, content: Mapping[str, Any]) -> str:
    """Return what a plot is made of: of the JSON file of an ablation."""
    seeds = content["seeds"]
    count = f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"
    return f"{method}, {count}, {content['backend']}; commit {content['commit']}, {content['processor']}"


def run(given: argparse.Namespace, more: Sequence[str]) -> None:
    """Run the rows, print the table, and write the JSON file and the plot."""
    ablation = ABLATIONS[given.method]
    names = given.rows or ablation.usual()
    for name in names:
        if name not in ablation.by_name:
            raise unknown(f"row of {given.method}", name, ablation.by_name)
    if given.seeds < 1:
        raise UserError(
            f"--seeds must be at least 1, got {given.seeds}: it is how many seeds every row is trained under"
        )
    for option in ("--seed", "--output", "--start", "--resume"):
        if any(word.split("=")[0] == option for word in more):
            raise UserError(f"{option} is chosen by the ablation itself: leave it out (--seeds, --first-seed, --runs)")
    given.runs = (given.runs or Path("runs") / f"ablation-{given.method}-{given.backend}").resolve()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    results: dict[str, list[Scores]] = {name: [] for name in names}
    for seed in seeds:
        for name in names:
            results[name].append(run_row(ablation, ablation.by_name[name], seed, given, more))
    rows = compare(results, ablation.against)
    here = environment()
    command = command_of("ablation")
    about = f"{command}; commit {here['commit']}, {here['processor']}; seeds {seeds[0]} to {seeds[-1]}"
    print(f"\n{text(ablation, rows)}\n\nDifferences are from {ablation.against!r}, seed by seed.\n{about}")
    output = given.output or given.runs / "ablation.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "method": given.method,
        "command": command,
        **here,
        "backend": given.backend,
        "seeds": list(seeds),
        "options": list(more),
    }
    content |= {"against": ablation.against, "rows": rows}
    write_atomically(output, (json.dumps(content, indent=1) + "\n").encode())
    picture = output.with_suffix(".png")
    plot(ablation, rows, picture, words(given.method, content))
    print(f"{output}, {picture}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__, allow_abbrev=False)
    parser.add_argument("method", choices=sorted(ABLATIONS))
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of them (default: 1)")
    parser.add_argument("--backend", choices=("torch", "mindspore"), default="torch")
    listed = "; ".join(f"{name}: {', '.join(one.by_name)}" for name, one in ABLATIONS.items())
    parser.add_argument("--rows", nargs="+", metavar="ROW", help=f"only these, in this order. {listed}")
    parser.add_argument("--runs", type=Path, help="folder of the runs (default: runs/ablation-METHOD-BACKEND)")
    parser.add_argument("--output", type=Path, help="JSON file, with a plot beside it (default: in --runs)")
    given, more = parser.parse_known_args(arguments)
    return guarded(lambda: run(given, more))


if __name__ == "__main__":
    import duoreid.benchmarks.ablation as module

    sys.exit(module.main())
