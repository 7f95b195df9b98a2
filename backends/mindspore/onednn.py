"""How many threads oneDNN, which computes convolutions and batch norm on a CPU, plans its kernels for.

MindSpore hands oneDNN a pool of as many threads as the machine has cores, whatever `threads_num` says. A convolution's
gradient by its weights then keeps a copy of them for each thread, and every kernel makes the threads wait for each
other. oneDNN takes the number from its own interface, kernel by kernel, when the kernel is made: while a function is
compiled, that is, and in the thread of Python that calls it first.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

_here = threading.local()
_wanted: list[int] = []


def limit(threads: int) -> None:
    """Let kernels made from now on, in whichever thread, be made for so many threads."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    _wanted[:] = [threads]


def obey() -> bool:
    """Tell oneDNN in this thread of what `limit` asked for, once; return whether it has been told."""
    if not _wanted:
        return False
    if getattr(_here, "told", None) != _wanted[0]:
        tell = _interface()
        if tell is None or tell(_wanted[0]):
            return False
        _here.told = _wanted[0]
    return True


@cache
def _interface() -> ctypes._CFuncPtr | None:
    """Return oneDNN's function for this in the library that MindSpore has loaded, None where it has no such library."""
    import mindspore

    folder = Path(mindspore.__file__).parent / "lib"
    for file in sorted(folder.glob("libdnnl.so*")):
        tell = getattr(ctypes.CDLL(str(file)), "dnnl_threadpool_interop_set_max_concurrency", None)
        if tell is not None:
            return tell
    log.info("MindSpore's library of oneDNN takes no number of threads: its kernels use as many as there are cores")
    return None
