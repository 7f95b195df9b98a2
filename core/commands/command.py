"""The shared command line: parse, run, and turn what went wrong into one clear sentence and an exit status."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duoreid.core.commands import streams
from duoreid.core.errors import FailedElsewhereError
from duoreid.core.training.stop import Stop, Stopped

if TYPE_CHECKING:  # a help of the command loads no NumPy
    from duoreid.core.settings.config import Config


@dataclass(frozen=True)
class Backend:
    """What a backend's entry point injects.

    name: "torch". runtime: its RuntimeConfig class. open_runtime: RuntimeConfig -> whatever `make_learner` takes, with
    the job's `processes` (core/numeric/sharing.py). about: opened runtime -> the framework, its version and the
    hardware, in words. make_learner: see core/contract/learner.py. process_index: () -> this process' number in a job
    of several, by the environment that the framework's launcher has set; 0 without one.
    """

    name: str
    runtime: type
    open_runtime: Callable[[Any], Any]
    about: Callable[[Any], str]
    make_learner: Callable[[Any, Any, int], Any]
    process_index: Callable[[], int]


NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "memory not enough", "bad_alloc")
"""What the frameworks, their allocators and the C++ library say when memory runs out, in small letters."""


MEMORY_ADVICE = (
    "memory has run out. Lower --evaluate-batch, --height and --width, and in training --identities or --images "
    "(--pretrain-identities or --pretrain-images in stage 1). What was saved before is whole. The framework says: {}"
)


PATIENCE = 3.0
"""Seconds in which a launcher notices that a process has failed, and ends the others."""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the device's or the host's memory has run out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY)


def guarded(action: Callable[[], None], index: int = 0) -> int:
    """Run an action; return 0, or print what was wrong as one message and return 2 (143 on SIGTERM, 130 on Ctrl-C).

    Both standard streams are guarded, and a signal ends the action with a message, whatever it is in the midst of.
    With DUOREID_TRACEBACK=1 in the environment errors keep their traceback. process: of this process in a job of
    several. The first prints for all; another one waits with an error of its own until the launcher has had time to
    end it, which it does where the first has failed as well.
    """
    with streams.guarded():
        return _guarded(action, index)


def finished(action: Callable[[], int]) -> int:
    """Run a command that returns its own exit status, guarded; return that, or the one of what went wrong."""
    status = 0

    def run() -> None:
        nonlocal status
        status = action()

    return guarded(run) or status


def _guarded(action: Callable[[], None], index: int) -> int:
    try:
        with Stop().installed():
            action()
            sys.stdout.flush()
    except Stopped as stopped:
        if not index:
            print(f"stopped by {stopped}: every state saved so far is whole.", file=sys.stderr)
        return stopped.status
    except KeyboardInterrupt:
        print("stopped: every state saved so far is whole.", file=sys.stderr)
        return 130
    except FailedElsewhereError:
        return 2
    except (ValueError, RuntimeError, MemoryError, OSError) as error:
        memory = out_of_memory(error)
        if os.environ.get("DUOREID_TRACEBACK") == "1" or not (memory or isinstance(error, (ValueError, OSError))):
            raise
        text = MEMORY_ADVICE.format(str(error).strip()) if memory else _refused(error)
        if index:
            time.sleep(PATIENCE)
        who = f"process {index}: " if index else ""
        print(f"{who}error: {text}", file=sys.stderr)
        return 2
    return 0


def _refused(error: Exception) -> str:
    """Return an error's text; of the system's own refusals, which file it is about."""
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    return f"{os.fsdecode(error.filename)}: {error.strerror}. Every state saved so far is whole."


def train(backend: Backend, open_dataset: Callable[..., Any], argv: Sequence[str] | None = None, prog: str = "") -> int:
    """`duoreid train`, `python -m backends.NAME.train`: returns the exit status. prog: how it was called."""

    def action() -> None:
        with Stop().installed() as stop:
            _train(backend, open_dataset, argv, stop, prog or f"python -m backends.{backend.name}.train")

    return guarded(action, backend.process_index())


def _train(
    backend: Backend, open_dataset: Callable[..., Any], argv: Sequence[str] | None, stop: Stop, prog: str
) -> None:
    from duoreid.core.commands import options
    from duoreid.core.settings.presets import presets

    config: Config
    config, device = options.parse(argv, prog, backend.runtime, presets())
    runtime = backend.open_runtime(device)

    from duoreid.core.training import start

    start.run(
        config,
        runtime,
        backend=backend.name,
        about=backend.about(runtime),
        options=device,
        make_learner=backend.make_learner,
        open_dataset=open_dataset,
        stop=stop,
    )
