"""Batches made ahead of the device by threads, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(make: Callable[[int], T], count: int, *, depth: int = 3, threads: int = 2) -> Iterator[T]:
    """Yield make(0), ..., make(count - 1) in this order while threads work on the next ones.

    depth: how many results may be under way or waiting, at most. An error in `make` is raised where its result
    would have been yielded. When the consumer stops early, no further call starts and the threads end after the
    calls that they are in. `make` runs on several threads at once: it must not depend on the order of its calls.
    Raises ValueError for a depth or a number of threads below 1, or a negative count.
    """
    for name, value, least in (("count", count, 0), ("depth", depth, 1), ("threads", threads, 1)):
        if value < least:
            raise ValueError(f"prefetch needs {name} of at least {least}, got {value}.")
    return _ordered(make, count, depth, min(threads, depth))


def _ordered(make: Callable[[int], T], count: int, depth: int, threads: int) -> Iterator[T]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    waiting: deque[Future[T]] = deque()
    try:
        for index in range(count):
            waiting.append(pool.submit(make, index))
            if len(waiting) == depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
