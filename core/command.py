"""The shared command line: parse, run, and turn what went wrong into one clear sentence and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.config import Config


@dataclass(frozen=True)
class Backend:
    """What a backend's entry point injects.

    name: "torch". runtime: its RuntimeConfig class. open_runtime: RuntimeConfig -> whatever `make_learner` takes.
    about: opened runtime -> the framework, its version and the hardware, in words. make_learner: see core/learner.py.
    """

    name: str
    runtime: type
    open_runtime: Callable[[Any], Any]
    about: Callable[[Any], str]
    make_learner: Callable[[Any, Any, int], Any]


def guarded(action: Callable[[], None]) -> int:
    """Run an action; return 0, or print what was wrong as one message and return 2 (130 on Ctrl-C).

    With DUOREID_TRACEBACK=1 in the environment errors keep their traceback.
    """
    try:
        action()
    except ValueError as error:
        if os.environ.get("DUOREID_TRACEBACK") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: every state saved so far is whole.", file=sys.stderr)
        return 130
    return 0


def train(backend: Backend, open_dataset: Callable[..., Any], argv: Sequence[str] | None = None) -> int:
    """`python -m backends.NAME.train`: returns the exit status."""
    return guarded(lambda: _train(backend, open_dataset, argv))


def _train(backend: Backend, open_dataset: Callable[..., Any], argv: Sequence[str] | None) -> None:
    from core import options
    from core.presets import presets

    config: Config
    config, device = options.parse(argv, f"python -m backends.{backend.name}.train", backend.runtime, presets())
    runtime = backend.open_runtime(device)

    from core import pipeline

    pipeline.run(
        config,
        runtime,
        backend=backend.name,
        about=backend.about(runtime),
        options=device,
        make_learner=backend.make_learner,
        open_dataset=open_dataset,
    )
