"""`python -m benchmarks.golden`: the public MMT code's trainers, replayed whole beside its own numbers.

Each row runs in a process of its own, whose memory is its own: two epochs of MMT with a relabelling between them, the
pre-trainer and the baseline, with ResNet-50 and with IBN-ResNet-50-a. The numbers lie in a checkout's tests/golden/mmt.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from duoreid.benchmarks.golden.mmt import ARCHS, TRAINERS, Difference, replay
from duoreid.benchmarks.measure import environment, inherited, peak_memory

FOLDER = Path(__file__).resolve().parents[2]
NUMBERS, RESULTS = FOLDER / "tests/golden/mmt/mmt-trainer.json", FOLDER / "benchmarks/results/golden.json"
COLUMNS = ("losses, first epoch", "losses, later", "gradients", "weights, first epoch", "weights, later", "embeddings")
HEADINGS = ("backend", "network", "trainer", "type", "steps", *COLUMNS, "s", "GB")


def measure(backend: str, arch: str, trainer: str, precision: str, steps: int, numbers: Path) -> dict[str, Any]:
    """Replay one trainer in this process; return the largest difference of each kind."""
    probe, recorded = importlib.import_module(f"duoreid.backends.{backend}.probe"), json.loads(numbers.read_text())
    epoch = len(recorded[arch]["mmt"]["epochs"][0]["steps"]) if trainer == "mmt" else steps
    began, used = time.perf_counter(), time.process_time()
    differences = replay(
        lambda config: probe.make_learner(config, precision=precision), recorded, trainer, arch, steps=steps
    )
    row = worst(differences, epoch)
    return row | {
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "bytes": peak_memory(),
    }


def worst(differences: Iterable[Difference], epoch: int) -> dict[str, Any]:
    """Return the largest difference of each kind, those of steps beyond the first epoch apart, and the steps done."""
    largest: dict[str, tuple[float, str]] = {}
    steps = 0
    for difference in differences:
        when = ", first epoch" if difference.step <= epoch else ", later"
        name = {"loss": f"losses{when}", "weights": f"weights{when}"}.get(difference.kind, f"{difference.kind}s")
        if name == "embeddings" and difference.step:
            name = "embeddings, later"
        before = largest.get(name, (-1.0, ""))[0]
        if not (difference.value <= before or math.isnan(before)):  # NaN is larger than all
            largest[name] = (difference.value, difference.what)
        steps = max(steps, difference.step)
    return {
        "steps": steps,
        "differences": {name: value for name, (value, _) in largest.items()},
        "at": {n: w for n, (_, w) in largest.items()},
    }


def in_a_process(case: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Measure one case in a fresh process, in at most so much memory; return its row, or what became of it."""
    command = [sys.executable, "-m", "duoreid.benchmarks.golden", "--case", *case, "--steps", str(options.steps)]
    command += ["--numbers", str(options.numbers), "--memory", str(options.memory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=inherited())
    backend, arch, trainer, precision = case
    row = {"backend": backend, "network": arch, "trainer": trainer, "precision": precision}
    if done.returncode == 0:
        return row | json.loads(done.stdout.splitlines()[-1])
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["killed"]
    reason = next((line.strip() for line in lines if "memory" in line.lower()), lines[-1].strip())
    return row | {"failed": f"exit {done.returncode}: {reason[:150]}"}


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    cells = [HEADINGS, ["---"] * len(HEADINGS)]
    for row in rows:
        start = [row["backend"], row["network"], row["trainer"], row["precision"]]
        if "failed" in row:
            cells.append([*start, row["failed"], *["-"] * (len(HEADINGS) - 5)])
            continue
        differences = row["differences"]
        values = [f"{differences[name]:.0e}" if name in differences else "-" for name in COLUMNS]
        cells.append([*start, str(row["steps"]), *values, f"{row['seconds']:.0f}", f"{row['bytes'] / 1e9:.1f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.golden", description=__doc__)
    parser.add_argument("--backend", nargs="+", default=["torch"], choices=["torch", "mindspore"])
    parser.add_argument("--arch", nargs="+", default=list(ARCHS), choices=list(ARCHS))
    parser.add_argument("--trainer", nargs="+", default=list(TRAINERS), choices=list(TRAINERS))
    parser.add_argument("--precision", default="float64", choices=["float32", "float64"])
    parser.add_argument("--steps", type=int, default=20, help="steps at most, default: all")
    parser.add_argument("--memory", type=int, default=0, help="GiB that a process may take; 0: any")
    parser.add_argument("--numbers", type=Path, default=NUMBERS, help="mmt-trainer.json, default: %(default)s")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON of all rows, default: %(default)s")
    parser.add_argument("--case", nargs=4, metavar=("BACKEND", "ARCH", "TRAINER", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not options.numbers.is_file():
        parser.error(f"{options.numbers} is not there: run from a checkout, or give --numbers mmt-trainer.json")
    if options.case:
        if options.memory:
            resource.setrlimit(resource.RLIMIT_AS, (options.memory << 30, options.memory << 30))
        sys.stdout.write(json.dumps(measure(*options.case, options.steps, options.numbers)) + "\n")
        return 0
    cases = [
        (backend, arch, trainer, options.precision)
        for backend in options.backend
        for arch in options.arch
        for trainer in options.trainer
    ]
    rows = []
    for case in cases:
        sys.stderr.write(f"{' '.join(case)} ...\n")
        rows.append(in_a_process(case, options))
        keep(options.output, rows[-1])
    sys.stdout.write(f"{table(rows)}\n\n{options.output}\n")
    return int(any("failed" in row for row in rows))


def keep(output: Path, row: dict[str, Any]) -> None:
    """Write a row in the place of an earlier one of the same case, with what it ran on."""
    names = ("backend", "network", "trainer", "precision")
    earlier = json.loads(output.read_text())["rows"] if output.exists() else []
    rows = [other for other in earlier if any(other[name] != row[name] for name in names)]
    measured = environment()
    row = (
        row | {name: measured[name] for name in ("commit", "processor", "cores")} | {"load": round(measured["load"], 1)}
    )
    rows = sorted([*rows, row], key=lambda other: [other[name] for name in names])
    output.write_text(json.dumps({"command": "python -m benchmarks.golden", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    import duoreid.benchmarks.golden.__main__ as module

    sys.exit(module.main())
