"""Readers of weight files against the frameworks that write them; damaged and hostile files."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints import formats
from duoreid.core.errors import UserError

torch = pytest.importorskip("torch")
LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def save(path: Path, content: object, legacy: bool) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def tensors() -> OrderedDict:
    numbers = torch.Generator().manual_seed(0)
    base = torch.randn(5, 6, generator=numbers)
    return OrderedDict(
        plain=base,
        transposed=base.t(),
        part=base[1:4, 2:5],
        parameter=torch.nn.Parameter(torch.randn(3, generator=numbers)),
        half=torch.randn(4, generator=numbers).half(),
        brain=torch.randn(4, generator=numbers).bfloat16(),
        double=torch.randn(2, generator=numbers).double(),
        counter=torch.tensor(7),
        flag=torch.tensor([True, False]),
        empty=torch.zeros(0, 3),
        one=torch.tensor(2.5),
    )


@LEGACY
def test_torch_files_are_read_as_torch_reads_them(tmp_path, legacy):
    path = save(tmp_path / "w.pth", tensors(), legacy)
    contents = formats.read(path)
    expected = torch.load(path, weights_only=True)
    assert contents.kind == formats.PTH
    assert list(contents.tensors) == list(expected)
    for name, value in expected.items():
        value = value.detach()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        assert contents.tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(contents.tensors[name], value, strict=True)


@LEGACY
@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net"])
def test_wrappers_and_what_lies_beside_the_tensors(tmp_path, legacy, wrapper):
    optimiser = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    content = {wrapper: {"a": torch.ones(2)}, "epoch": 3, "best_mAP": np.float64(0.5), "optimizer": optimiser}
    contents = formats.read(save(tmp_path / "w.pth.tar", content, legacy))
    np.testing.assert_array_equal(contents.tensors["a"], np.ones(2, np.float32))
    assert contents.aside == ("epoch = 3", "best_mAP = 0.5", "optimizer")


@LEGACY
def test_single_numbers_beside_the_tensors_are_told_with_their_values(tmp_path, legacy):
    """Of NumPy as of Python; of another type or another order of bytes the name alone."""
    plain = {"a": 1, "b": 2.5, "c": np.float32(0.25), "d": np.int64(-7), "e": np.float16(2), "f": 10**30, "g": True}
    odd = {"complex": np.complex64(1), "big-endian": Scalar(">f8"), "the same type": Scalar(">f8"), "end": 3}
    contents = formats.read(save(tmp_path / "w.pth", {"model": {"w": torch.ones(2)}} | plain | odd, legacy))
    numbers = ("a = 1", "b = 2.5", "c = 0.25", "d = -7", "e = 2", "f", "g")
    assert contents.aside == (*numbers, "complex", "big-endian", "the same type", "end = 3")


class Scalar:
    """Is pickled as a NumPy scalar of a type that NumPy itself would turn into the machine's own."""

    def __init__(self, kind):
        self.kind = np.dtype(kind)

    def __reduce__(self):
        return np.float64(0).__reduce__()[0], (self.kind, bytes(8))


