"""Readers of weight files against torch, safetensors and what else writes them."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

from duoreid.core.checkpoints import formats
from duoreid.core.errors import UserError
from tests.core.weight_files import LEGACY, save

torch = pytest.importorskip("torch")


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
