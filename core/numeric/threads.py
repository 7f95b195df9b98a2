"""Threads that share the parts of a computation.

NumPy lets go of the interpreter while it computes, so threads run side by side. Each part is computed by one thread
alone, matrix products too: the results depend on no number of threads, and no thread waits for another within a part.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from duoreid.core.numeric.products import chosen

Part = TypeVar("Part")
Result = TypeVar("Result")


def workers() -> int:
    """Return how many threads this process may use: the CPUs it is bound to, or OMP_NUM_THREADS if lower."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return max(1, min(available, int(asked))) if asked.isdigit() else available


def each(call: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return the call of every part, in order; a thread takes the next part when it is done with one.

    Must not be used within a part. The first exception of a part is raised, and the parts not yet begun are left out.
    """
    results: list[Result] = [None] * len(parts)
    left = deque(enumerate(parts))

    def work() -> None:
        while left:
            try:
                place, part = left.popleft()
            except IndexError:  # another thread took the last one
                return
            try:
                results[place] = call(part)
            except BaseException:
                left.clear()
                raise

    helpers = min(workers(), len(parts)) - 1
    with _one_blas_thread(), ThreadPoolExecutor(max(1, helpers)) as pool:
        helping = [pool.submit(work) for _ in range(helpers)]
        work()
        for helper in helping:
            helper.result()
    return results


_lock, _limits = Lock(), []  # one entry for each `each` that runs, the first of them the limit itself


@cache
def _controller() -> ThreadpoolController:
    chosen()  # loads the library whose threads are to be limited
    return ThreadpoolController()  # looks through the libraries of the process


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Let each matrix product use one thread, until the last of the callers that overlap is done."""
    with _lock:
        _limits.append(None if _limits else _controller().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            limit = _limits.pop()
            if limit is not None:
                limit.restore_original_limits()
