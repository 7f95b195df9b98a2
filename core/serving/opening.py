"""From a file to a `Model`: a run's folder, a checkpoint, anybody's weights, or an exported .onnx."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duoreid.core.errors import UserError
from duoreid.core.networks.network import check_size
from duoreid.core.serving.description import describe
from duoreid.core.serving.engines import LearnerEngine, OnnxEngine
from duoreid.core.serving.model import Model
from duoreid.core.serving.pictures import Pictures
from duoreid.core.settings.config import validate

if TYPE_CHECKING:
    from duoreid.core.checkpoints.trained import Trained
    from duoreid.core.commands.command import Backend

ONNX = ".onnx"


def is_onnx(source: str | Path) -> bool:
    """Return whether a file is an exported graph, by its name."""
    return Path(source).suffix.lower() == ONNX


def open_onnx(source: str | Path, pictures: Pictures, *, device: str = "auto", threads: int = 0, **given: Any) -> Model:
    """Return the model of an .onnx file; UserError for options that such a file answers itself."""
    refused = [name for name, value in given.items() if value is not None]
    if refused:
        raise UserError(
            f"{source} says {', '.join(refused)} itself: leave {'it' if len(refused) == 1 else 'them'} out."
        )
    engine = OnnxEngine(Path(source), device=device, threads=threads)
    return Model(engine, engine.description, pictures, str(source))


def open_checkpoint(
    source: str | Path,
    backend: Backend,
    pictures: Pictures,
    *,
    network: str | None = None,
    arch: str | None = None,
    stem_relu: bool | None = None,
    height: int | None = None,
    width: int | None = None,
    interpolation: str | None = None,
    **options: Any,
) -> Model:
    """Return the model of a run's folder, a checkpoint or weights from elsewhere.

    network: by name; where a file has several that embed (mean teachers), the first of them. arch, stem_relu, height,
    width: of weights from elsewhere, which do not say them. options: of the backend's runtime.
    """
    from duoreid.core.checkpoints.trained import open_trained

    trained = open_trained(source, network or "", arch or "", stem_relu, (height, width))
    trained = _prepared(trained, {"height": height, "width": width, "interpolation": interpolation})
    name = trained.one(network or "")
    engine = LearnerEngine(backend, trained.models[name], **options)
    return Model(engine, describe(trained, name), pictures, str(trained.path))


def _prepared(trained: Trained, given: dict[str, Any]) -> Trained:
    """Return a file's models with another size or filter of images, where one is asked for."""
    changed = {name: value for name, value in given.items() if value is not None}
    if not (trained.known or trained.sized) and not {"height", "width"} <= changed.keys():
        raise UserError(
            f"{trained.path} does not say the size of its images: give height and width, such as height=256, "
            "width=128 (--height 256 --width 128)."
        )
    known = trained.config.data
    data = replace(known, **changed)
    validate(data)
    check_size(trained.config.network, (known.height, known.width), (data.height, data.width))
    return replace(trained, config=replace(trained.config, data=data))
