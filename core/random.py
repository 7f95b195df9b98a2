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
    """
    digest = hashlib.blake2b(f"{int(seed)}/{purpose}/{int(epoch)}/{int(step)}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64)))
