"""`python -m benchmarks.soak_commands --kills 10`: kill what writes files at random moments, and see what it leaves.

Each command runs once undisturbed. Then it is killed by SIGKILL at random moments, and after each kill it runs to its
end in the same folder: that folder must hold the same files with the same bytes as the undisturbed one, and no process
may be left. What is killed: the generation of synthetic images by several processes, the decoding into the cache, a
gallery that pictures are added to, an export, and an evaluation that saves features. Half of the moments are drawn from
the whole command, half from the time in which it writes. `benchmarks.soak` does the same to training.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from duoreid.benchmarks.soak import ROOT, RUN, record
from duoreid.core.training.tables import table
from duoreid.datasets.synthetic import generate

MARK = "DUOREID_SOAK"
NETWORKS = {"gallery", "export", "evaluation"}
"""What needs a trained run, and a backend."""
PICTURES = "synthetic-b/bounding_box_test"
CACHE = (
    "import sys\n"
    "from duoreid.core.settings.config import DataConfig\n"
    "from duoreid.datasets.library import open_data\n"
    "open_data('synthetic-b', DataConfig(data=sys.argv[1], size='tiny', cache_folder=sys.argv[2]))"
)


def commands(backend: str, data: Path, run: Path) -> dict[str, Callable[[Path], list[str]]]:
    """Return, by what is killed, the command that writes into a folder."""
    module = f"backends.{backend}"
    return {
        "generation": lambda folder: [
            "-m", "datasets.synthetic", "synthetic-b", str(folder), "--size", "tiny", "--workers", "2",
        ],
        "cache": lambda folder: ["-c", CACHE, str(data), str(folder)],
        "gallery": lambda folder: [
            "-m", "duoreid", "search", str(run), "--backend", backend, "--threads", "1", "--batch", "4", "--query",
            str(_query(data)), "--gallery", str(folder / "gallery"), "--add", str(data / PICTURES),
        ],
        "export": lambda folder: [
            "-m", f"{module}.export", str(run), "--network", "teacher1", "--format", "npz", "--output",
            str(folder / "model.npz"),
        ],
        "evaluation": lambda folder: [
            "-m", f"{module}.evaluate", str(run), "--data", str(data), "--save-features", str(folder / "f.npz"),
            "--threads", "1",
        ],
    }  # fmt: skip


def _query(data: Path) -> Path:
    """Return a picture to search for."""
    return min((data / PICTURES).glob("*.jpg"))


def start(words: Sequence[str], mark: str) -> subprocess.Popen:
    """Start a command whose processes carry a mark in their environment."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOG_v": "3", MARK: mark}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, **pipes)


def left_running(mark: str, patience: float = 2.0) -> int:
    """Return how many marked processes are there after so many seconds at most (Linux)."""
    until = time.monotonic() + patience
    while (count := _marked(mark)) and time.monotonic() < until:
        time.sleep(0.05)
    return count


def _marked(mark: str) -> int:
    count = 0
    for folder in Path("/proc").iterdir():
        try:
            count += folder.name.isdigit() and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
        except OSError:  # it has just ended, or is another user's
            continue
    return count


def contents(folder: Path) -> dict[str, str]:
    """Return a digest of every file below a folder, locks aside: they stay, and hold nothing."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith((".lock", "lock"))]
    return {str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest() for path in files}


def whole(words: Sequence[str], mark: str, writes: Path | None = None) -> tuple[float, float]:
    """Run a command to its end; return its seconds and those until it wrote; SystemExit where it fails, with its words.

    writes: the folder that it writes into; None: it is not looked at, and 0 stands for the time until then.
    """
    began, first = time.perf_counter(), 0.0
    with start(words, mark) as process, ThreadPoolExecutor(1) as reading:
        printed = reading.submit(process.stdout.read)  # so that its pipe does not fill
        while process.poll() is None:
            if writes and not first and any(writes.iterdir()):
                first = time.perf_counter() - began
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{printed.result()}")
    return time.perf_counter() - began, first


class Soaked(NamedTuple):
    """What kills did to a command. begun: kills that left files which were not all of them. wrong: "" where nothing."""

    kills: int
    begun: int
    wrong: str


def soak(
    name: str,
    command: Callable[[Path], list[str]],
    kills: int,
    folder: Path,
    draw: random.Random,
    keep: Callable[[Soaked], None],
) -> Soaked:
    """Kill a command so many times, and let it run to its end after each; the first thing that is wrong ends it.

    keep: is handed what was seen so far after each kill that did no harm.
    """
    reference, begun = folder / f"{name}-reference", 0
    reference.mkdir()
    seconds, first = whole(command(reference), f"{os.getpid()}-{name}", reference)
    expected = contents(reference)
    if not expected:
        return Soaked(0, 0, "the undisturbed command has written nothing")
    for number in range(kills):
        place, mark = folder / f"{name}-{number}", f"{os.getpid()}-{name}-{number}-"
        place.mkdir()
        with start(command(place), mark) as process:
            moment = draw.uniform(first if number % 2 else 0, seconds)
            while number % 2 and process.poll() is None and not any(place.iterdir()):
                time.sleep(0.005)  # it may be slower to begin than the undisturbed one was
            time.sleep(moment - first if number % 2 else moment)
            process.kill()
            process.communicate()
        if left := left_running(mark):
            return Soaked(number + 1, begun, f"{left} processes were left two seconds after kill {number + 1}")
        begun += bool(files := contents(place)) and files != expected
        whole(command(place), mark)
        if contents(place) != expected:
            wrong = sorted(dict(contents(place).items() ^ expected.items()))
            return Soaked(
                number + 1, begun, f"after kill {number + 1} other files, or other bytes: {', '.join(wrong[:3])}"
            )
        shutil.rmtree(place)
        keep(Soaked(number + 1, begun, ""))
    return Soaked(kills, begun, "")


def _keep(given: argparse.Namespace, name: str, soaked: Soaked) -> None:
    if given.json:
        backend = given.backend if name in NETWORKS else "none"
        record(given.json, name, backend, soaked._asdict() | {"seed": given.seed})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak_commands", description=__doc__)
    parser.add_argument("--backend", choices=("torch", "mindspore"), default="torch")
    parser.add_argument("--kills", type=int, default=10, help="of each command (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--only", nargs="+", metavar="WHAT", help="generation, cache, gallery, export, evaluation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results there, beside those of others")
    given = parser.parse_args(arguments)
    draw, rows, wrong = random.Random(given.seed), [], 0
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = Path(temporary)
        data, run = folder / "data", folder / "run"
        for name in ("synthetic-a", "synthetic-b"):
            generate(name, data, size="tiny", progress=False)
        chosen = commands(given.backend, data, run)
        if NETWORKS & set(given.only or chosen):
            train = ["-m", f"backends.{given.backend}.train", "--data", str(data), *RUN, "--epochs", "1"]
            whole([*train, "--output", str(run), "--threads", "1"], "training")
        for name, command in chosen.items():
            if not given.only or name in given.only:
                soaked = soak(name, command, given.kills, folder, draw, partial(_keep, given, name))
                _keep(given, name, soaked)
                rows.append(
                    (name, str(soaked.kills), str(soaked.begun), soaked.wrong or "the same bytes, nothing left")
                )
                print(": ".join(rows[-1]), flush=True)
                wrong += bool(soaked.wrong)
    print("\n" + table(("killed", "times", "in the midst of writing", ""), rows))
    return 1 if wrong else 0


if __name__ == "__main__":
    import duoreid.benchmarks.soak_commands as module

    sys.exit(module.main())
