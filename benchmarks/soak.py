"""`python -m benchmarks.soak --backend torch --kills 30`: kill training at random moments until it must be exact.

Trains once undisturbed, then again and again with SIGKILL at random moments, each time taken up with --resume. Every
run that reaches its end is compared with the undisturbed one, bit for bit.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.measure import environment
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints.files import write_atomically
from duoreid.core.training import tables as report
from duoreid.datasets.synthetic import generate

ROOT = Path(__file__).parent.parent
RUN = [
    "--size", "tiny", "--height", "32", "--width", "16", "--pretrain-epochs", "2", "--pretrain-iterations", "6",
    "--pretrain-identities", "4", "--pretrain-images", "2", "--pretrain-milestones", "--epochs", "4",
    "--iterations", "12", "--identities", "4", "--images", "2", "--clusters", "6", "--evaluate-batch", "32",
    "--save-every", "4", "--loss-every", "4", "--select", "test",
]  # fmt: skip
WRAPPER = (
    "import faulthandler, runpy, signal, sys\n"
    "faulthandler.register(signal.SIGUSR2, file=open(sys.argv[1], 'w'), all_threads=False)\n"
    "sys.argv = sys.argv[2:]\n"
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)
"""Runs a module in a process that writes its stack to a file on SIGUSR2: what it was doing just before its death."""

DOING = {
    "keep": "saving",
    "save": "saving",
    "label": "labelling",
    "test": "testing",
    "step": "step",
    "losses": "reading losses",
    "open_data": "opening data",
    "make_learner": "building networks",
    "import_state": "loading",
    "latest": "loading",
    "_find_and_load": "importing",
}
"""Functions of the library in the order in which they decide, and what they do."""


def begin(backend: str, argv: list[str], stack: Path) -> subprocess.Popen:
    """Start a training process that can tell what it is doing."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOG_v": "3"}
    words = [sys.executable, "-c", WRAPPER, str(stack), f"backends.{backend}.train", *argv]
    return subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def undisturbed(backend: str, argv: list[str], stack: Path) -> float:
    """Run to the end -> seconds; an error ends the soak."""
    began = time.perf_counter()
    process = begin(backend, argv, stack)
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the undisturbed run of {backend} failed:\n{printed}")
    return time.perf_counter() - began


def kill(process: subprocess.Popen, after: float, stack: Path) -> tuple[bool, str, str]:
    """Kill a process after so many seconds -> (killed, what it was doing, what it had printed)."""
    try:
        printed, _ = process.communicate(timeout=after)
        return False, "ended", printed
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGUSR2)
        until = time.perf_counter() + 0.05
        while time.perf_counter() < until and not (stack.exists() and stack.stat().st_size):
            time.sleep(0.001)
        process.kill()
    printed, _ = process.communicate()
    return True, doing(stack.read_text() if stack.exists() else ""), printed


def doing(stack: str) -> str:
    """Return what a stack of Python's functions, the innermost first, is about."""
    functions = [line.rsplit(" in ", 1)[1].strip() for line in stack.splitlines() if " in " in line]
    return next((text for name, text in DOING.items() if name in functions), "starting" if not functions else "between")


def taken_up(printed: str) -> str:
    """Return where a process says that it goes on from."""
    return next((line.split("goes on from ")[1] for line in printed.splitlines() if "goes on from " in line), "")


def differences(run: Path, expected: Path) -> str:
    """Return what differs bitwise between the states and the tables of two runs; empty where nothing does."""
    for file in ("stage1-1", "stage1-2", "best", "last"):
        one, two = (checkpoint.load(folder / f"{file}.safetensors")[0] for folder in (run, expected))
        wrong = [name for name in one.keys() | two.keys() if name not in one or name not in two]
        wrong = wrong or [name for name in two if not np.array_equal(one[name], two[name])]
        if wrong:
            return f"{file}: {len(wrong)} tensors differ, {sorted(wrong)[0]} among them"
    scores = [[row["mean_ap"] for row in summary(folder)["rows"]] for folder in (run, expected)]
    epochs = collections.Counter((line["stage"], line["epoch"]) for line in lines(run) if line["event"] == "epoch")
    if scores[0] != scores[1]:
        return "the tables differ"
    return "an epoch is logged twice" if max(epochs.values()) > 1 else ""


def soak(backend: str, kills: int, folder: Path, argv: list[str], seed: int) -> dict[str, Any]:
    """Kill so many times; print a line for each and the verdict; return the counts, "wrong" of what was different."""
    draw, stack, reference = random.Random(seed), folder / "stack", folder / "reference"
    seconds = undisturbed(backend, [*argv, "--output", str(reference)], stack)
    print(f"undisturbed: {seconds:.1f} s\n\n kill  after s  in the midst of    went on from")
    done, wrong, ended, places = 0, 0, 0, collections.Counter()
    while done < kills or (folder / f"run{ended}").exists():
        run = folder / f"run{ended}"
        given = ["--resume", str(run)] if (run / "config.json").exists() else [*argv, "--output", str(run)]
        stack.unlink(missing_ok=True)
        after = draw.uniform(0, seconds) if done < kills else 600
        began = time.perf_counter()
        killed, what, printed = kill(begin(backend, given, stack), after, stack)
        where = taken_up(printed) or ("the start" if "--output" in given else "")
        if killed:
            done, places[what] = done + 1, places[what] + 1
            print(f"{done:5d} {after:8.2f}  {what:18s} {where}", flush=True)
            continue
        if "--output" in given:  # nothing interrupted it: how long a run takes now
            seconds = time.perf_counter() - began
        ended += 1
        result = differences(run, reference) if (run / "summary.json").exists() else f"failed:\n{printed}"
        wrong += bool(result)
        print(
            f"  end           {'run ' + str(ended):18s} {where}: {result or 'bitwise the undisturbed run'}", flush=True
        )
    print("\n" + report.table(("killed while", "times"), [(name, str(n)) for name, n in places.most_common()]))
    verdict = "every one bitwise the undisturbed run" if not wrong else f"{wrong} DIFFERENT"
    print(f"\n{backend}: {done} kills, {ended} runs, {verdict}.")
    return {"kills": done, "runs": ended, "places": dict(places), "wrong": verdict if wrong else "", "seed": seed}


def record(file: Path, what: str, backend: str, result: dict[str, Any]) -> None:
    """Keep a result in a JSON file, in the place of an earlier one of the same kind, backend and seed."""
    earlier = json.loads(file.read_text())["rows"] if file.exists() else []
    here = {name: value for name, value in environment().items() if name in ("commit", "processor", "cores")}
    new = {"what": what, "backend": backend, **result, **here}
    by_key = {(row["what"], row["backend"], row["seed"]): row for row in [*earlier, new]}
    rows = [by_key[key] for key in sorted(by_key)]
    write_atomically(file, (json.dumps({"rows": rows}, indent=1) + "\n").encode())


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--output", type=Path, help="folder of the runs; default: a temporary one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the result there, beside those of others")
    given, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = given.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("synthetic-a", "synthetic-b"):
            generate(name, folder / "data", size="tiny", progress=False)
        argv = ["--data", str(folder / "data"), *RUN, *more]
        result = soak(given.backend, given.kills, folder, argv, given.seed)
        if given.json:
            record(given.json, "training", given.backend, result)
        return 1 if result["wrong"] else 0


if __name__ == "__main__":
    import duoreid.benchmarks.soak as module

    sys.exit(module.main())
