"""Files of weights that are cut short, damaged or something else, and the errors that say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints import formats
from duoreid.core.errors import UserError
from tests.core.weight_files import LEGACY, save

torch = pytest.importorskip("torch")


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
