"""What tests of whole runs share: a small command line, processes, and the comparison of two run folders."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.commands import options
from duoreid.core.commands.command import train as train_command
from duoreid.core.methods.registry import spec_of
from duoreid.core.training.snapshot import PREVIOUS
from duoreid.datasets.synthetic import generate

ROOT = Path(__file__).parent.parent
SMALL = [
    "--size", "tiny", "--height", "32", "--width", "16", "--pretrain-epochs", "1", "--pretrain-iterations", "3",
    "--pretrain-identities", "4", "--pretrain-images", "2", "--pretrain-milestones", "--epochs", "2",
    "--iterations", "3", "--identities", "4", "--images", "2", "--clusters", "6", "--evaluate-batch", "32",
    "--save-every", "2", "--loss-every", "2",
]  # fmt: skip


def options_of(method: str, words: list[str]) -> list[str]:
    """Return the options among the words that a method has, with their values."""
    known, kept, keep = options.flags_of(spec_of(method)), [], True
    for word in words:
        if word.startswith("--"):
            keep = word in known
        if keep:
            kept.append(word)
    return kept


@cache
def small_data() -> Path:
    """Return a folder with the two synthetic domains at their smallest, made once a process."""
    folder = Path(tempfile.mkdtemp(prefix="duoreid-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("synthetic-a", "synthetic-b"):
        generate(name, folder, size="tiny", progress=False)
    return folder


def train(backend: str, *argv: str) -> int:
    """Run in this process, and leave torch's threads as they were; returns the exit status."""
    entry, threads = importlib.import_module(f"duoreid.backends.{backend}.entry"), torch.get_num_threads()
    try:
        return train_command(entry.BACKEND, entry.open_data, list(argv))
    finally:
        torch.set_num_threads(threads)


def command(*words: str) -> list[str]:
    """Return a command of this Python, `-m` before the words."""
    return [sys.executable, "-m", *words]


def signals_as_usual() -> None:
    """Let signals do what they do in a terminal: below nohup, or in the background, the tests' own are ignored."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def start(*words: str, **options: object) -> subprocess.Popen:
    """Start `python -m WORDS` from the repository's root with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOG_v": "3"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT} | options
    return subprocess.Popen(command(*words), env=environment, **({"preexec_fn": signals_as_usual} | options))


def bound_by_modes() -> None:
    """Make file modes bind this process and those it becomes, root's too: for `preexec_fn`.

    PR_CAPBSET_DROP of CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, which take effect at the next exec.
    """
    if os.geteuid() == 0:
        library = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2):
            if library.prctl(24, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "root's right over file modes cannot be given up")


def finish(*words: str, **options: object) -> tuple[int, str, str]:
    """Run `python -m WORDS` to its end -> (status, what it printed, its errors)."""
    with start(*words, **options) as process:
        try:
            printed, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    return process.returncode, printed, errors


def lines(folder: Path) -> list[dict]:
    """Return what metrics.jsonl holds."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


LOGGED = ("epoch", "test", "losses")


def assert_same_run(run: Path, expected: Path) -> None:
    """Every tensor of every kept state bitwise the same, the same table, and no epoch, test or losses logged twice."""
    files = sorted(path.name for path in expected.glob("*.safetensors") if path.name != PREVIOUS)
    for name in files:
        one, two = (checkpoint.load(folder / name)[0] for folder in (run, expected))
        assert one.keys() == two.keys()
        for tensor, value in two.items():
            np.testing.assert_array_equal(one[tensor], value, err_msg=f"{name}: {tensor}")
    tables = [json.loads((folder / "summary.json").read_text())["rows"] for folder in (run, expected)]
    times = ("seconds", "cluster_seconds")
    one, two = ([{k: v for k, v in row.items() if k not in times} for row in table] for table in tables)
    assert one == two
    events = [[line for line in lines(folder) if line["event"] in LOGGED] for folder in (run, expected)]
    keys = ("event", "stage", "epoch", "step", "network", "rate", "losses", "mean_ap")
    one, two = ([{key: line.get(key) for key in keys} for line in part] for part in events)
    assert one == two
