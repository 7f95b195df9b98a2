"""How the threads of OpenMP wait for each other, chosen before a framework is loaded.

Threads share each operation of a network and then wait for the last of them. By itself libgomp, which torch brings,
lets them spin for some milliseconds. That is the quickest way where each has a core of its own. Where other processes
want the cores too, threads that spin keep from them the one that they wait for: a step then costs many times as much
(`python -m benchmarks.busy`). A thread that sleeps at once is woken late, which costs a tenth of small convolutions. So
threads spin some 50 microseconds, which covers the waits within an operation, and then sleep.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

CHOSEN = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""Of libgomp, in rounds of its loop, and of Intel's and LLVM's OpenMP, in milliseconds."""

DECIDES = ("OMP_WAIT_POLICY", *CHOSEN)
"""Variables by which a user, or whoever starts the process, has chosen."""


def choose(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables, unless one of those that decide is set; the libraries read them when they are loaded.

    >>> environment = {"OMP_WAIT_POLICY": "ACTIVE"}
    >>> choose(environment)
    >>> environment
    {'OMP_WAIT_POLICY': 'ACTIVE'}
    """
    if not any(name in environment for name in DECIDES):
        environment.update(CHOSEN)
