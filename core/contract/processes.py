"""Several processes that train one model: what is decided once is decided by the first, and told to the others.

A backend whose launcher started several processes puts a `Processes` into its runtime. Every process runs the same
program: all randomness is keyed, so plans and batches are equal everywhere without a word, and processes only speak
where something is computed in parts (`Together.embed`, the backend's step), decided (`first`) or awaited (`in_turn`).
All processes must come to these places in the same order; a process that ends early ends the job, by its launcher.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from duoreid.core.checkpoints.files import plain
from duoreid.core.contract.learner import Learner, MakeLearner
from duoreid.core.errors import FailedElsewhereError, UserError
from duoreid.core.numeric.sharing import Processes, exchange

JSON = "__json__"
"""Entry of a message that holds all that is no array, as the bytes of its JSON."""

ERROR = "__error__"
"""Entry of a message that says what went wrong instead."""


class LostProcessError(UserError):
    """Another process has ended: no message comes through any more."""

    def __init__(self, index: int, error: object) -> None:
        super().__init__(
            f"process {index} has lost another one, which has ended: its own message says why. What was saved before "
            f"is whole. ({str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__})"
        )


def first(processes: Processes, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `make` returns on the first process, on all of them: arrays by name, and whatever JSON can hold.

    `make` runs there alone. So processes cannot come to different results, on unlike processors for example, and it has
    the machine's cores to itself. A ValueError there becomes `FailedElsewhereError` on the others.
    """
    if processes.size == 1:
        return make()
    error, content = None, b""
    if processes.index == 0:
        try:
            content = _encode(make())
        except ValueError as raised:
            error, content = raised, _encode({ERROR: str(raised)})
    values = _decode(exchange(content, processes)[0])
    if error:
        raise error
    if ERROR in values:
        raise FailedElsewhereError(values[ERROR])
    return values


def in_turn(processes: Processes, make: Callable[[], Any]) -> Any:
    """Return what `make` returns: first on one process of each machine, then, with its files made, on the others."""
    if processes.size == 1:
        return make()
    error, made = None, None
    if processes.local == 0:
        try:
            made = make()
        except ValueError as raised:
            error = raised
    failed = processes.gather(np.array([error is not None], np.int32)).any()
    if error:
        raise error
    if failed:
        raise FailedElsewhereError("another process could not open what all need")
    return make() if processes.local else made


def check_same(processes: Processes, content: str | bytes, what: str) -> None:
    """Raise UserError where the processes hold different contents. what: of what, for the message."""
    if processes.size == 1:
        return
    own = content.encode() if isinstance(content, str) else content
    mine = _words(hashlib.blake2b(own, digest_size=16).digest())
    if (processes.gather(mine) != mine).any():
        raise UserError(
            f"the processes of this job differ in {what}: start all of them with the same program, options and files, "
            "on processors and devices of one kind."
        )


def largest(processes: Processes, number: int) -> int:
    """Return the largest of the processes' numbers."""
    return int(processes.gather(np.array([number], np.int32)).max()) if processes.size > 1 else number


def _words(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.int32)


def _encode(values: dict[str, Any]) -> bytes:
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in values.items() if name not in arrays}
    return save({**arrays, JSON: np.frombuffer(json.dumps(rest, default=plain).encode(), np.uint8)})


def _decode(content: bytes) -> dict[str, Any]:
    from safetensors.numpy import load

    arrays = load(content)
    rest = json.loads(arrays.pop(JSON).tobytes())
    return {**arrays, **rest}


class Together:
    """A learner of several processes, whose embedding is done in parts. The step is the backend's own affair."""

    def __init__(self, learner: Learner, processes: Processes) -> None:
        self._learner, self._processes = learner, processes

    def embed(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Embed every so-manieth chunk and gather all of them in order; see core/contract/learner.py."""
        index, size = self._processes.index, self._processes.size
        chunks = images if isinstance(images, Sequence) else list(images)
        if not chunks:
            raise ValueError("embed needs at least one chunk of images (b, H, W, 3), got none")
        parts = []
        for begin in range(0, len(chunks), size):
            mine = self._learner.embed([chunks[min(begin + index, len(chunks) - 1)]])
            rows = self._processes.gather(np.array([mine.shape[1]], np.int32))[:, 0]
            padded = np.zeros((len(mine), rows.max(), mine.shape[2]), mine.dtype)
            padded[:, : mine.shape[1]] = mine
            gathered = self._processes.gather(padded)
            parts += [gathered[index, :, : rows[index]] for index in range(min(size, len(chunks) - begin))]
        return np.concatenate(parts, axis=1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._learner, name)


def together(make_learner: MakeLearner, processes: Processes) -> MakeLearner:
    """Return what makes learners whose embedding the processes share."""
    if processes.size == 1:
        return make_learner
    return lambda config, runtime, seed: Together(make_learner(config, runtime, seed), processes)


def share_of(count: int, processes: Processes) -> int:
    """Return the rows of each process in a batch of `count`; ValueError where they cannot be equal."""
    if count % processes.size:
        raise ValueError(
            f"a batch of {count} rows cannot be cut into {processes.size} equal parts, one for each process"
        )
    return count // processes.size
