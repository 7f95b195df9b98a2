"""What computes a model's features: a backend's learner, or onnxruntime by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from duoreid.core.errors import UserError, unknown
from duoreid.core.networks.images import standardise
from duoreid.core.serving.description import NORMALISED, Description, from_texts

if TYPE_CHECKING:
    from duoreid.core.checkpoints.trained import Model
    from duoreid.core.commands.command import Backend

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Engine(Protocol):
    """Makes features. about: framework and hardware, in words."""

    about: str

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (B, H, W, 3) -> features (B, D) of unit length."""
        ...


class LearnerEngine:
    """A backend's learner with one model in it."""

    def __init__(self, backend: Backend, model: Model, **options: Any) -> None:
        runtime = backend.open_runtime(backend.runtime(**options))
        self.about = backend.about(runtime)
        self._learner = backend.make_learner(model.config, runtime, 0)
        self._learner.import_state(model.state)

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (B, H, W, 3) -> features (B, D) of unit length."""
        return self._learner.embed([images])[0]


class OnnxEngine:
    """An exported .onnx file in onnxruntime; needs neither torch nor mindspore."""

    def __init__(self, path: Path, *, device: str = "auto", threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                "an .onnx file is run by onnxruntime, which is not installed: pip install onnxruntime, or load the "
                "checkpoint that it was exported from."
            ) from error
        if not path.is_file():
            raise UserError(f"{path} is not there: give an .onnx file that `duoreid export --format onnx` has written.")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        self.providers = _providers(device, onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=self.providers)
        except Exception as error:
            raise UserError(f"{path} cannot be run by onnxruntime ({str(error).strip()[:200]}).") from error
        self.about = f"onnxruntime {onnxruntime.__version__} on {self._session.get_providers()[0]}"
        self.description = self._described(path)

    def _described(self, path: Path) -> Description:
        found = from_texts(self._session.get_modelmeta().custom_metadata_map, str(path))
        (given,), (made,) = self._session.get_inputs(), self._session.get_outputs()
        size = (found.height, found.width)
        shape = (3, *size) if found.input == NORMALISED else (*size, 3)
        if tuple(given.shape[1:]) != shape or len(made.shape) != 2:
            raise UserError(f"{path} takes images {given.shape}, but its metadata says {shape}: export it again.")
        return found

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (B, H, W, 3) -> features (B, D) of unit length."""
        given = standardise(images, np.float32) if self.description.input == NORMALISED else images
        return self._session.run(None, {self._session.get_inputs()[0].name: given})[0]


def _providers(device: str, available: list[str]) -> list[str]:
    if device not in ("auto", *PROVIDERS):
        raise unknown("device of onnxruntime", device, ("auto", *PROVIDERS))
    if device == "auto":
        return [name for kind, name in reversed(PROVIDERS.items()) if name in available]
    if PROVIDERS[device] not in available:
        raise UserError(
            f"device {device!r} was asked for, but this onnxruntime has {', '.join(available)} only: install "
            "onnxruntime-gpu, or take device='cpu'."
        )
    return [PROVIDERS[device]]
