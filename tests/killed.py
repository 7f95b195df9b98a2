"""`python -m tests.killed BACKEND MOMENT COUNT ARGV...`: train, and die by SIGKILL in the midst of the COUNT-th MOMENT.

MOMENT: "step" or "embed" (a few milliseconds after the verb was called), "cluster" (as k-means begins), "save"
(the temporary file is written, not yet renamed).
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from duoreid.core import kmeans
from duoreid.core.commands.command import train
from duoreid.core.training.snapshot import LAST

DELAY = 0.003


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def counted(function: Callable, count: int, delay: float | None = None) -> Callable:
    """Return a function that kills the process at its call number `count`, or a while after that call has begun."""
    calls = 0

    def called(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            if delay is None:
                die()
            threading.Timer(delay, die).start()
        return function(*args, **options)

    return called


def main(backend: str, snapshot: str, count: int, argv: list[str]) -> int:
    entry = importlib.import_module(f"duoreid.backends.{backend}.entry")
    target = entry.BACKEND
    if snapshot in ("step", "embed"):
        tick = counted(lambda verb, *args: verb(*args), count, DELAY)

        def make(*given: Any) -> Any:
            learner = entry.BACKEND.make_learner(*given)
            setattr(learner, snapshot, partial(tick, getattr(learner, snapshot)))
            return learner

        target = replace(target, make_learner=make)
    elif snapshot == "cluster":
        kmeans.kmeans = counted(kmeans.kmeans, count)
    elif snapshot == "save":
        rename = os.replace
        last = counted(rename, count)
        os.replace = lambda old, new: (last if Path(new).name == LAST else rename)(old, new)
    else:
        raise ValueError(f"unknown snapshot {snapshot!r}")
    return train(target, entry.open_data, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
