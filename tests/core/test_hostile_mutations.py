"""Files from strangers, made by a fuzzer out of whole ones, over every format that is read.

Each file is read or refused by a UserError that names it; nothing else, and not with more memory than the file lets
expect. The seeds are fixed. `FUZZ_SEED=random FUZZ_ROUNDS=5000 pytest tests/core/test_hostile_mutations.py` draws
others and more, and prints the seed.
"""

from __future__ import annotations

import io
import os
import secrets
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from scipy.io import savemat

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints import formats
from duoreid.core.checkpoints.formats import mat
from duoreid.core.errors import UserError
from tests.core.conftest import BYTES
from tests.core.weight_files import FOUR, mindspore_tensor

pytestmark = pytest.mark.usefixtures("small_limits")

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "60"))
SEED = os.environ.get("FUZZ_SEED", "0")
ARRAYS = {"query": np.arange(12, dtype=np.float32).reshape(3, 4), "gallery": np.ones((2, 4)), "query_ids": np.arange(3)}


def kept(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def torch_file(legacy: bool) -> bytes:
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(value) for name, value in ARRAYS.items()}
    content = {"state_dict": state, "epoch": 3, "optimizer": {"state": {0: {"m": torch.ones(3)}}, "lr": [0.1]}}
    return kept(lambda file: torch.save(content, file, _use_new_zipfile_serialization=not legacy))


WHOLE: dict[str, Callable[[], bytes]] = {
    "pth": lambda: torch_file(False),
    "legacy pth": lambda: torch_file(True),
    "npz": lambda: kept(lambda file: np.savez(file, **ARRAYS)),
    "compressed npz": lambda: kept(lambda file: np.savez_compressed(file, **ARRAYS)),
    "safetensors": lambda: checkpoint.tensor_file.written(ARRAYS, {"format": "pt"}),
    "ckpt": lambda: b"".join(mindspore_tensor(b"\x08\x04", FOUR, name=name) for name in (b"a", b"b", b"c")),
    "mat": lambda: kept(lambda file: savemat(file, ARRAYS | {"cells": np.array([[1, "a"]], object)})),
    "compressed mat": lambda: kept(lambda file: savemat(file, ARRAYS, do_compression=True)),
}
ODD = (b"\x00", b"\xff", b"\x80", b"\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"(", b"}", b"\x85", b"PK\x01\x02")


def mutated(content: bytes, draw: np.random.Generator) -> bytes:
    """Return the content with one to four changes: bits, odd bytes, pieces left out, doubled, moved, or zeroed."""
    made = bytearray(content)
    for _ in range(draw.integers(1, 5)):
        if not made:
            break
        place, length = int(draw.integers(len(made))), int(draw.integers(1, 33))
        kind = draw.integers(7)
        if kind == 0:
            made[place] ^= 1 << int(draw.integers(8))
        elif kind == 1:
            odd = ODD[draw.integers(len(ODD))]
            made[place : place + len(odd)] = odd
        elif kind == 2:
            del made[place : place + length]
        elif kind == 3:
            made[place:place] = made[place : place + length]
        elif kind == 4:
            other = int(draw.integers(len(made)))
            made[place : place + length] = made[other : other + length]
        elif kind == 5:
            made[place : place + length] = bytes(length)
        else:
            del made[place if place > 8 else 8 :]
    return bytes(made)


@pytest.mark.parametrize("kind", WHOLE)
def test_mutations_are_read_or_refused_by_name(tmp_path, kind):
    seed = secrets.randbits(32) if SEED == "random" else int(SEED)
    draw = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    whole, path = WHOLE[kind](), tmp_path / f"w.{kind.split()[-1]}"
    read = mat.read if kind.endswith("mat") else formats.read
    path.write_bytes(whole)
    assert read(path)
    held, unnamed = {"read": 0, "refused": 0}, 0
    tracemalloc.start()
    for _ in range(ROUNDS):
        content = mutated(whole, draw)
        path.write_bytes(content)
        try:
            read(path)
            held["read"] += 1
        except UserError as error:
            unnamed += path.name not in str(error)
            held["refused"] += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not unnamed, f"seed {seed}"
    assert peak < BYTES, f"seed {seed}"
    assert held["refused"] > ROUNDS // 4
    print(f"{kind}: seed {seed}, {held}")
