"""Files from strangers, made by hand: what each format allows to be claimed, nested, doubled or hidden.

Each file is read or refused by a UserError that names it; nothing else, and not with more memory than the file lets
expect.
"""

from __future__ import annotations

import json
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints import formats
from duoreid.core.commands import feature_files
from duoreid.core.errors import UserError
from duoreid.core.training.resume import read_settings
from tests.core.conftest import BYTES, SECONDS
from tests.core.weight_files import FOUR, archive, field, mindspore_tensor, text

pytestmark = pytest.mark.usefixtures("small_limits")


def refused(path: Path, words: str = "", read: Callable = formats.read) -> None:
    """Assert that a file is refused, with its name, soon and in little memory."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises(UserError, match=words or None) as told:
            read(path)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert path.name in str(told.value) or path.parent.name in str(told.value)
    assert len(str(told.value)) < 2000
    assert time.monotonic() - began < SECONDS
    assert peak < BYTES + 40 * path.stat().st_size


# -- torch.save -------------------------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tensor(count: int, shape: bytes, strides: bytes, offset: int = 0, key: str = "0") -> bytes:
    """Return instructions that leave a tensor on the stack."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(count) + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + shape + strides + b"\x89}tR"


FLAT = tensor(4, b"(" + number(4) + b"t", b"(" + number(1) + b"t")
HOLDS_ITSELF = b"\x80\x02}q\x00" + text("model") + b"h\x00s."
DEEP_KEY = b"\x80\x02}" + b")" + b"\x85" * 40_000 + FLAT + b"s."
DOUBLED_KEY = b"\x80\x02}" + b")" + b"q\x01h\x01\x86" * 64 + FLAT + b"s."
DOUBLED_WRAPPERS = (
    b"\x80\x02}"
    b"q\x01" + b"".join(b"}" + text("a") + b"h\x01s" + text("b") + b"h\x01s" + b"q\x01" for _ in range(64)) + b"."
)
DOUBLED_WITH_A_TENSOR = (
    b"\x80\x02}"
    + text("w")
    + FLAT
    + b"s"
    + b"q\x01"
    + b"".join(b"}" + text("a") + b"h\x01s" + text("b") + b"h\x01s" + b"q\x01" for _ in range(64))
    + b"."
)
DEEP = b"\x80\x02" + (b"}" + text("model")) * 5_000 + b"}" + b"s" * 5_000 + b"."
AXES = b"\x80\x02}" + text("a") + tensor(4, b"(" + b"K\x01" * 20_000 + b"t", b"(" + b"K\x01" * 20_000 + b"t") + b"s."
STEPS = b"\x80\x02" + b"}" * 51_000 + b"."
PICKLES = {
    "a dictionary that holds itself": (HOLDS_ITSELF, "no dictionary of tensors"),
    "a tuple forty thousand deep as a key": (DEEP_KEY, "no text"),
    "a doubled tuple as a key": (DOUBLED_KEY, "no text"),
    "doubled wrappers": (DOUBLED_WRAPPERS, "no dictionary of tensors"),
    "doubled wrappers of a tensor": (DOUBLED_WITH_A_TENSOR, "no dictionary of tensors"),
    "five thousand wrappers": (DEEP, "no dictionary of tensors"),
    "twenty thousand axes": (AXES, "20,000 axes"),
    "more instructions than any": (STEPS, "instructions"),
    "a set of itself": (b"\x80\x04\x8fq\x00(h\x00\x90.", "no dictionary of tensors"),
    "a storage that is a list": (b"\x80\x02]Q.", "stored object"),
    "no end": (b"\x80\x02}", "cannot be read"),
    "an empty stack": (b"\x80\x02.", "cannot be read"),
    "a mark as content": (b"\x80\x02(.", "no dictionary of tensors"),
    "a number of a thousand digits": (b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", "no dictionary of tensors"),
    "attributes of a list": (b"\x80\x02]}b.", "attributes for a list"),
    "another library's class": (b"\x80\x02cargparse\nNamespace\n)R.", "argparse.Namespace"),
}


@pytest.mark.parametrize("title", PICKLES)
def test_hostile_pickles(tmp_path, title):
    program, words = PICKLES[title]
    refused(archive(tmp_path / "w.pth", program, **{"0": FOUR}), words)


def test_a_wrapper_that_holds_itself_beside_tensors_is_refused(tmp_path):
    program = b"\x80\x02}q\x00" + text("model") + b"h\x00s" + text("a") + FLAT + b"s."
    refused(archive(tmp_path / "w.pth", program, **{"0": FOUR}), "hold themselves")


def test_one_storage_of_five_hundred_names_is_held_once(tmp_path):
    block = bytes(1 << 20)
    names = b"".join(text(f"t{index}") + tensor(1 << 18, *_row(1 << 18)) + b"s" for index in range(500))
    path = archive(tmp_path / "w.pth", b"\x80\x02}" + names + b".", **{"0": block})
    tracemalloc.start()
    arrays = formats.read(path).tensors
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(arrays) == 500
    assert peak < 16 << 20
    views = b"".join(text(f"t{index}") + tensor(1 << 18, *_row((1 << 18) - index)) + b"s" for index in range(500))
    refused(archive(path, b"\x80\x02}" + views + b".", **{"0": block}), "bytes of numbers, more than")


def _row(size: int) -> tuple[bytes, bytes]:
    return b"(" + number(size) + b"t", b"(" + number(1) + b"t"


def test_a_tensor_of_one_number_repeated_is_bounded(tmp_path):
    program = b"\x80\x02}" + text("a") + tensor(1 << 28, b"(" + number(1 << 28) + b"t", b"(" + number(0) + b"t") + b"s."
    refused(archive(tmp_path / "w.pth", program, **{"0": FOUR}), "cannot be read")


def test_a_zip_that_claims_what_it_has_not(tmp_path):
    path = archive(tmp_path / "w.pth", b"\x80\x02}" + text("a") + FLAT + b"s.", **{"0": FOUR})
    content = path.read_bytes()
    place = content.rindex(b"PK\x01\x02")
    path.write_bytes(content[: place + 20] + struct.pack("<II", 1 << 31, 1 << 31) + content[place + 28 :])
    refused(path, "which the file does not hold")


# -- .npz -------------------------------------------------------------------------------------------------------------


def array_entry(shape: str, block: bytes, descr: str = "'<f4'") -> bytes:
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + block


def npz_file(path: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("query.npy", content)
    return path


def encrypted(path: Path) -> None:
    content = bytearray(npz_file(path, array_entry("(4,)", FOUR), zipfile.ZIP_STORED).read_bytes())
    for head, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(head) + flags] |= 1
    path.write_bytes(bytes(content))


NPZ = {
    "a claim of four terabytes": (array_entry("(1099511627776,)", FOUR), "its entry has 16"),
    "a bomb": (array_entry("(4000000,)", bytes(16_000_000)), "bytes of numbers, more than"),
    "a million axes": (array_entry("(" + "1, " * 21_000 + ")", FOUR), "objects or records"),
    "objects": (array_entry("(1,)", pickle.dumps([1]), "'|O'"), "Python objects"),
    "records": (array_entry("(1,)", FOUR, "[('a', '<f4')]"), "Python objects or records"),
    "a header that is code": (array_entry("__import__('os').system('true')", FOUR), "Python objects or records"),
    "no array": (b"hello", "cannot be read"),
    "a header without an end": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "header of"),
}


