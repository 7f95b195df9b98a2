"""`python -m benchmarks.endurance --backend torch mindspore`: does memory stay constant over 2,000 steps of training?

A whole run in a process of its own: labelling, training, tests and snapshots, epoch after epoch. Its resident memory is
read whenever it has written down the losses of some more steps. What counts is the slope over the second half of the
steps, by least squares: what a leak adds. Caches and compiled code are there by then. More options are those of the
training command (Linux).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.measure import command_of, environment, inherited
from duoreid.benchmarks.soak import RUN, lines
from duoreid.core.commands.command import guarded
from duoreid.core.errors import UserError
from duoreid.core.training.tables import table
from duoreid.datasets.synthetic import generate

EPOCH, EVERY = 100, 20  # steps of an epoch, and between two readings
SHOWN = 5


def resident(process: subprocess.Popen) -> int | None:
    """Return the bytes that a process holds now, None where it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:")), None)


def steps_done(run: Path) -> int:
    """Return how many steps of adaptation a run has written down."""
    try:
        events = [line for line in lines(run) if line["event"] == "losses" and not line["stage"].startswith("stage 1")]
    except (FileNotFoundError, json.JSONDecodeError):  # not yet there, or a line that is being written
        return 0
    return max((line["iteration"] for line in events), default=0)


def watch(backend: str, steps: int, folder: Path, more: Sequence[str]) -> list[tuple[int, int]]:
    """Train so many steps; return (step, bytes resident) of the readings."""
    run = folder / backend
    words = [*RUN, "--epochs", str(-(-steps // EPOCH)), "--iterations", str(EPOCH), "--loss-every", str(EVERY)]
    words += ["--data", str(folder / "data"), "--output", str(run), "--threads", "1", *more]
    printed, readings = folder / f"{backend}.txt", []
    with printed.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"backends.{backend}.train", *words],
            env=inherited() | {"OMP_NUM_THREADS": "1", "GLOG_v": "3"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                time.sleep(0.2)
                done, held = steps_done(run), resident(process)
                if held and done > (readings[-1][0] if readings else 0):
                    readings.append((done, held))
        finally:
            process.kill()
    if process.returncode:
        raise UserError(f"the run ended with status {process.returncode}:\n{printed.read_text()}")
    return readings


def slope(readings: Sequence[tuple[int, int]]) -> float:
    """Return by how many bytes a step memory grows over the second half of the steps.

    >>> round(slope([(0, 0), (10, 500), (20, 520), (30, 540), (40, 560)]), 9)
    2.0
    """
    step, held = np.array(readings, np.float64).T
    late = step >= step[-1] / 2
    if late.sum() < 2:
        raise UserError(f"{late.sum()} reading(s) in the second half of {step[-1]:g} steps give no slope: take more.")
    return float(np.polyfit(step[late], held[late], 1)[0])


def text(backend: str, readings: Sequence[tuple[int, int]]) -> str:
    """Return a table of some of the readings, and the slope."""
    places = sorted(set(np.linspace(0, len(readings) - 1, SHOWN).astype(int).tolist()))
    rows = [(str(readings[place][0]), f"{readings[place][1] / 1e6:.1f}") for place in places]
    return f"{table((f'{backend}: step', 'MB'), rows)}\n{slope(readings) / 1e3:.2f} kB a step over the second half"


def run(given: argparse.Namespace, more: Sequence[str]) -> None:
    """Train with each backend; print the tables and write the JSON file."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="endurance-") as temporary:
        for name in ("synthetic-a", "synthetic-b"):
            generate(name, Path(temporary) / "data", size="tiny", progress=False)
        for backend in given.backend:
            readings = watch(backend, given.steps, Path(temporary), more)
            rows[backend] = {"bytes_a_step": slope(readings), "readings": readings}
            print(text(backend, readings), flush=True)
    if given.json:
        command = command_of("endurance")
        given.json.write_text(json.dumps({"command": command, **environment(), "backends": rows}) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__, allow_abbrev=False)
    parser.add_argument("--backend", nargs="+", choices=("torch", "mindspore"), default=["torch"])
    parser.add_argument("--steps", type=int, default=2000, help=f"in epochs of {EPOCH} (default: 2000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the readings there")
    given, more = parser.parse_known_args(arguments)
    return guarded(lambda: run(given, more))


if __name__ == "__main__":
    import duoreid.benchmarks.endurance as module

    sys.exit(module.main())
