"""Hold the two backends against each other on the same bytes and against float64.

Makes one state and keyed batches, runs each backend in a process of its own, and prints how far each is from the truth
layer by layer and loss by loss, and how far the two are apart in gradients, in weights after 1, 10, 100 steps, in the
losses of every step, and in retrieval and clusters at the end: each number with its limit, the limit's reason and a
verdict. Ends with 0 where everything is within its limit, else with 1.

Two machines: `--record FILE` runs one half and writes it down; `--against FILE` elsewhere runs the other half, with the
settings of the file, and compares. `--against FILE --record FILE2` also keeps the second half; `--compare FILE FILE2`
runs nothing. A checkpoint that the run started from (`--state`) must be named again where its place has changed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from duoreid.benchmarks.parity import halves, report
from duoreid.benchmarks.parity.compare import compare
from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.halves import Half
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.commands.command import guarded
from duoreid.core.commands.model_options import add_fields
from duoreid.core.errors import UserError
from duoreid.core.settings.config import NetworkConfig, as_dict, validate

ROOT = Path(__file__).parents[2]
BACKENDS = ("torch", "mindspore")
NETWORK = ("arch", "stem_relu", "last_stride", "batch_norm_group")


def parser() -> argparse.ArgumentParser:
    """Return the command's options: those of an Exam, of what to run, and of each backend's device."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_exam(made)
    run = made.add_argument_group("what is run")
    run.add_argument("--double", choices=("both", "torch", "mindspore", "none"), help=DOUBLE)
    run.add_argument("--double-steps", type=_count, help="steps of training in float64 (default: as many as --steps)")
    run.add_argument("--envelope", type=_count, help=ENVELOPE)
    run.add_argument("--double-envelope", type=_count, help="the same in float64, where both run in it (default: 3)")
    run.add_argument("--backend", choices=BACKENDS, help="with --record or --against: whose half is run")
    run.add_argument("--record", type=Path, metavar="FILE", help="run one half and write it to a file")
    run.add_argument("--against", type=Path, metavar="FILE", help="run the other half of a recorded one and compare")
    run.add_argument("--compare", type=Path, nargs=2, metavar="FILE", help="compare two recorded halves")
    out = made.add_argument_group("output")
    out.add_argument("--json", type=Path, metavar="FILE", help="write every number to a file")
    out.add_argument("--plot", type=Path, metavar="FILE.png", help="draw curves, drift and errors by layer")
    out.add_argument("--every", action="store_true", help="a line for every layer and tensor of deep networks too")
    for backend in BACKENDS:
        device = made.add_argument_group(f"device of {backend}")
        for item in _runtime(backend):
            kind, choices = type(item.default), item.metadata.get("choices")
            action = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind, "choices": choices}
            flag = f"--{backend}-{item.name.replace('_', '-')}"
            device.add_argument(flag, help=item.metadata["help"], default=None, **action)
    return made


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 0, got {text!r}")
    return int(text)


DRAWS = 3
ENVELOPE = f"runs from disturbed weights, of the half that is run first (default: {DRAWS}; with --against: 0)"
DOUBLE = (
    "which backends also run in float64, torch on its device, MindSpore on the CPU (default: both; MindSpore's is slow "
    "in deep networks)"
)


def add_exam(made: argparse.ArgumentParser) -> None:
    """Add the options of an Exam and of its network."""
    group = made.add_argument_group("what is computed")
    add_fields(group, [item for item in fields(Exam) if item.name != "network"])
    add_fields(group, [item for item in fields(NetworkConfig) if item.name in NETWORK])


def _runtime(backend: str) -> list[Any]:
    runtime = importlib.import_module(f"duoreid.backends.{backend}.runtime").RuntimeConfig
    return list(fields(runtime))


def check(given: argparse.Namespace) -> None:
    """Raise UserError where an option would have no effect or a file could not be written, before anything is run."""
    if given.compare and (given.against or given.record):
        raise UserError("--compare runs nothing: leave out --against and --record, or leave out --compare.")
    source = "--compare" if given.compare else "--against" if given.against else ""
    names = [item.name for item in fields(Exam) if item.name not in ("network", "state")]
    names += NETWORK
    names += ["backend", "double", "double_steps", "envelope", "double_envelope"] if given.compare else []
    ignored = [f"--{name.replace('_', '-')}" for name in names if source and getattr(given, name) is not None]
    if ignored:
        raise UserError(
            f"{', '.join(ignored)}: with {source} the settings are those of the recorded file. Leave it out."
        )
    if given.backend and not (given.record or given.against):
        raise UserError("--backend chooses whose half is run: it goes with --record or --against. Without, both run.")
    if given.double_envelope is not None and given.double not in (None, "both"):
        raise UserError(
            f"--double-envelope with --double {given.double}: what noise does in float64 gives the limit where both "
            "backends run in it. Leave one of them out."
        )
    for option in ("json", "plot"):
        if getattr(given, option) and given.record and not given.against:
            raise UserError(
                f"--{option} needs both halves: --record alone runs one. Give it with --against or --compare."
            )
    if given.plot and given.plot.suffix.lower() != ".png":
        raise UserError(f"--plot writes a PNG: name a file that ends in .png, got {given.plot}")
    for path in (given.json, given.plot, given.record):
        if path and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise UserError(f"{path} cannot be written: it is a folder, or its folder does not exist.")