@pytest.mark.parametrize("reader", ["weights", "features"])
@pytest.mark.parametrize("title", [*NPZ, "encrypted", "compressed otherwise"])
def test_hostile_archives(tmp_path, title, reader):
    path = tmp_path / "w.npz"
    if title == "encrypted":
        encrypted(path)
        words = "is encrypted"
    elif title == "compressed otherwise":
        npz_file(path, array_entry("(4,)", FOUR), zipfile.ZIP_BZIP2)
        words = "compressed in a way"
    else:
        content, words = NPZ[title]
        npz_file(path, content)
    refused(path, words, formats.read if reader == "weights" else lambda path: feature_files.read(str(path)))


# -- safetensors ------------------------------------------------------------------------------------------------------


def tensor_file(path: Path, header: object, block: bytes = b"") -> Path:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + block)
    return path


def described(kind: str, shape: list, size: int, begin: int = 0) -> dict:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, begin + size]}


A = described("F32", [4], 16)
SAFETENSORS = {
    "an unknown type": ({"a": described("F31", [4], 16)}, "type 'F31', which is unknown"),
    "numbers in parts of bytes": ({"a": described("F4", [4], 2)}, "packs numbers"),
    "a million axes": ({"a": described("F32", [1] * 30_000, 4)}, "30,000 axes"),
    "a claim of four terabytes": ({"a": described("F32", [1 << 40], 1 << 42)}, "tensors of"),
    "an overlap": ({"a": A, "b": A}, "does not begin where"),
    "a gap": ({"a": A, "b": described("F32", [1], 4, 20)}, "does not begin where"),
    "too few bytes": ({"a": described("F32", [3], 16)}, "another number of bytes"),
    "a negative size": ({"a": described("F32", [-4], 16)}, "whole numbers"),
    "a place that is text": ({"a": {"dtype": "F32", "shape": [4], "data_offsets": ["0", 16]}}, "no shape or no place"),
    "an entry that is a list": ({"a": [1]}, "not described"),
    "metadata that is a number": ({"__metadata__": 5, "a": A}, "metadata that is not texts"),
    "metadata of lists": ({"__metadata__": {"a": [1]}, "a": A}, "metadata that is not texts"),
    "a name twice": (b'{"a":' + json.dumps(A).encode() + b',"a":' + json.dumps(A).encode() + b"}", "twice"),
    "two hundred thousand deep": (b'{"a":' + b"[" * 200_000, "cannot be read as safetensors"),
    "metadata two hundred thousand deep": (
        b'{"__metadata__":' + b'{"a":' * 200_000 + b"1" + b"}" * 200_001,
        "cannot be",
    ),
    "no JSON": (b"{" + b"\xff" * 40, "cannot be read as safetensors"),
}