def test_a_module_state_with_its_version_notes(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    contents = formats.read(save(tmp_path / "w.pth", module.state_dict(), False))
    assert list(contents.tensors) == list(module.state_dict())


def beside() -> dict[str, object]:
    adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    return {
        "MultiStepLR": torch.optim.lr_scheduler.MultiStepLR(adam, [20, 40]).state_dict(),
        "set": {1},
        "dtype": torch.float16,
        "complex": 1j,
        "OrderedDict": OrderedDict(a=1),
        "size": torch.Size([1, 2]),
        "bytes": bytearray(b"x"),
    }


@LEGACY
@pytest.mark.parametrize("title", beside())
def test_plain_values_beside_the_weights_are_no_reason_to_refuse_them(tmp_path, title, legacy):
    content = {"state_dict": {"a": torch.ones(2)}, "extra": beside()[title]}
    path = save(tmp_path / "w.pth", content, legacy)
    torch.load(path, weights_only=True)
    contents = formats.read(path)
    assert list(contents.tensors) == ["a"]
    assert contents.aside == ("extra",)


FLOATS = [name for name in dir(torch) if name.startswith(("float8_", "float16", "bfloat16", "float32", "float64"))]


@pytest.mark.parametrize("kind", FLOATS)
def test_every_floating_type_is_read_number_by_number(tmp_path, kind):
    """All 256 patterns of the types of eight bits, as torch understands them."""
    dtype = getattr(torch, kind)
    numbers = torch.arange(256, dtype=torch.uint8)
    value = numbers.view(dtype) if kind.startswith("float8") else numbers.to(dtype)
    path = save(tmp_path / "w.pth", {"a": value}, False)
    expected = value.double().numpy()
    np.testing.assert_array_equal(formats.read(path).tensors["a"].astype(np.float64), expected)
    from safetensors.torch import save_file

    if kind not in ("float8_e4m3fnuz", "float8_e5m2fnuz"):
        save_file({"a": value}, path := tmp_path / "w.safetensors")
        np.testing.assert_array_equal(formats.read(path).tensors["a"].astype(np.float64), expected)


def test_networks_beside_each_other_and_wrappers_of_any_depth(tmp_path):
    one, two = {"conv1.weight": torch.ones(2)}, {"conv1.weight": torch.zeros(2)}
    optimiser = {"state": {0: {"exp_avg": torch.ones(3)}}}
    path = save(tmp_path / "w.pth", {"state_dict_1": one, "state_dict_2": two, "optimizer": optimiser}, False)
    contents = formats.read(path)
    assert list(contents.tensors) == ["state_dict_1.conv1.weight", "state_dict_2.conv1.weight"]
    assert contents.aside == ("optimizer",)
    deep = {"outer": {"inner": {"model": one, "step": torch.tensor(3)}}, "optimizers": [optimiser], "epoch": 3}
    contents = formats.read(save(tmp_path / "w.pth", deep, False))
    assert list(contents.tensors) == ["conv1.weight"]
    assert contents.aside == ("optimizers", "epoch = 3", "step")


# -- hostile pickles ------------------------------------------------------------------------------------------


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


def archive(path: Path, program: bytes, **others: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", program)
        for name, content in others.items():
            file.writestr(f"archive/data/{name}", content)
    return path


ATTACKS = {
    "eval": b"\x80\x02cbuiltins\neval\nX\x04\x00\x00\x001+1q\x85R.",
    "attributes of a constructor": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00xK\x01sb.",
    "attributes of a class": b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00xK\x01sb.",
    "an unlisted storage": b"\x80\x02ctorch.storage\nFloatStorage\n.",
    "an attribute of this library": b"\x80\x02ccore.formats.pth\n__dict__\n.",
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

    text = b"".join(
        [b"(", _text("storage"), b"ctorch\nFloatStorage\n", _text("0"), _text("cpu"), b"J", struct.pack("<i", count)]
    )
    head = b"\x80\x02}" + _text("a") + b"ctorch._utils\n_rebuild_tensor_v2\n("
    return head + text + b"tQ" + numbers + tuple_of(shape) + tuple_of(strides) + b"\x89}tRs."


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


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


# -- damaged files and other things ---------------------------------------------------------------------------


def written(kind: str, path: Path, tensors: dict) -> bytes:
    """Write tensors as a file of a kind, and return its bytes."""
    arrays = {name: value.numpy() for name, value in tensors.items()}
    if kind in ("zip", "legacy"):
        save(path, tensors, kind == "legacy")
    elif kind == "npz":
        np.savez(path, **arrays)
    elif kind == "compressed npz":
        np.savez_compressed(path, **arrays)
    elif kind == "safetensors":
        from safetensors.numpy import save_file

        save_file(arrays, path)
    else:
        checkpoint.save(path, arrays, {"epoch": 1})
    return path.read_bytes()


KINDS = ("zip", "legacy", "npz", "compressed npz", "safetensors", "checkpoint")
SMALL = {
    # torch orders the storages of its old form by address: alone, each of these is the last one
    "full": {"a": torch.arange(3.0)},
    "empty": {"e": torch.zeros(0, 3)},
    "both": {"a": torch.arange(3.0), "e": torch.zeros(0, 3), "b": torch.ones(2)},
}


@pytest.mark.parametrize("which", SMALL)
@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_of_a_file_is_an_error(tmp_path, kind, which):
    path = tmp_path / "w.npz"
    content = written(kind, path, SMALL[which])
    assert formats.read(path).tensors.keys() == SMALL[which].keys()
    accepted = []
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            formats.read(path)
        except UserError:
            continue
        accepted.append(length)
    assert not accepted


@LEGACY
def test_a_cut_in_what_is_not_used_is_an_error(tmp_path, legacy):
    """The optimiser's storage may lie behind the tensors', and nothing but its length says that it is whole."""
    content = {"model": {"a": torch.ones(2)}, "optimizer": {"state": torch.ones(5), "empty": torch.zeros(0)}}
    path = save(tmp_path / "w.pth", content, legacy)
    whole = path.read_bytes()
    for length in range(len(whole) - 60, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            formats.read(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_byte_is_told_or_changes_no_number(tmp_path, kind):
    """Whatever byte it is: a UserError and no other, or, in the kinds with checksums, the same numbers."""
    path = tmp_path / "w.npz"
    content = written(kind, path, SMALL["both"])
    for place in range(0, len(content), 7 if kind == "zip" else 1):  # torch pads its archives
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            arrays = formats.read(path).tensors
        except UserError:
            continue
        if kind not in ("legacy", "safetensors"):
            for name in arrays.keys() & SMALL["both"].keys():
                np.testing.assert_array_equal(arrays[name], SMALL["both"][name].numpy(), err_msg=f"byte {place}")


def test_a_flipped_bit_in_a_zip_is_an_error(tmp_path):
    path = save(tmp_path / "w.pth", {"a": torch.ones(1000)}, False)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="damaged"):
        formats.read(path)


def test_a_whole_model_is_refused_with_advice(tmp_path):
    path = save(tmp_path / "w.pth", torch.nn.Linear(2, 2), False)
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear[\s\S]*state_dict"):
        formats.read(path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"epoch": 3}}, 5])
def test_a_file_without_tensors_says_what_it_holds(tmp_path, content):
    with pytest.raises(UserError, match="no dictionary of tensors"):
        formats.read(save(tmp_path / "w.pth", content, False))


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x0a", b"\x0a\xff\xff\xff\xff\xff", b"PK\x03\x04"])
def test_other_files_are_named(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"w\.pth"):
        formats.read(path)


def test_an_absent_file_and_a_folder(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        formats.read(tmp_path / "none.pth")
    with pytest.raises(UserError, match="is a folder but no run's"):
        formats.read(tmp_path)


def test_npz_with_objects_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="Python objects"):
        formats.read(tmp_path / "w.npz")


def test_foreign_safetensors(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.arange(3, dtype=np.float32)}, tmp_path / "w.safetensors", metadata={"format": "pt"})
    contents = formats.read(tmp_path / "w.safetensors")
    assert contents.kind == formats.SAFETENSORS
    np.testing.assert_array_equal(contents.tensors["a"], [0, 1, 2])
    content = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(content[:-2])
    with pytest.raises(UserError, match="safetensors"):
        formats.read(tmp_path / "w.safetensors")


