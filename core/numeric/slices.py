"""Short turns on a core, for threads that wait by giving way.

MindSpore's CPU kernels split each operation between threads of its own, unless it was asked for one. The one that is
done first calls sched_yield until the other is done. Beside processes of the same session that compute all the time
Linux then runs one of those until the next tick of its clock, some 4 ms, before it comes back: a step of some hundred
operations costs ten times as long and more (`python -m benchmarks.busy --same-session`). Linux 6.12 and later let each
thread choose the length of its turns, without any privilege. Those that choose short ones are picked again sooner.
Their share of the processor stays the same.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

SHORTEST = 100_000
"""Nanoseconds of the shortest turn that Linux takes."""

NUMBERS = {"x86_64": (314, 315), "aarch64": (274, 275), "riscv64": (274, 275)}
"""Machine -> numbers of the system calls sched_setattr and sched_getattr, which Python does not wrap."""

ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""struct sched_attr: size, policy, flags, nice, priority, runtime (of the usual policy: a turn), deadline, period."""

USUAL = 0  # SCHED_OTHER: another policy was chosen by whoever started the process


def set_turns(nanoseconds: int = SHORTEST) -> bool:
    """Ask for turns of this length for all threads of this process, and for those that they start from now on.

    Returns False, and changes nothing, where the system has no such choice: another than Linux, one before 6.12, a
    sandbox that forbids the call, or a process whose scheduling was chosen by somebody else.

    >>> taken = set_turns(200_000)
    >>> taken == (length() == 200_000)
    True
    """
    if length() is None:
        return False
    tasks = "/proc/self/task"
    for thread in os.listdir(tasks) if os.path.isdir(tasks) else ["0"]:
        _set(int(thread), nanoseconds)  # one that has ended meanwhile needs none
    return length() == nanoseconds


def length(thread: int = 0) -> int | None:
    """Return the nanoseconds of a turn of a thread, 0: this one; None where the system does not tell."""
    if sys.platform != "linux" or platform.machine() not in NUMBERS:
        return None
    attributes = _read(thread)
    return attributes[5] if attributes else None


def _set(thread: int, nanoseconds: int) -> None:
    before = _read(thread)
    if before and before[1] == USUAL and before[5]:  # a Linux without the choice tells of turns of 0
        wanted = ATTRIBUTES.pack(*before[:5], nanoseconds, *before[6:])
        _call(NUMBERS[platform.machine()][0], thread, ctypes.create_string_buffer(wanted), 0)


def _read(thread: int) -> tuple[int, ...] | None:
    room = ctypes.create_string_buffer(ATTRIBUTES.size)
    if _call(NUMBERS[platform.machine()][1], thread, room, ATTRIBUTES.size, 0):
        return None
    return ATTRIBUTES.unpack(room.raw)


def _call(number: int, *arguments: object) -> int:
    """Return 0, or -1 where the system refuses."""
    return ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
