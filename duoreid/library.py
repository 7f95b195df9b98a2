"""`duoreid.load`: the door to a trained model. It only brings together what other rooms do."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from duoreid.core.errors import UserError, unknown
from duoreid.core.serving.model import Model
from duoreid.core.serving.opening import is_onnx, open_checkpoint, open_onnx
from duoreid.datasets.sources import FILES

BACKENDS = ("torch", "mindspore", "onnx")


def load(
    source: str | Path,
    *,
    backend: str = "torch",
    device: str = "auto",
    arch: str | None = None,
    network: str | None = None,
    height: int | None = None,
    width: int | None = None,
    interpolation: str | None = None,
    stem_relu: bool | None = None,
    **runtime: Any,
) -> Model:
    """Return the model of a file, ready to embed pictures.

    source: a run's folder, one of its .safetensors, anybody's weights (.pth, .ckpt, .npz, .safetensors; give `arch`,
    `height` and `width`), or an .onnx that `duoreid export` has written, which onnxruntime runs whatever `backend`
    says. backend: "torch", "mindspore" or "onnx". device: "auto", "cpu", "cuda" (torch, onnx), "openvino" (onnx),
    "gpu" or "ascend" (mindspore); "auto" with onnx: the fastest that is installed and agrees with float32. network: by
    name, where a file holds several; else the first of those that embed. height, width, interpolation: of the images;
    the file's own by default. runtime: other settings of the backend, such as threads=1 or precision="bfloat16".
    Raises ValueError for a file that cannot be read or does not say what is needed, with what to do.

    >>> load("runs/absent.onnx")
    Traceback (most recent call last):
    duoreid.core.errors.UserError: runs/absent.onnx is not there: give ...
    """
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    asked = {"arch": arch, "network": network, "height": height, "width": width}
    asked |= {"interpolation": interpolation, "stem_relu": stem_relu}
    if is_onnx(source):
        if backend == "mindspore":
            raise UserError(f"{source} is run by onnxruntime: leave backend='mindspore' out, or load its checkpoint.")
        return open_onnx(source, FILES, device=device, **asked, **runtime)
    if backend == "onnx":
        raise UserError(
            f"{source} is no .onnx file: `duoreid export {source} --format onnx --output network.onnx` writes one."
        )
    if importlib.util.find_spec(backend) is None:
        raise UserError(
            f"{source} needs {backend}, which is not installed: pip install 'duoreid[{backend}]', take another "
            "backend, or load an exported .onnx, which needs neither."
        )
    entry = importlib.import_module(f"duoreid.backends.{backend}.entry")
    known = entry.BACKEND.runtime.__dataclass_fields__
    for name in runtime:
        if name not in known:
            raise unknown(f"setting of {backend}", name, known)
    return open_checkpoint(source, entry.BACKEND, FILES, device=device, **asked, **runtime)