@pytest.mark.parametrize("first", [0x80, 0x0A, ord("P")])
def test_safetensors_are_told_from_kinds_that_begin_with_the_length_of_their_header(tmp_path, first):
    from safetensors.numpy import save_file

    path = tmp_path / "w.safetensors"
    save_file({"a": np.arange(3, dtype=np.float32)}, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].ljust(256 + first)
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    assert path.read_bytes()[0] == first
    assert formats.read(path).kind == formats.SAFETENSORS


# -- MindSpore ------------------------------------------------------------------------------------------------


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
        tensor = b"".join(b"\x08" + bytes([n]) for n in dims) + _bytes(2, b"Float32") + _bytes(3, values.tobytes())
        return _bytes(1, _bytes(1, name.encode()) + _bytes(2, tensor))

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
        tensor = b"\x08" + bytes([values.size]) + _bytes(2, b"Float32") + _bytes(3, values.tobytes())
        return _bytes(1, _bytes(1, name.encode()) + _bytes(2, tensor))

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


def _bytes(field: int, content: bytes) -> bytes:
    file = io.BytesIO()
    file.write(bytes([field << 3 | 2]))
    size = len(content)
    while size > 127:
        file.write(bytes([size & 127 | 128]))
        size >>= 7
    file.write(bytes([size]) + content)
    return file.getvalue()


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
