"""Checkpoints: whole or not there, and never read when damaged."""

import json
import os

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.errors import UserError
from duoreid.core.settings.transfer import MMTRecipe
from duoreid.core.training.record import Record, free_folder


def state():
    return {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "adam.step": np.int64(3), "d": np.ones(2)}


def test_round_trip_is_bitwise(tmp_path):
    checkpoint.save(tmp_path / "x.safetensors", state(), {"epoch": 3, "config": {"a": [1, 2]}})
    loaded, metadata = checkpoint.load(tmp_path / "x.safetensors")
    assert metadata == {"epoch": 3, "config": {"a": [1, 2]}}
    assert loaded.keys() == state().keys()
    for name, value in state().items():
        assert loaded[name].dtype == value.dtype
        np.testing.assert_array_equal(loaded[name], value)


def test_non_contiguous_arrays_keep_their_values(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    checkpoint.save(tmp_path / "x.safetensors", {"a": array}, {})
    np.testing.assert_array_equal(checkpoint.load(tmp_path / "x.safetensors")[0]["a"], array)


def test_any_flipped_bit_is_noticed(tmp_path):
    """In the header, the metadata and the tensors: one bit of every byte, lowest and highest in turns."""
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, state(), {"epoch": 1})
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ (128 if place % 2 else 1)]) + content[place + 1 :])
        with pytest.raises(UserError, match=r"damaged|no checkpoint of this library"):
            checkpoint.load(path)


def test_the_same_state_is_the_same_bytes_in_whatever_order(tmp_path):
    from safetensors.numpy import load_file

    first = {"b": np.ones((2, 3), np.float32), "a": np.arange(3), "c": np.array(True), "d": np.float32(2)}
    checkpoint.save(tmp_path / "one.safetensors", first, {"epoch": 1})
    checkpoint.save(tmp_path / "two.safetensors", dict(reversed(first.items())), {"epoch": 1})
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    loaded = load_file(tmp_path / "one.safetensors")
    assert loaded.keys() == first.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(loaded[name], value, strict=isinstance(value, np.ndarray))


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, state(), {})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(path)


def test_other_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(UserError, match="not a file"):
        checkpoint.load(tmp_path / "missing.safetensors")
    (tmp_path / "x.safetensors").write_text("hello, this is text")
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(tmp_path / "x.safetensors")
    save_file({"a": np.ones(2)}, tmp_path / "y.safetensors")
    with pytest.raises(UserError, match="no checkpoint of this library"):
        checkpoint.load(tmp_path / "y.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, state(), {"epoch": 1})

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left .* untouched"):
        checkpoint.save(path, {"a": np.zeros(100)}, {"epoch": 2})
    assert checkpoint.load(path)[1] == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_run_never_writes_over_another(tmp_path):
    record = Record.begin(tmp_path / "run", MMTRecipe(), {"backend": "none"})
    record.line("epoch", epoch=0, loss=np.float32(1.5), labels=np.arange(2))
    record.save("last", state(), epoch=1)
    with pytest.raises(UserError, match=f"in use by process {os.getpid()} on"):
        Record.begin(tmp_path / "run", MMTRecipe(), {})
    record.close()
    with pytest.raises(UserError, match="already holds a run"):
        Record.begin(tmp_path / "run", MMTRecipe(), {})
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["run", "epoch"]
    assert lines[1]["labels"] == [0, 1]
    assert checkpoint.load(tmp_path / "run" / "last.safetensors")[1]["epoch"] == 1
    assert free_folder(tmp_path, "run").name == "run-2"
