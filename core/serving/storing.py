"""A calibrated threshold, written into the file of its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints.files import write_atomically
from duoreid.core.errors import UserError
from duoreid.core.serving.opening import is_onnx
from duoreid.core.threshold import Threshold

KEY = "threshold"


def require_room(path: Path) -> None:
    """Raise UserError for a file that cannot carry a threshold: before anything is computed for it."""
    if is_onnx(path):
        _onnx()
    elif path.suffix != ".safetensors":
        raise UserError(
            f"{path} has no room for a threshold: convert it first, `duoreid export {path} --format safetensors "
            "--output network.safetensors` with its --arch, --height and --width, and calibrate that file."
        )
    else:
        checkpoint.load(path)


def store(path: Path, threshold: Threshold) -> None:
    """Write a threshold into a checkpoint's or an exported graph's metadata; the file is replaced whole or not at all.

    A checkpoint in a run's folder is written under the lock of the run, so that nothing that a training saves is lost.
    UserError where a training holds it, and where the file cannot be written.
    """
    if is_onnx(path):
        onnx = _onnx()
        graph = onnx.load(str(path))
        texts = {one.key: one.value for one in graph.metadata_props}
        onnx.helper.set_model_props(graph, texts | {KEY: json.dumps(threshold.to_dict())})
        write_atomically(path, graph.SerializeToString())
        return
    lock = None
    if (path.parent / "config.json").is_file():
        from duoreid.core.training.locking import acquire

        lock = acquire(path.parent)
    try:
        state, metadata = checkpoint.load(path)
        checkpoint.save(path, state, metadata | {KEY: threshold.to_dict()})
    finally:
        if lock is not None:
            lock.release()


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise UserError(
            "a threshold is written into an .onnx file by the package onnx, which is not installed: pip install "
            "'duoreid[export]', or calibrate the checkpoint and export it again."
        ) from error
    return onnx
