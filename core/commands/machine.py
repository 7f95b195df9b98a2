"""`duoreid machine`: what this machine is for the project, and what would make it faster."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from duoreid.core.commands.parsing import Parser
from duoreid.core.numeric.products import GENERATIONS, Choice, chosen, product
from duoreid.core.numeric.threads import workers

GIGABYTE = 1e9
SCARCE_MEMORY = 4  # GB
SCARCE_DISK = 5  # GB
SIDE = 1024  # of the matrices whose product is timed


def main(argv: Sequence[str], prog: str, frameworks: Mapping[str, Callable[[], str]]) -> int:
    """Print what was seen and what to do about it; return 0.

    frameworks: by name, () -> the framework, its version and its device, in words.
    """
    options = build(prog).parse_args(argv)
    choice = chosen()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    total, available = memory()
    free = shutil.disk_usage(Path.cwd()).free / GIGABYTE
    say("processor", f"{processor()}, {cores} cores, {workers()} of them used")
    say("memory", "unknown" if total is None else f"{total:.1f} GB, {available:.1f} GB available")
    say("disk", f"{free:.1f} GB free in {Path.cwd()}")
    for library in choice.libraries:
        named = f"{library.name} {library.version}, kernels {library.kernels or 'unnamed'}"
        say(f"BLAS of {library.owner or 'others'}", named)
    say("core's products", f"by {choice.owner}: {choice.reason}; {speed():.0f} GFLOP/s with one thread")
    devices = {}
    if not options.quick:
        for name, about in frameworks.items():
            devices[name] = about()
            say(name, devices[name])
    for line in advice(choice, cores, available, free, devices, dict(os.environ)) or ["nothing would help"]:
        say("advice", line)
    return 0


def build(prog: str) -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = Parser(
        prog=prog,
        add_help=True,
        description="Say what this machine has: the BLAS that computes matrix products and its kernels, cores, memory, "
        "free disk, devices of the frameworks; and what would make it faster.",
    )
    parser.add_argument("--quick", action="store_true", help="leave out the frameworks, whose import takes seconds")
    return parser


def advice(
    choice: Choice,
    cores: int,
    available: float | None,
    free: float,
    devices: Mapping[str, str],
    environment: Mapping[str, str],
) -> list[str]:
    """Return what would make this machine faster, most first. available, free: GB of memory (None: unknown) and disk.

    >>> advice(Choice("numpy", "", ()), 2, 20.0, 90.0, {}, {"OMP_NUM_THREADS": "1"})
    ['OMP_NUM_THREADS=1 leaves 1 of 2 cores idle: unset it where nothing else runs.']
    """
    lines = []
    used = next((library for library in choice.libraries if library.owner == choice.owner), None)
    forced = environment.get("OPENBLAS_CORETYPE")
    if forced:
        lines.append(f"OPENBLAS_CORETYPE={forced} fixes the kernels of NumPy's and SciPy's products: unset it.")
    elif used is not None and used.generation is not None and used.generation < len(GENERATIONS) - 2:
        lines.append(
            f"{used.kernels} are old kernels of OpenBLAS. If the processor is newer, a newer SciPy or numpy>=2 may "
            "know it (MindSpore needs numpy<2): pip install --upgrade scipy"
        )
    asked = environment.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and 0 < int(asked) < cores:
        idle = f"{cores - int(asked)} of {cores} cores idle"
        lines.append(f"OMP_NUM_THREADS={asked} leaves {idle}: unset it where nothing else runs.")
    if devices and not any(word in text for text in devices.values() for word in ("NVIDIA", "Ascend", "GPU")):
        lines.append("no framework sees a GPU or an Ascend device: the presets at full size are meant for one.")
    if available is not None and available < SCARCE_MEMORY:
        lines.append(f"{available:.1f} GB of memory are little: lower --evaluate-batch, --height and --width.")
    if free < SCARCE_DISK:
        lines.append(f"{free:.1f} GB of disk are little: a run keeps snapshots, and decoded images are cached.")
    return lines


def say(name: str, text: str) -> None:
    """Print one line at once: the next may take seconds."""
    print(f"{name:>16}  {text}")
    sys.stdout.flush()


def processor() -> str:
    """Return the processor's name."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def memory() -> tuple[float, float] | tuple[None, None]:
    """Return how much memory there is and how much of it is available, in GB; None where the system does not say."""
    file = Path("/proc/meminfo")
    if not file.exists():
        return None, None
    kilobytes = {line.split(":")[0]: float(line.split()[1]) for line in file.read_text().splitlines() if ":" in line}
    return kilobytes["MemTotal"] * 1024 / GIGABYTE, kilobytes["MemAvailable"] * 1024 / GIGABYTE


def speed() -> float:
    """Return the speed of a float32 product with one thread in GFLOP/s: the best of five, by processor time."""
    left, right, out = np.ones((3, SIDE, SIDE), np.float32)
    seconds = []
    with threadpool_limits(1, user_api="blas"):
        for _ in range(5):
            began = time.thread_time()
            product(left, right.T, out)
            seconds.append(time.thread_time() - began)
    return 2 * SIDE**3 / min(seconds) / 1e9