def exam_of(given: argparse.Namespace) -> Exam:
    """Return the exam that the options describe."""
    values = {name: value for name, value in vars(given).items() if value is not None}
    network = replace(NetworkConfig(), **{name: values[name] for name in NETWORK if name in values})
    own = [item.name for item in fields(Exam) if item.name in values and not is_dataclass(item.default)]
    exam = replace(Exam(), network=network, **{name: values[name] for name in own})
    validate(exam)
    exam.check()
    return exam


def half(backend: str, exam: Exam, given: argparse.Namespace, draws: dict[str, int]) -> Half:
    """Run one backend, in a process of its own for each precision; with --record, what is done is written at once.

    draws: by part, runs from disturbed weights.
    """
    runtime = {i.name: getattr(given, f"{backend}_{i.name}") for i in _runtime(backend)}
    runtime = {name: value for name, value in runtime.items() if value is not None}
    precision = runtime.pop("precision", "float32")
    jobs = {"single": {"precision": precision, "runtime": runtime, "steps": exam.steps, "draws": draws["single"]}}
    if (given.double or "both") in ("both", backend):
        steps = exam.steps if given.double_steps is None else given.double_steps
        count = 0 if given.double == backend else draws["double"]
        jobs["double"] = {"precision": "float64", "runtime": _double(backend, runtime)}
        jobs["double"] |= {"steps": steps, "draws": count}
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        found = {}
        for part, job in jobs.items():
            print(f"{backend}, {job['precision']} ...", file=sys.stderr, flush=True)
            found[part] = _run(job | {"backend": backend, "exam": as_dict(exam)}, Path(folder), part)
            found[part][1]["plan"] = {"double": given.double, "double_steps": given.double_steps}
            if given.record:
                halves.save(halves.join(found), given.record)
    return halves.join(found)


def _double(backend: str, runtime: dict[str, Any]) -> dict[str, Any]:
    """Return where a backend computes in float64: torch on its own device, MindSpore always on the CPU."""
    if backend == "torch":
        return {name: value for name, value in runtime.items() if name != "compile"}
    return {"device": "cpu"} | {name: value for name, value in runtime.items() if name == "threads"}


def _run(job: dict[str, Any], folder: Path, part: str) -> tuple[halves.Arrays, dict[str, Any]]:
    """Do a job in another process and in the folder, where MindSpore may leave reports of errors."""
    state = job["exam"]["state"]
    job["exam"] = job["exam"] | {"state": str(Path(state).resolve()) if state else ""}
    path, out = folder / f"{part}.json", folder / f"{part}.safetensors"
    path.write_text(json.dumps(job))
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    words = [sys.executable, "-m", "benchmarks.parity.record", str(path), str(out)]
    done = subprocess.run(words, cwd=folder, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, check=False)
    if done.returncode:
        raise UserError(f"{job['backend']} in {job['precision']} failed with status {done.returncode}; see above.")
    return checkpoint.load(out)


def pair(given: argparse.Namespace) -> tuple[Half, Half] | None:
    """Return the two halves, torch's first; None where only one was recorded."""
    if given.compare:
        return _ordered([halves.load(path, given.state) for path in given.compare])
    if given.against:
        other = halves.load(given.against, given.state)
        _follow(other, given)
        backend = given.backend or next(name for name in BACKENDS if name != other.backend)
        return _ordered([other, half(backend, other.exam, given, _draws(given, 0))])
    exam = exam_of(given)
    if given.record:
        half(given.backend or "torch", exam, given, _draws(given, DRAWS))
        return None
    return half("torch", exam, given, _draws(given, DRAWS)), half("mindspore", exam, given, {"single": 0, "double": 0})


def _draws(given: argparse.Namespace, unless: int) -> dict[str, int]:
    """Return how many runs from disturbed weights a half has, by part."""
    asked = {"single": given.envelope, "double": given.double_envelope}
    return {part: unless if count is None else count for part, count in asked.items()}


def _follow(other: Half, given: argparse.Namespace) -> None:
    """Take what is run in float64 from the first half where the options do not say it; UserError where they differ."""
    plan = next(iter(other.facts.values())).get("plan", {})
    given.double = given.double or plan.get("double")
    steps = other.facts["double"]["steps"] if other.double else plan.get("double_steps")
    if other.double and given.double_steps not in (None, steps):
        raise UserError(
            f"--double-steps {given.double_steps}: the half in {given.against} has {steps} steps in float64, and "
            "losses and weights are compared step by step. Leave the option out."
        )
    given.double_steps = steps if given.double_steps is None else given.double_steps


def _ordered(found: list[Half]) -> tuple[Half, Half]:
    """Return torch's half first; of two of one backend the first given, the other under a name of its own."""
    halves.check_same(*found)
    first, second = sorted(found, key=lambda one: BACKENDS.index(one.backend))
    return first, second._replace(backend=f"{second.backend} 2") if first.backend == second.backend else second


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 for parity, 1 where a limit is exceeded, 2 for wrong options."""
    given = parser().parse_args(argv)
    status = 0

    def action() -> None:
        nonlocal status
        check(given)
        found = pair(given)
        if found is None:
            print(f"recorded in {given.record}; compare with: python -m benchmarks.parity --against {given.record}")
            return
        checks = compare(*found)
        print(report.text(*found, checks, every=given.every))
        if given.json:
            given.json.write_text(json.dumps(report.as_json(*found, checks)) + "\n")
        if given.plot:
            from duoreid.benchmarks.parity.plot import plot

            plot(*found, checks, given.plot)
        status = 0 if all(check.passed for check in checks) else 1

    return guarded(action) or status


if __name__ == "__main__":
    import duoreid.benchmarks.parity.__main__ as module

    sys.exit(module.main())
