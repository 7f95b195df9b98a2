"""`python -m benchmarks.busy --backend torch mindspore`: what a training step costs beside other processes.

How a thread waits for the others decides that. One that spins is quick where it has a core of its own, and takes the
core away from those that it waits for where it has not. Every way of waiting trains in a process of its own; all of
them take turns, each step alone and then beside one computing process for each core, so that whatever else the
machine does meets them alike. The others have a session of their own, as another user's have, or another terminal's;
Linux shares the cores out between sessions first. --same-session starts them in that of the training. The figures
that count are ratios within a round: to SPINNING, what the OpenMP library does by itself, and of busy to quiet. Of
rounds the median is shown. All ways train the networks of `python -m benchmarks.step mmt --arch tiny --height 64
--width 32`; more options change that.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from duoreid.benchmarks.measure import command_of, environment, inherited
from duoreid.benchmarks.step import PUBLISHED, prepared
from duoreid.core.commands.command import guarded
from duoreid.core.commands.options import parse
from duoreid.core.errors import UserError
from duoreid.core.numeric.slices import length, set_turns
from duoreid.core.numeric.threads import workers
from duoreid.core.numeric.waiting import CHOSEN, DECIDES
from duoreid.core.settings.presets import presets
from duoreid.core.training.tables import table

SPINNING, OURS = "spinning", "ours"
WAYS = {
    SPINNING: {"GOMP_SPINCOUNT": "300000"},  # what libgomp takes where nothing is set
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "bounded spin": CHOSEN,
    OURS: CHOSEN,
}
"""Ways of waiting, by the environment that sets them. All but OURS keep the system's turns on a core; OURS has those
that the backend asks for, which for torch are the same."""

SIZE = ["--arch", "tiny", "--height", "64", "--width", "32"]
BURN = "while True: sum(range(10000))"


def serve(backend: str, argv: Sequence[str], keep: bool) -> None:
    """Train a first step, then as many as each line of standard input says; print the seconds of one.

    keep: the length of a turn on a core is the system's, not the one that the backend asks for.
    """
    entry = importlib.import_module(f"duoreid.backends.{backend}.entry").BACKEND
    words = ["mmt", "--preset", PUBLISHED["mmt"], *SIZE, *argv]
    config, device = parse(words, "python -m benchmarks.busy", entry.runtime, presets())
    method, labelling = prepared(config)
    turn = length()
    learner = entry.make_learner(method.learner_config(), entry.open_runtime(device), config.run.seed)
    batch = method.batch(labelling, method.sample(labelling, 0)[0], 0, 0)

    def steps(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            learner.step(batch, *method.rates(0, 1))
        learner.losses()  # waits for the device
        return (time.perf_counter() - began) / count

    print(steps(1), flush=True)
    if keep and turn:
        set_turns(turn)
    for line in sys.stdin:
        print(steps(int(line)), flush=True)


@contextmanager
def trainer(backend: str, way: str, argv: Sequence[str]) -> Iterator[subprocess.Popen]:
    """Start a process that serves under a way of waiting; it has done its first step when the block begins."""
    settings = {name: value for name, value in inherited().items() if name not in (*DECIDES, "OMP_NUM_THREADS")}
    keep = [] if way == OURS else ["--keep-turns"]
    command = [sys.executable, "-m", "benchmarks.busy", "--child", *keep, "--backend", backend, *argv]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=settings | WAYS[way], **pipes) as process:
        try:
            ask(process)
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen) -> float:
    """Return the seconds of a step that a trainer prints next."""
    line = process.stdout.readline()
    if not line:
        raise UserError(f"the process that trains has ended with status {process.wait()}; its error stands above.")
    return float(line)


def timed(process: subprocess.Popen, steps: int) -> float:
    """Return the seconds of a step."""
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    return ask(process)


@contextmanager
def others(count: int, apart: bool) -> Iterator[None]:
    """Run so many other processes that compute all the time. apart: in a session of their own."""
    command = [sys.executable, "-c", BURN]
    with ExitStack() as stack:
        started = [stack.enter_context(subprocess.Popen(command, start_new_session=apart)) for _ in range(count)]
        try:
            time.sleep(0.3)  # until they compute
            yield
        finally:
            for process in started:
                process.kill()


def rounds(backend: str, count: int, steps: int, apart: bool, argv: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of a step by way and by "quiet" and "busy", one for each round."""
    seconds: dict[str, dict[str, list[float]]] = {name: {"quiet": [], "busy": []} for name in WAYS}
    with ExitStack() as stack:
        trainers = {name: stack.enter_context(trainer(backend, name, argv)) for name in WAYS}
        for _ in range(count):
            for name, process in trainers.items():
                seconds[name]["quiet"].append(timed(process, steps))
            with others(workers(), apart):
                for name, process in trainers.items():
                    seconds[name]["busy"].append(timed(process, steps))
    return seconds


