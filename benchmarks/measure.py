"""How long calls take beside each other, how much memory one takes, and what they ran on."""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    *("numpy", "scipy", "scikit-learn", "faiss-cpu", "fastreid", "pyppbox-torchreid"),
    *("hnswlib", "hdbscan", "fastcluster", "torchmetrics", "pytorch-metric-learning"),
)


def interleaved(
    calls: dict[str, Callable[[], Any]], repeats: dict[str, int]
) -> tuple[dict[str, tuple[float, float]], dict[str, Any]]:
    """Run the calls in turn, each as often as `repeats` says; return (medians, last results) by name.

    The medians are (seconds, processor seconds of all threads): the latter hardly change when other programs share
    the machine.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    results: dict[str, Any] = {}
    for turn in range(max(repeats[name] for name in calls)):
        for name, call in calls.items():
            if turn < repeats[name]:
                results.pop(name, None)
                started, used = time.perf_counter(), time.process_time()
                results[name] = call()
                seconds[name].append((time.perf_counter() - started, time.process_time() - used))
    medians = {
        name: tuple(statistics.median(column) for column in zip(*times, strict=True)) for name, times in seconds.items()
    }
    return medians, results


def extra_memory(call: Callable[[], Any]) -> int:
    """Return by how many bytes the process grows at its peak while it runs the call (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def peak_memory() -> int:
    """Return the largest number of bytes that this process ever held (Linux)."""
    return _status("VmHWM")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}; memory is measured on Linux only")


def inherited() -> dict[str, str]:
    """Return the environment of a child process that imports the same checkout, from whatever folder it runs in."""
    root, before = str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([root, before] if before else [root])}


def command_of(module: str, words: Sequence[str] | None = None) -> str:
    """Return the command that figures belong to, as a shell takes it: that of this process, or with other words."""
    return shlex.join(["python", "-m", f"benchmarks.{module}", *(sys.argv[1:] if words is None else words)])


def environment() -> dict[str, Any]:
    """Return the commit, hardware and versions that figures belong to."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "commit": _git("rev-parse", "--short", "HEAD")
        + ("+changes" if _git("status", "--porcelain", "../core", "../backends", "../datasets") else ""),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "versions": versions,
    }


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
