"""Pickles that would run code, and tensors that lie about where their numbers are: refused, and nothing runs."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.checkpoints import formats
from duoreid.core.checkpoints.formats import pth
from duoreid.core.errors import UserError
from tests.core.weight_files import LEGACY, archive, save, text

torch = pytest.importorskip("torch")


class Attack:
    """Pickles to a call that creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@LEGACY
def test_a_malicious_torch_file_is_refused_and_runs_nothing(tmp_path, legacy):
    target = tmp_path / "created"
    path = save(tmp_path / "evil.pth", {"state_dict": {"a": torch.ones(2)}, "x": Attack(target)}, legacy)
    with pytest.raises(UserError, match=r"refused: it holds (posix|nt)\.system"):
        formats.read(path)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists(), "the attack itself must work, or the test shows nothing"


def test_a_bare_malicious_pickle_is_refused_and_runs_nothing(tmp_path):
    target = tmp_path / "created"
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Attack(target), protocol=2))
    with pytest.raises(UserError, match="refused, since it may hold code"):
        formats.read(path)
    path.write_bytes(pickle.dumps(Attack(target), protocol=0))
    with pytest.raises(UserError, match="no file of weights"):
        formats.read(path)
    assert not target.exists()


ATTACKS = {
    "eval": b"\x80\x02cbuiltins\neval\nX\x04\x00\x00\x001+1q\x85R.",
    "attributes of a constructor": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00xK\x01sb.",
    "attributes of a class": b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00xK\x01sb.",
    "an unlisted storage": b"\x80\x02ctorch.storage\nFloatStorage\n.",
    "an attribute of this library": b"\x80\x02c" + pth.__name__.encode() + b"\n__dict__\n.",
    "a name from the stack": b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.",
    "an extension code": b"\x80\x02\x82\x01.",
    "a call of a number": b"\x80\x02K\x01K\x02R.",
    "a memo of two thousand million places": b"\x80\x02}r\xff\xff\xff\x7f.",
    "a byte array of a terabyte": b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",
    "nothing": b"",
}


@pytest.mark.parametrize("program", ATTACKS.values(), ids=ATTACKS)
def test_hand_written_attacks_are_refused(tmp_path, program):
    with pytest.raises(UserError):
        formats.read(archive(tmp_path / "evil.pth", program))


def described(shape: tuple, strides: tuple, offset: int = 0, count: int = 4) -> bytes:
    """Return the pickle of {"a": a tensor described so}."""
    numbers = b"".join(struct.pack("<BB", 0x4B, n) if 0 <= n < 256 else b"J" + struct.pack("<i", n) for n in (offset,))

    def tuple_of(values: tuple) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", n) for n in values) + b"t"

    storage = b"".join(
        [b"(", text("storage"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), b"J", struct.pack("<i", count)]
    )
    head = b"\x80\x02}" + text("a") + b"ctorch._utils\n_rebuild_tensor_v2\n("
    return head + storage + b"tQ" + numbers + tuple_of(shape) + tuple_of(strides) + b"\x89}tRs."


def test_a_tensor_must_lie_inside_its_storage(tmp_path):
    block = np.arange(4, dtype="<f4").tobytes()
    path = tmp_path / "w.pth"
    array = formats.read(archive(path, described((2, 2), (2, 1)), **{"0": block})).tensors["a"]
    np.testing.assert_array_equal(array, [[0, 1], [2, 3]])
    for wrong in (
        described((5,), (1,)),
        described((2, 2), (2, 1), offset=1),
        described((2,), (-1,), offset=3),
        described((2, 2), (2,)),
        described((1 << 30, 1 << 30), (0, 0)),
        described((2,), (1,), offset=-4),
        described((2, 2), (2, 1), count=1 << 20),
    ):
        with pytest.raises(UserError, match="cannot be read as a file of torch"):
            formats.read(archive(path, wrong, **{"0": block}))
