"""`python -m benchmarks.step mvd --backend torch mindspore`: what a training step costs, forward, backward and update.

Each backend runs in a process of its own, on random images that lie ready. Without further options the steps are those
of the published settings: mvd three ResNet-50, 8 x (4 + 4) images of 288x144 (its public MindSpore code takes 830 ms on
an Ascend 910 and 940 ms on a Titan RTX, objective id+tri); mmt four ResNet-50, 16 x 4 images of 256x128. Options of the
training command change that: `--arch tiny --height 64 --width 32 --objective full`. The first step, which compiles and
allocates, is timed apart; on a device four more are not counted, of which CUDA's last is recorded, to be replayed.
Memory is the largest that the process ever held, its libraries included, and the device's own where it is not the CPU.
`--beside=--no-triton` measures every row once more with this option, or several in quotes, in the same run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.measure import command_of, environment, inherited, peak_memory
from duoreid.core.commands.command import guarded
from duoreid.core.commands.options import parse
from duoreid.core.data import INFRARED, VISIBLE, Split, TrainingSet
from duoreid.core.errors import UserError
from duoreid.core.methods.base import Host, Labelling
from duoreid.core.methods.registry import spec_of
from duoreid.core.random import rng
from duoreid.core.settings.config import Config
from duoreid.core.settings.presets import presets
from duoreid.core.training.tables import table

PUBLISHED = {"mvd": "mvd-regdb-port", "mmt": "mmt-resnet50-duke-market"}
SETTLING = 4
IDENTITIES = 206  # of a half of RegDB; where classes are clusters, as many as these


class Noise:
    """Random images by row: the same ones for every run of the same rows."""

    def __init__(self, count: int, height: int, width: int) -> None:
        self.shape = (count, height, width, 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return rng(0, "step images", len(rows)).integers(0, 256, (len(rows), *self.shape[1:]), np.uint8)


def prepared(config: Config) -> tuple[Host, Labelling]:
    """Return a method over random images of as many people as its published training has, and their labels."""
    spec = spec_of(config.method)
    section = getattr(config, spec.section)
    people = getattr(section, "clusters", IDENTITIES)
    images, modalities = section.images, (VISIBLE, INFRARED)[: spec.modalities]
    identities = np.repeat(np.arange(people, dtype=np.int32), images * len(modalities))
    kinds = np.tile(np.repeat(np.array(modalities, np.uint8), images), people)
    count = len(identities)
    split = Split(tuple(map(str, range(count))), identities, np.zeros(count, np.int32), kinds)
    training = TrainingSet("random images", Noise(count, config.data.height, config.data.width), split)
    method = spec.host(config, dict.fromkeys(spec.datasets, training))
    return method, Labelling(identities, people)


def measure(backend: str, argv: Sequence[str], steps: int) -> dict[str, Any]:
    """Time a first step and then `steps` of them in this process; see the module."""
    entry = importlib.import_module(f"duoreid.backends.{backend}.entry").BACKEND
    method_name = argv[0]
    preset = [] if "--preset" in argv else ["--preset", PUBLISHED[method_name]]
    config, device = parse([*argv, *preset], "python -m benchmarks.step", entry.runtime, presets())
    if config.method not in PUBLISHED:
        raise UserError(f"steps of {' and '.join(PUBLISHED)} are measured, not of {config.method}.")
    method, labelling = prepared(replace(config, method=method_name))
    runtime = entry.open_runtime(device)
    learner = entry.make_learner(method.learner_config(), runtime, config.run.seed)
    rows = method.sample(labelling, 0)[0]
    began = time.perf_counter()
    batch = method.batch(labelling, rows, 0, 0)
    host = time.perf_counter() - began

    def timed(count: int) -> tuple[float, float]:
        wall, used = time.perf_counter(), time.process_time()
        for _ in range(count):
            learner.step(batch, *method.rates(0, 1))
        losses = learner.losses()  # waits for the device
        spent = time.perf_counter() - wall, time.process_time() - used
        if not all(np.isfinite(value) for value in losses.values()):
            raise UserError(f"the losses are not finite after {count} steps on random images: {losses}")
        return spent

    first = timed(1)
    if device_memory(backend, device.device) is not None:
        timed(SETTLING)
    wall, processor = timed(steps)
    peak = peak_memory()  # before anything is copied to be looked at
    return {
        "backend": backend,
        "about": entry.about(runtime),
        "method": config.method,
        "objective": getattr(getattr(config, spec_of(config.method).section), "objective", ""),
        "arch": config.network.arch,
        "images": list(batch.images.shape[:4]),
        **parameters(learner.export_state(), config.method),
        "steps": steps,
        "ms_a_step": 1000 * wall / steps,
        "processor_ms_a_step": 1000 * processor / steps,
        "first_step_ms": 1000 * first[0],
        "host_ms_a_batch": 1000 * host,
        "peak_bytes": peak,
        "device_bytes": device_memory(backend, device.device),
    }


def parameters(state: dict[str, np.ndarray], method: str) -> dict[str, int]:
    """Count what the optimiser trains and what all networks hold, running statistics left out."""

    def count(chosen: Sequence[str]) -> int:
        prefixes = tuple(f"{role}." for role in chosen)
        return sum(
            value.size
            for name, value in state.items()
            if name.startswith(prefixes) and not name.endswith(("running_mean", "running_var"))
        )

    return {"trained_parameters": count(spec_of(method).students), "parameters": count(spec_of(method).all)}


def device_memory(backend: str, device: str) -> int | None:
    """Return the largest number of bytes that tensors took on an accelerator, None on the CPU."""
    if backend == "torch":
        import torch

        on_cpu = device == "cpu" or not torch.cuda.is_available()
        return None if on_cpu else torch.cuda.max_memory_allocated()
    import mindspore

    on_cpu = mindspore.get_context("device_target") == "CPU"
    return None if on_cpu else mindspore.runtime.max_memory_allocated()


def text(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of all backends."""
    header = ("", "ms a step", "processor ms", "first step ms", "steps", "peak MB", "device MB", "trained parameters")
    lines = []
    for row in rows:
        device = "" if row["device_bytes"] is None else f"{row['device_bytes'] / 1e6:.0f}"
        times = (f"{row[key]:.0f}" for key in ("ms_a_step", "processor_ms_a_step", "first_step_ms"))
        memory = f"{row['peak_bytes'] / 1e6:.0f}"
        what = f"{row['about']}, {row['options']}" if row.get("options") else row["about"]
        lines.append([what, *times, str(row["steps"]), memory, device, f"{row['trained_parameters'] / 1e6:.1f} M"])
    one = rows[0]
    views, batch, height, width = one["images"]
    objective = f", {one['objective']}" if one["objective"] else ""
    title = f"{one['method']}{objective}: {one['arch']}, {views} views of {batch} images, {height}x{width}"
    return f"{title}\n\n{table(header, lines)}"


