"""What computes a model's features: a backend's learner, or onnxruntime by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from duoreid.core.errors import UserError, unknown
from duoreid.core.networks.images import standardise
from duoreid.core.random import rng
from duoreid.core.serving.description import NORMALISED, Description, from_texts

if TYPE_CHECKING:
    from duoreid.core.checkpoints.trained import Model
    from duoreid.core.commands.command import Backend

PROVIDERS = {"cpu": "CPUExecutionProvider", "openvino": "OpenVINOExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""What onnxruntime may compute with, by rising speed. The first is float32 and always there."""

PACKAGES = {"openvino": "onnxruntime-openvino", "cuda": "onnxruntime-gpu"}
"""What to install for a provider, in the place of onnxruntime."""

LEAST = 0.999
"""Least cosine between a feature and that of float32 for a provider to be taken by itself."""

EXAMPLES = 3  # images on which it is measured


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
    """An exported .onnx file in onnxruntime; needs neither torch nor mindspore.

    device "auto": the fastest provider that this onnxruntime has and that is correct, which is seen once, on images
    whose features float32 tells. OpenVINO computes in bfloat16 where the processor has it. cosine: the least between
    its features and those of float32; `about` says both.
    """

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
        self._session = _opened(path, settings, PROVIDERS["cpu"])
        self.description, self.cosine = self._described(path), 1.0
        for provider in _providers(device, onnxruntime.get_available_providers()):
            if provider == PROVIDERS["cpu"]:
                break
            try:
                session = _opened(path, settings, provider)
                cosine = _least_cosine(self._session, session, self.description)
            except UserError:
                if device != "auto":
                    raise
                continue
            if cosine >= LEAST or device != "auto":
                self._session, self.cosine = session, cosine
                break
        name = self._session.get_providers()[0]
        told = "" if name == PROVIDERS["cpu"] else f", cosine with float32 {self.cosine:.6f} or more"
        self.about = f"onnxruntime {onnxruntime.__version__} on {name}{told}"

    def _described(self, path: Path) -> Description:
        description = from_texts(self._session.get_modelmeta().custom_metadata_map, str(path))
        (given,), (made,) = self._session.get_inputs(), self._session.get_outputs()
        size = (description.height, description.width)
        shape = (3, *size) if description.input == NORMALISED else (*size, 3)
        if tuple(given.shape[1:]) != shape or len(made.shape) != 2:
            raise UserError(f"{path} takes images {given.shape}, but its metadata says {shape}: export it again.")
        return description

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (B, H, W, 3) -> features (B, D) of unit length."""
        given = standardise(images, np.float32) if self.description.input == NORMALISED else images
        return self._session.run(None, {self._session.get_inputs()[0].name: given})[0]


def _opened(path: Path, settings: Any, provider: str) -> Any:
    """Return a session of one provider; UserError where it cannot be had or cannot run the file."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=[provider])
    except Exception as error:
        raise UserError(f"{path} cannot be run by onnxruntime ({str(error).strip()[:200]}).") from error
    if session.get_providers()[0] != provider:
        raise UserError(
            f"onnxruntime has {provider}, but cannot load it: it says why above. Install what it needs, or take "
            "device='cpu'."
        )
    return session


def _least_cosine(plain: Any, other: Any, known: Description) -> float:
    """Return the least cosine between the features of two sessions, on images of coarse patches; -1: not finite."""
    patches = rng(0, "engine").integers(0, 256, (EXAMPLES, -(-known.height // 8), -(-known.width // 8), 3), np.uint8)
    images = patches.repeat(8, axis=1).repeat(8, axis=2)[:, : known.height, : known.width]
    given = {plain.get_inputs()[0].name: standardise(images, np.float32) if known.input == NORMALISED else images}
    try:
        first, second = (session.run(None, given)[0].astype(np.float64) for session in (plain, other))
    except Exception as error:
        raise UserError(f"onnxruntime cannot run the graph ({str(error).strip()[:200]}): export it again.") from error
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = (first * second).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return float(cosines.min()) if np.isfinite(cosines).all() else -1.0


def _providers(device: str, available: list[str]) -> list[str]:
    """Return the providers to try, the best first."""
    if device not in ("auto", *PROVIDERS):
        raise unknown("device of onnxruntime", device, ("auto", *PROVIDERS))
    if device == "auto":
        return [name for name in reversed(PROVIDERS.values()) if name in available]
    if PROVIDERS[device] not in available:
        raise UserError(
            f"device {device!r} was asked for, but this onnxruntime has {', '.join(available)} only: install "
            f"{PACKAGES.get(device, 'onnxruntime')} instead, or take device='cpu'."
        )
    return [PROVIDERS[device]]
