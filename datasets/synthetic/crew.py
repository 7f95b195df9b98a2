"""Processes that draw for a writer, and end with it, however it ends.

They are started as a module of this package and not by `multiprocessing`, which would run the caller's own script again
in each of them: a script without a guard around its main part, or one that is read from standard input, would hang.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from duoreid.core.errors import UserError
from duoreid.datasets.synthetic.plans import Item
from duoreid.datasets.synthetic.worker import as_line

SERVE = "import sys; del sys.path[0]; from duoreid.datasets.synthetic.worker import main; main()"
"""What a process runs. It finds what the caller finds, and nothing by the folder in which it happens to stand."""


def drawn(domain: str, tasks: Sequence[Sequence[Item]], folder: Path, seed: int, workers: int) -> Iterator[int]:
    """Draw tasks in several processes; yield the number of images of each task that is done, in any order.

    Whatever ends the loop early, an error, a signal or the consumer, ends the processes at once. OSError where a
    process could not write, UserError where one has ended by itself.
    """
    about = json.dumps({"domain": domain, "seed": seed, "folder": str(folder.resolve())})
    left: queue.SimpleQueue[Sequence[Item]] = queue.SimpleQueue()
    for task in tasks:
        left.put(task)
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with ExitStack() as stack:
        for _ in range(min(workers, len(tasks))):
            process = stack.enter_context(_worker())
            threading.Thread(target=_serve, args=(process, about, left, done), daemon=True).start()
        for _ in tasks:
            answer = done.get()
            if isinstance(answer, BaseException):
                raise answer
            yield answer


@contextmanager
def _worker() -> Iterator[subprocess.Popen]:
    """Start a process, and kill it at the end of the block; in a session of its own, out of the reach of Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*map(os.path.abspath, sys.path), _root()])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):  # what was still to be written
                stream.close()


def _root() -> str:
    """Return the folder in which this package is found as `duoreid`."""
    here = Path(__file__).resolve().parents[2]  # of a checkout; in a wheel `datasets` lies inside `duoreid`
    return str(here if (here / "duoreid").is_dir() else here.parent)


def _serve(process: subprocess.Popen, about: str, left: queue.SimpleQueue, done: queue.SimpleQueue) -> None:
    """Hand tasks to a process, one after the other, until none is left; put its answers, or what went wrong."""
    lines = [about]
    with suppress(queue.Empty):
        while True:
            lines.append(as_line(left.get_nowait()))
            try:
                process.stdin.write("".join(f"{line}\n" for line in lines))
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
            except (OSError, ValueError):  # a closed pipe, or half a line: it has ended
                done.put(_ended(process))
                return
            done.put(OSError(*answer["error"]) if isinstance(answer, dict) else answer)
            lines = []


def _ended(process: subprocess.Popen) -> UserError:
    return UserError(
        f"a process that draws images has ended with status {process.wait()}: it was killed, memory has run out, or "
        "its error stands above. Begin again, with fewer processes where memory is short."
    )
