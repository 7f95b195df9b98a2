"""All randomness of the project: NumPy's Philox, keyed by what it is for.

A generator depends on nothing but its key, so both backends see the same bytes, a resumed run continues exactly,
and nothing depends on the number of workers or on the order in which they finish.
"""

from __future__ import annotations

import hashlib

import numpy as np


def rng(seed: int, purpose: str, epoch: int = 0, step: int = 0) -> np.random.Generator:
    """Return the generator of one purpose at one epoch and step.

    seed: any integer. purpose: what the numbers are for ("weights", "sampling", ...). epoch, step: counters.
    The key is a 128-bit digest of all four, so neighbouring seeds and steps are unrelated.

    The same key gives the same numbers, another purpose or step others:

    >>> one, again, other = rng(1, "flip", 3, 7), rng(1, "flip", 3, 7), rng(1, "flip", 3, 8)
    >>> drawn = one.random()
    >>> bool(drawn == again.random()), bool(drawn == other.random())
    (True, False)
    >>> print(f"{drawn:.6f}")
    0.805173
    """
    digest = hashlib.blake2b(f"{int(seed)}/{purpose}/{int(epoch)}/{int(step)}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64)))


def network_seed(seed: int, index: int) -> int:
    """Return the seed of network `index` (0, 1) of stage 1 in a run with this seed.

    Seed 1 has the networks 1 and 2 (MMT's published runs), seed 2 has 3 and 4: runs of neighbouring seeds share none,
    so that their spread is that of independent runs.

    >>> [network_seed(seed, index) for seed in (1, 2) for index in (0, 1)]
    [1, 2, 3, 4]
    """
    return 2 * seed - 1 + index
