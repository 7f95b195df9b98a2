"""The process that draws what a writer asks for, until it has no more or is gone.

Lines of JSON. In: first {"domain", "seed", "folder"}, then the items of a task, one list for each item. Out: for each
task the number of its images, or {"error"} where one could not be written. The end of standard input ends the process
at once, whatever it is drawing: the system closes the pipe however the writer ends, kill -9 included.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from duoreid.datasets.synthetic.plans import Item


def as_line(items: Sequence[Item]) -> str:
    """Return a task as a line."""
    return json.dumps([astuple(item) for item in items])


def draw(domain: str, items: Sequence[Item], folder: Path, seed: int) -> int:
    """Draw items into a folder; return how many."""
    from duoreid.datasets.synthetic.views import junk_jpeg, view_jpeg

    for item in items:
        if item.junk:
            data = junk_jpeg(domain, seed, item.person, item.camera)
        else:
            data = view_jpeg(domain, seed, item.person, item.camera, item.frame)
        (folder / item.path).write_bytes(data)
    return len(items)


def main() -> None:
    """Serve standard input; returns never."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    about = json.loads(lines.get())
    while True:
        answer = _answer(about, json.loads(lines.get()))
        try:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        except OSError:  # the writer is gone
            os._exit(1)


def _listen(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def _answer(about: dict[str, Any], task: list[list[Any]]) -> Any:
    try:
        return draw(about["domain"], [Item(*fields) for fields in task], Path(about["folder"]), about["seed"])
    except OSError as error:
        return {"error": [error.errno, error.strerror, error.filename and os.fsdecode(error.filename)]}
