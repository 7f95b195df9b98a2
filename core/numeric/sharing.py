"""A computation that the processes of a job share: each does some of its parts, and all of them get every result.

The parts must not depend on who does them. Then the result is that of one process, and the same bytes everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from duoreid.core.numeric.keys import NOTHING, indices_of

Part = TypeVar("Part")

MESSAGE = 1 << 24  # numbers of 32 bits in one message of a process
ROWS = 1 << 16  # rows of keys in one message


class Processes(Protocol):
    """The processes of a job. index: this one's number, from 0; size: how many; local: its number on this machine."""

    index: int
    size: int
    local: int

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Arrays of one shape -> (size, *shape), the same bytes everywhere. int32, or the learner's precision."""
        ...


class Alone:
    """One process."""

    index, size, local = 0, 1, 0

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Return the array as the only row."""
        return array[None]


ALONE = Alone()


def share(parts: Sequence[Part], processes: Processes) -> Sequence[Part]:
    """Return the parts that this process does: every so-manieth.

    >>> list(share("abcde", Alone()))
    ['a', 'b', 'c', 'd', 'e']
    """
    return parts[processes.index :: processes.size]


def exchange(content: bytes, processes: Processes) -> list[bytes]:
    """Return what every process brought, in the order of their numbers."""
    if processes.size == 1:
        return [content]
    lengths = processes.gather(np.array(divmod(len(content), 1 << 30), np.int32)).astype(np.int64)
    lengths = (lengths[:, 0] << 30) + lengths[:, 1]
    words = -(-int(lengths.max()) // 4)
    mine = np.frombuffer(content.ljust(words * 4, b"\0"), np.int32)
    parts = [processes.gather(mine[start : start + MESSAGE]) for start in range(0, words, MESSAGE)]
    whole = np.concatenate(parts, axis=1) if parts else np.zeros((processes.size, 0), np.int32)
    return [row.tobytes()[:length] for row, length in zip(whole, lengths.tolist(), strict=True)]


def packed(arrays: Sequence[np.ndarray]) -> bytes:
    """Return arrays as one message; `unpacked` reads it."""
    with io.BytesIO() as file:
        for array in arrays:
            np.save(file, array, allow_pickle=False)
        return file.getvalue()


def unpacked(content: bytes) -> list[np.ndarray]:
    """Return the arrays of a message.

    >>> [array.tolist() for array in unpacked(packed([np.arange(2), np.ones(1)]))]
    [[0, 1], [1.0]]
    """
    arrays = []
    with io.BytesIO(content) as file:
        while file.tell() < len(content):
            arrays.append(np.load(file, allow_pickle=False))
    return arrays


def merged_keys(keys: np.ndarray, processes: Processes) -> np.ndarray:
    """Return the k first of what all processes found for each row: keys uint64 (N, k), see core/numeric/keys.py.

    A neighbour that two of them found counts once.
    """
    if processes.size == 1:
        return keys
    count, k = keys.shape
    merged = np.empty_like(keys)
    for start in range(0, count, ROWS):
        mine = np.ascontiguousarray(keys[start : start + ROWS])
        theirs = np.ascontiguousarray(processes.gather(mine.view(np.int32))).view(np.uint64)
        rows = np.sort(theirs.transpose(1, 0, 2).reshape(len(mine), -1), axis=1)
        index = indices_of(rows)
        order = np.argsort(index, axis=1, kind="stable")  # of equal indices the better key first
        again = np.zeros(rows.shape, bool)
        ordered = np.take_along_axis(index, order, axis=1)
        np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
        rows[again] = NOTHING
        rows.sort(axis=1)
        merged[start : start + ROWS] = rows[:, :k]
    return merged


def extreme(values: np.ndarray, processes: Processes, *, largest: bool) -> np.ndarray:
    """Return the elementwise largest, or smallest, of the processes' float32 (N,)."""
    if processes.size == 1:
        return values
    pick = np.maximum if largest else np.minimum
    return pick.reduce(np.ascontiguousarray(processes.gather(values.view(np.int32))).view(np.float32), axis=0)