@pytest.mark.parametrize("title", SAFETENSORS)
def test_hostile_safetensors(tmp_path, title):
    header, words = SAFETENSORS[title]
    refused(tensor_file(tmp_path / "w.safetensors", header, FOUR), words)


@pytest.mark.parametrize(
    "metadata",
    [None, "[" * 200_000, "{}", "[]", "5", '"text"', "nothing", '{"config": 5}', '{"config": {"method": []}}'],
)
def test_checkpoints_with_odd_metadata(tmp_path, metadata):
    """Their digest fits: another program wrote them so. `metadata` may be missing, another type, or very deep."""
    from duoreid.core.checkpoints.trained import open_trained

    state = {"neck.weight": np.ones(4, np.float32)}
    path = tmp_path / "w.safetensors"
    header = {"format": checkpoint.FORMAT, "digest": checkpoint.digest(state, metadata or "")}
    header |= {} if metadata is None else {"metadata": metadata}
    path.write_bytes(checkpoint.tensor_file.written(state, header))
    refused(path, read=open_trained)


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 200_000, "5", "[]", "\x00", '{"backend": 5}', ""])
def test_settings_of_a_run_that_are_none(tmp_path, content):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(content)
    refused(folder, read=read_settings)


# -- MindSpore's ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (mindspore_tensor(b"\x08\x01" * 30_000, FOUR[:4]), "30,000 axes"),
        (mindspore_tensor(field(1, b"\x01" * 30_000), FOUR[:4]), "30,000 axes"),
        (mindspore_tensor(b"\x08" + b"\xff" * 8 + b"\x7f", FOUR), "should hold"),
        (mindspore_tensor(b"\x08\x04", FOUR, b"Float31"), "unknown type"),
        (mindspore_tensor(b"\x08\x03", FOUR), "should hold 3 values"),
        (field(1, b"\x0a\xff\xff\xff\xff\xff\x0f"), "announced"),
    ],
)
def test_hostile_mindspore_files(tmp_path, content, words):
    path = tmp_path / "w.ckpt"
    path.write_bytes(content)
    refused(path, words)