def run(given: argparse.Namespace, more: Sequence[str]) -> None:
    """Measure each backend in a process of its own; print the table and write the JSON file."""
    if given.steps < 1:
        raise UserError(f"--steps must be at least 1, got {given.steps}: it is how many steps are timed")
    rows, failures = [], []
    for backend, options in [(backend, options) for backend in given.backend for options in ("", *given.beside)]:
        command = [sys.executable, "-m", "benchmarks.step", given.method, "--child", "--backend", backend]
        command += ["--steps", str(given.steps), *more, *shlex.split(options)]
        done = subprocess.run(command, env=inherited(), capture_output=True, text=True, check=False)
        if done.returncode:
            failures.append(f"{' '.join([backend, options]).strip()}: {_reason(done)}")
        else:
            rows.append(json.loads(done.stdout.splitlines()[-1]) | {"options": options})
    if rows:
        _tell(rows, given.output)
    if failures:
        raise UserError("\n".join(failures))


def _reason(done: subprocess.CompletedProcess) -> str:
    """Return why a child has failed, in its own words or, where the system has killed it, in ours."""
    if done.returncode == -signal.SIGKILL:
        return (
            "the system has killed it, most likely for memory: the published sizes take 23 GB and more on a CPU. Lower "
            "--identities, or --height and --width."
        )
    return (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").removeprefix("error: ")


def _tell(rows: Sequence[dict[str, Any]], output: Path | None) -> None:
    """Print the table and write the JSON file."""
    here = environment()
    command = command_of("step")
    print(f"{text(rows)}\n\n{command}; commit {here['commit']}, {here['cores']} cores of {here['processor']}")
    print(f"load {here['load']:.1f}")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({"command": command, **here, "rows": rows}, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__, allow_abbrev=False)
    parser.add_argument("method", choices=tuple(PUBLISHED))
    parser.add_argument("--backend", nargs="+", choices=("torch", "mindspore"), default=["torch"])
    parser.add_argument("--steps", type=int, default=3, help="timed after the first one (default: 3)")
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="=OPTIONS",
        help="measure every row with these options too, as --beside=--no-triton; may be given again",
    )
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given, more = parser.parse_known_args(arguments)
    if given.child:
        return guarded(lambda: print(json.dumps(measure(given.backend[0], [given.method, *more], given.steps))))
    return guarded(lambda: run(given, more))


if __name__ == "__main__":
    import duoreid.benchmarks.step as module

    sys.exit(module.main())
