"""The reader of MindSpore's checkpoints against MindSpore, and what it says of damaged ones."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.checkpoints import formats
from duoreid.core.errors import UserError
from tests.core.weight_files import mindspore_tensor


def ckpt(path: Path, parameters: dict, **options: object) -> Path:
    import duoreid.backends.mindspore  # noqa: F401 (sets the environment)

    ms = pytest.importorskip("mindspore")
    given = [{"name": name, "data": value} for name, value in parameters.items()]
    ms.save_checkpoint(given, str(path), **options)
    return path


@pytest.fixture(scope="module")
def parameters() -> dict:
    import duoreid.backends.mindspore  # noqa: F401

    ms = pytest.importorskip("mindspore")
    numbers = np.random.default_rng(0)
    return {
        "conv1.weight": ms.Tensor(numbers.standard_normal((4, 3, 2, 2)).astype(np.float32)),
        "bn1.gamma": ms.Tensor(numbers.standard_normal(4).astype(np.float16)),
        "brain": ms.Tensor(numbers.standard_normal(4), ms.bfloat16),
        "double": ms.Tensor(numbers.standard_normal(4)),
        "single": ms.Tensor(np.ones(1, np.float32)),
        "global_step": ms.Tensor(3, ms.int32),
        "flag": ms.Tensor([True, False]),
    }


@pytest.mark.parametrize("crc", [False, True])
def test_mindspore_files_are_read_as_mindspore_reads_them(tmp_path, parameters, crc):
    import mindspore as ms

    path = ckpt(tmp_path / "w.ckpt", parameters, crc_check=crc, append_dict={"epoch": 3, "note": "text"})
    contents = formats.read(path)
    expected = ms.load_checkpoint(str(path))
    assert contents.kind == formats.CKPT
    assert contents.aside == ("note",)
    assert set(contents.tensors) == set(expected) - {"note"}
    for name, value in contents.tensors.items():
        theirs = expected[name]
        theirs = (theirs.astype(ms.float32) if theirs.dtype == ms.bfloat16 else theirs).asnumpy()
        np.testing.assert_array_equal(value, theirs, strict=True)


def test_slices_of_one_large_tensor_are_joined(tmp_path):
    def entry(name: str, dims: list[int], values: np.ndarray) -> bytes:
        axes = b"".join(b"\x08" + bytes([n]) for n in dims)
        return mindspore_tensor(axes, values.tobytes(), name=name.encode())

    values = np.arange(12, dtype=np.float32)
    path = tmp_path / "w.ckpt"
    path.write_bytes(entry("a", [3, 4], values[:8]) + entry("a", [3, 4], values[8:]))
    np.testing.assert_array_equal(formats.read(path).tensors["a"], values.reshape(3, 4))
    path.write_bytes(entry("a", [3, 4], values[:8]))
    with pytest.raises(UserError, match=r"should hold 12 values \(3, 4\) but holds 8"):
        formats.read(path)


@pytest.mark.parametrize("checksum", [False, True])
def test_every_cut_of_a_mindspore_file_is_an_error_or_ends_between_two_tensors(tmp_path, checksum):
    """The format is a sequence of entries: one that ends early, but between two, is a whole file of fewer tensors."""

    def entry(name: str, values: np.ndarray) -> bytes:
        return mindspore_tensor(b"\x08" + bytes([values.size]), values.tobytes(), name=name.encode())

    arrays = {name: np.arange(size, dtype=np.float32) for name, size in (("a", 3), ("b", 1), ("c", 40))}
    parts = [entry(name, values) for name, values in arrays.items()]
    content = b"".join(parts)
    ends = {0: 0} | {sum(map(len, parts[:count])): count for count in range(1, len(parts) + 1)}
    if checksum:
        content += b"crc_num" + zlib.crc32(content).to_bytes(10, "big")
    path = tmp_path / "w.ckpt"
    for length in range(1, len(content) + 1):
        path.write_bytes(content[:length])
        if length in ends or length == len(content):
            loaded = formats.read(path).tensors
            assert list(loaded) == list(arrays)[: ends.get(length)]
            for name, value in loaded.items():
                np.testing.assert_array_equal(value, arrays[name], strict=True)
        else:
            with pytest.raises(UserError, match="cannot be read as a MindSpore checkpoint"):
                formats.read(path)


def test_damaged_mindspore_files_are_errors(tmp_path, parameters):
    path = ckpt(tmp_path / "w.ckpt", parameters, crc_check=True)
    content = path.read_bytes()
    path.chmod(0o600)
    flipped = bytearray(content)
    flipped[60] ^= 1
    for wrong in (bytes(flipped), content[: len(content) // 2], content[:-20]):
        path.write_bytes(wrong)
        with pytest.raises(UserError, match="MindSpore checkpoint"):
            formats.read(path)


def test_an_encrypted_mindspore_file_is_an_error(tmp_path, parameters):
    path = ckpt(tmp_path / "w.ckpt", parameters, enc_key=b"0123456789ABCDEF")
    with pytest.raises(UserError):
        formats.read(path)