def summary(seconds: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Return medians by way: milliseconds of a step, and ratios within a round."""

    def ratio(one: Sequence[float], two: Sequence[float]) -> float:
        return statistics.median(a / b for a, b in zip(one, two, strict=True))

    spinning = seconds[SPINNING]
    return {
        name: {
            "quiet_ms": 1000 * statistics.median(times["quiet"]),
            "busy_ms": 1000 * statistics.median(times["busy"]),
            "quiet_to_spinning": ratio(times["quiet"], spinning["quiet"]),
            "busy_to_spinning": ratio(times["busy"], spinning["busy"]),
            "busy_to_quiet": ratio(times["busy"], times["quiet"]),
        }
        for name, times in seconds.items()
    }


def text(backend: str, figures: dict[str, dict[str, float]]) -> str:
    """Return a backend's table."""
    header = (backend, "quiet ms", "busy ms", "quiet / spinning", "busy / spinning", "busy / quiet")
    rows = []
    for name, row in figures.items():
        times = (f"{row[key]:.0f}" for key in ("quiet_ms", "busy_ms"))
        ratios = (f"{row[key]:.2f}" for key in ("quiet_to_spinning", "busy_to_spinning", "busy_to_quiet"))
        rows.append([name, *times, *ratios])
    return table(header, rows)


def run(given: argparse.Namespace, more: Sequence[str]) -> None:
    """Measure each backend; print the tables and write the JSON file."""
    if min(given.steps, given.rounds) < 1:
        raise UserError(f"--steps and --rounds must be at least 1, got {given.steps} and {given.rounds}")
    rows = {}
    for backend in given.backend:
        seconds = rounds(backend, given.rounds, given.steps, not given.same_session, more)
        rows[backend] = summary(seconds) | {"seconds": seconds}
        print(text(backend, summary(seconds)) + "\n", flush=True)
    here = environment()
    command = command_of("busy")
    print(f"{command}; commit {here['commit']}, {here['cores']} cores of {here['processor']}, load {here['load']:.1f}")
    if given.output:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        content = {"command": command, **here, "environment": WAYS, "backends": rows}
        given.output.write_text(json.dumps(content, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__, allow_abbrev=False)
    parser.add_argument("--backend", nargs="+", choices=("torch", "mindspore"), default=["torch"])
    parser.add_argument("--steps", type=int, default=3, help="timed at a time (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="of quiet and busy steps (default: 5)")
    parser.add_argument("--same-session", action="store_true", help="the other processes share the training's session")
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--keep-turns", action="store_true", help=argparse.SUPPRESS)
    given, more = parser.parse_known_args(arguments)
    if given.child:
        return guarded(lambda: serve(given.backend[0], more, given.keep_turns))
    return guarded(lambda: run(given, more))


if __name__ == "__main__":
    import duoreid.benchmarks.busy as module

    sys.exit(module.main())
