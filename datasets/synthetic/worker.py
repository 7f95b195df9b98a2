"""`python -m duoreid.datasets.synthetic.worker`: draws images for the process that started it.

Not a child of `multiprocessing`: that one runs the caller's own script again, so a script without an
`if __name__ == "__main__"` would start itself over and over, and one that came from standard input could not be found.

Each line of standard input is a task as JSON, [domain, seed, folder, [[path, person, camera, frame, junk], ...]]; each
line of standard output is the number of images drawn, or the error as a JSON text. It ends with its input, so also when
the process that started it is killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from pathlib import Path

from duoreid.datasets.synthetic.plans import Item
from duoreid.datasets.synthetic.views import junk_jpeg, view_jpeg


def draw(domain: str, items: Sequence[Item], folder: Path, seed: int) -> int:
    """Draw images into a folder whose own folders are there; return how many."""
    for item in items:
        if item.junk:
            data = junk_jpeg(domain, seed, item.person, item.camera)
        else:
            data = view_jpeg(domain, seed, item.person, item.camera, item.frame)
        (folder / item.path).write_bytes(data)
    return len(items)


class Worker:
    """A process that draws."""

    def __init__(self) -> None:
        known = os.pathsep.join(os.path.abspath(place) for place in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": known},
            text=True,
            encoding="utf-8",
        )

    def draw(self, domain: str, items: Sequence[Item], folder: Path, seed: int) -> int:
        """Let the process draw; see the function of that name. RuntimeError where it has ended."""
        task = [domain, seed, str(folder), [astuple(item) for item in items]]
        try:
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except (OSError, ValueError) as error:  # a broken pipe, or one that `end` has closed
            answer, reason = "", f": {error}"
        else:
            reason = ""
        if not answer:
            raise RuntimeError(
                f"a process that draws images has ended (exit status {self._process.poll()}{reason}): was it killed, "
                "or is memory short? Try again with workers=1 (--workers 1)."
            )
        found = json.loads(answer)
        if isinstance(found, str):
            raise OSError(found)
        return found

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was not written yet cannot be any more
                pipe.close()


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    """Start processes that draw, and end them with the block."""
    started: list[Worker] = []
    try:
        for _ in range(count):
            started.append(Worker())
        yield started
    finally:
        for worker in started:
            worker.end()


def main() -> None:
    """Answer tasks until the input ends."""
    for line in sys.stdin:
        domain, seed, folder, items = json.loads(line)
        try:
            answer = draw(domain, [Item(*item) for item in items], Path(folder), seed)
        except OSError as error:
            answer = str(error)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # meant for the process that started this one, which says so
        sys.exit(130)
