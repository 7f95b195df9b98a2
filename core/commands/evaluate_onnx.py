"""`duoreid evaluate FILE.onnx`: test an exported graph on a dataset, by onnxruntime alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duoreid.core.commands import evaluate
from duoreid.core.commands.command import guarded
from duoreid.core.errors import UserError
from duoreid.core.settings.config import option, validate

if TYPE_CHECKING:
    from duoreid.core.checkpoints.trained import Trained
    from duoreid.core.data import OpenData
    from duoreid.core.serving.engines import Engine, OnnxEngine

DEVICES = ("auto", "cpu", "openvino", "cuda")
SAYS = ("network", "arch", "stem_relu", "height", "width", "interpolation")
"""Options of a checkpoint that a graph answers itself."""


@dataclass(frozen=True)
class OnnxConfig:
    """What onnxruntime computes with."""

    device: str = option(
        "auto", "device; auto: the fastest that is installed and agrees with float32; cpu: float32", choices=DEVICES
    )
    threads: int = option(0, "CPU threads; 0: onnxruntime's own choice", least=0)


@dataclass(frozen=True)
class Onnxruntime:
    """What computes, as the parser of the command takes it."""

    name: str = "onnx"
    runtime: type = OnnxConfig


class EngineLearner:
    """An engine of core/serving, seen as what embeds the images of a dataset."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def embed(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Embed chunks uint8 (b, H, W, 3) -> float32 (1, N, D); UserError where a feature is not finite."""
        features = np.concatenate([self.engine.embed(chunk) for chunk in images])[None]
        if not np.isfinite(features).all():
            raise UserError("the graph makes features that are not finite: export it again, from a sound checkpoint.")
        return features


def main(open_dataset: evaluate.OpenDataset, argv: Sequence[str] | None = None, prog: str = "duoreid evaluate") -> int:
    """Run the command line; return the exit status. open_dataset: opens a dataset by name."""
    return guarded(lambda: _evaluate(open_dataset, argv, prog))


def _evaluate(open_dataset: evaluate.OpenDataset, argv: Sequence[str] | None, prog: str) -> None:
    given, device = evaluate.options(Onnxruntime(), argv, prog)
    if said := [f"--{name.replace('_', '-')}" for name in SAYS if given[name] not in (None, "")]:
        raise UserError(f"{given['checkpoint']} says what {', '.join(said)} would: leave it out.")

    from duoreid.core.serving.engines import OnnxEngine
    from duoreid.core.tracklets import embed_test

    path = Path(given["checkpoint"])
    engine = OnnxEngine(path, device=device.device, threads=device.threads)
    trained = graph(path, engine, given)
    evaluate.tested_on(trained, given)

    def networks(opened: OpenData, batch: int) -> Iterator[tuple[str, np.ndarray]]:
        if opened.dataset.trial and not (trained.trial or given["trial"]):
            raise UserError(
                f"{opened.dataset.name} has several training splits, and {path} does not say on which its network was "
                "trained: give --trial, or export it again."
            )
        yield engine.description.network, embed_test(EngineLearner(engine), opened, batch)[0]

    evaluate.test(evaluate.Subject(trained, engine.about, networks), open_dataset, given)


def graph(path: Path, engine: OnnxEngine, given: dict[str, Any]) -> Trained:
    """Return what an exported file says of its network, without the network: the images' size, filter and split."""
    from duoreid.core.checkpoints.trained import Trained
    from duoreid.core.methods.registry import DEFAULT, spec_of

    known, base = engine.description, spec_of(DEFAULT).recipe()
    changed = {name: given[name] for name in evaluate.DATA if given[name] is not None}
    changed |= {name: getattr(known, name) for name in ("height", "width", "interpolation")}
    data = replace(base.data, **changed)
    validate(data)
    return Trained(path, replace(base, data=data), {}, known=False, sized=True, trial=known.trial or 0)
