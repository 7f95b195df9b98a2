"""`python -m benchmarks.first_minute`: how long a newcomer waits for text, for an answer, for a first result.

Every command runs in a process of its own, as users start it. The processor's time, of all its processes, hardly
changes when other programs share the machine. `train` begins without data and ends at its first epoch (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from duoreid.benchmarks.measure import environment, inherited
from duoreid.core.commands.command import guarded
from duoreid.core.errors import UserError
from duoreid.core.training.tables import table
from duoreid.datasets.synthetic import generate

PICTURES = 64
FIRST = " · epoch 1/"
"""What only the line of a stage's first epoch holds."""
SHORT = [
    "--size", "tiny", "--pretrain-epochs", "1", "--pretrain-iterations", "1", "--pretrain-identities", "4",
    "--pretrain-images", "2", "--pretrain-milestones", "--threads", "1",
]  # fmt: skip


def processor_seconds(process: int) -> float:
    """Return the processor's time of a process and of those below it, ended ones included."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    below = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(processor_seconds(int(child)) for child in below)


def until(words: Sequence[str], text: str = "") -> tuple[float, float]:
    """Run `duoreid` until it prints a text, or to its end; return the seconds, and the processor's."""
    began, printed = time.perf_counter(), []
    command = [sys.executable, "-m", "duoreid", *words]
    with subprocess.Popen(command, env=inherited(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            printed.append(line.decode(errors="replace"))
            if text and text in printed[-1]:
                seconds = time.perf_counter() - began, processor_seconds(process.pid)
                process.terminate()
                process.stdout.read()
                return seconds
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or text:
        raise UserError(f"duoreid {' '.join(words)} ended with status {process.returncode}:\n{''.join(printed)}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


def gallery(folder: Path) -> tuple[Path, Path]:
    """Make a model as large as `make train` makes, and a folder of pictures; return both."""
    for name in ("synthetic-a", "synthetic-b"):
        generate(name, folder / "tiny", size="tiny", progress=False)
    run, pictures = folder / "model", folder / "pictures"
    until(["train", "source", "--data", str(folder / "tiny"), "--output", str(run), *SHORT])
    pictures.mkdir()
    for file in sorted((folder / "tiny" / "synthetic-b" / "bounding_box_train").glob("*.jpg"))[:PICTURES]:
        shutil.copy(file, pictures)
    return run, pictures


def measure(folder: Path, rounds: int, backend: str, training: bool) -> dict[str, list[tuple[float, float]]]:
    """Return (seconds, processor's seconds) of each round, by what is waited for."""
    run, pictures = gallery(folder)
    search = ["search", str(run), "--backend", backend, "--query", str(min(pictures.iterdir())), "--gallery"]
    seconds: dict[str, list[tuple[float, float]]] = {}
    for number in range(rounds):
        fresh = folder / f"pictures-{number}"
        shutil.copytree(pictures, fresh)
        for what, words in (
            ("duoreid --help", ["--help"]),
            ("duoreid train --help", ["train", "--help"]),
            ("duoreid search --help", ["search", "--help"]),
            (f"duoreid search, {PICTURES} new pictures", [*search, str(fresh)]),
            ("duoreid search, once more", [*search, str(fresh)]),
        ):
            seconds.setdefault(what, []).append(until(words))
    if not training:
        return seconds
    train = ["train", "--backend", backend, "--data", str(folder / "data"), "--output", str(folder / "run")]
    seconds["duoreid train, to its first epoch"] = [until(train, FIRST)]
    seconds["the same, images at hand"] = [until([*train[:-1], str(folder / "again")], FIRST)]
    return seconds


def run(given: argparse.Namespace) -> None:
    """Measure, print the table and write the JSON file."""
    if given.rounds < 1:
        raise UserError(f"--rounds must be at least 1, got {given.rounds}")
    with tempfile.TemporaryDirectory(prefix="first-minute-") as temporary:
        seconds = measure(Path(temporary), given.rounds, given.backend, not given.without_training)
    rows = [
        (what, *(f"{statistics.median(column):.1f}" for column in zip(*times, strict=True)))
        for what, times in seconds.items()
    ]
    print(table(("", "s", "processor s"), rows))
    here = environment()
    print(f"\ncommit {here['commit']}, {here['cores']} cores of {here['processor']}, load {here['load']:.1f}")
    if given.json:
        given.json.write_text(json.dumps({**here, "backend": given.backend, "seconds": seconds}, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_minute", description=__doc__)
    parser.add_argument("--backend", choices=("torch", "mindspore"), default="torch")
    parser.add_argument("--rounds", type=int, default=3, help="of all but training (default: 3)")
    parser.add_argument("--without-training", action="store_true", help="leave out what draws all the images first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the seconds of every round there")
    return guarded(lambda: run(parser.parse_args(arguments)))


if __name__ == "__main__":
    import duoreid.benchmarks.first_minute as module

    sys.exit(module.main())
