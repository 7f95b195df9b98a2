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
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duoreid.benchmarks.measure import inherited
from duoreid.benchmarks.parity import halves, options, report
from duoreid.benchmarks.parity.compare import compare
from duoreid.benchmarks.parity.comparison import Check
from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.halves import Half
from duoreid.benchmarks.parity.options import BACKENDS, DRAWS
from duoreid.benchmarks.parity.plot import plot
from duoreid.benchmarks.parity.sampling import Arrays
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.commands.command import guarded
from duoreid.core.errors import UserError
from duoreid.core.settings.config import as_dict


def half(backend: str, exam: Exam, given: argparse.Namespace, draws: dict[str, int]) -> Half:
    """Run one backend, in a process of its own for each precision; with --record, what is done is written at once.

    draws: by part, runs from disturbed weights.
    """
    runtime = {item.name: getattr(given, f"{backend}_{item.name}") for item in options.runtime_fields(backend)}
    runtime = {name: value for name, value in runtime.items() if value is not None}
    precision = runtime.pop("precision", "float32")
    jobs = {"single": {"precision": precision, "runtime": runtime, "steps": exam.steps, "draws": draws["single"]}}
    if (given.double or "both") in ("both", backend):
        steps = exam.steps if given.double_steps is None else given.double_steps
        count = 0 if given.double == backend else draws["double"]
        plain = {name: value for name, value in runtime.items() if name != "compile"}
        plain |= {"device": "cpu"} if backend == "mindspore" else {}  # which has float64 there alone
        jobs["double"] = {"precision": "float64", "runtime": plain, "steps": steps, "draws": count}
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        records = {}
        for part, job in jobs.items():
            print(f"{backend}, {job['precision']} ...", file=sys.stderr, flush=True)
            records[part] = _run(job | {"backend": backend, "exam": as_dict(exam)}, Path(folder), part)
            records[part][1]["plan"] = {"double": given.double, "double_steps": given.double_steps}
            if given.record:
                halves.save(halves.join(records), given.record)
    return halves.join(records)


def _run(job: dict[str, Any], folder: Path, part: str) -> tuple[Arrays, dict[str, Any]]:
    """Do a job in another process and in the folder, where MindSpore may leave reports of errors."""
    state = job["exam"]["state"]
    job["exam"] = job["exam"] | {"state": str(Path(state).resolve()) if state else ""}
    path, out = folder / f"{part}.json", folder / f"{part}.safetensors"
    path.write_text(json.dumps(job))
    words = [sys.executable, "-m", "duoreid.benchmarks.parity.record", str(path), str(out)]
    done = subprocess.run(words, cwd=folder, env=inherited(), check=False)
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
    exam = options.exam_of(given)
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


def _ordered(both: list[Half]) -> tuple[Half, Half]:
    """Return torch's half first; of two of one backend the first given, the other under a name of its own."""
    halves.check_same(*both)
    first, second = sorted(both, key=lambda one: BACKENDS.index(one.backend))
    return first, second._replace(backend=f"{second.backend} 2") if first.backend == second.backend else second


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 for parity, 1 where a limit is exceeded, 2 for wrong options."""
    given, failed = options.parser(__doc__).parse_args(argv), []
    return guarded(lambda: failed.extend(_main(given))) or int(bool(failed))


def _main(given: argparse.Namespace) -> list[Check]:
    """Do what the options say; return the checks that fail."""
    options.check(given)
    both = pair(given)
    if both is None:
        print(f"recorded in {given.record}; compare with: python -m benchmarks.parity --against {given.record}")
        return []
    compared = compare(*both)
    print(report.text(compared, every=given.every))
    if given.json:
        given.json.write_text(json.dumps(compared.as_json()) + "\n")
    if given.plot:
        plot(compared, given.plot)
    return compared.failed


if __name__ == "__main__":
    import duoreid.benchmarks.parity.__main__ as module

    sys.exit(module.main())
