"""`python -m backends.torch.export`: ONNX and torch programs beside the formats that every backend writes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoreid.backends.torch.entry import BACKEND
from duoreid.core.commands.export import TRACED, Format, Request, export
from duoreid.core.contract.state import network as network_of
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import spec_of

if TYPE_CHECKING:
    from torch import nn

    from duoreid.backends.torch.networks import ReIDNetwork

PROGRAMS = {
    "onnx": "a graph for onnxruntime and others, opset 17",
    "torch": "a program for torch.export.load (.pt2)",
}
OPSET = 17


def load(name: str) -> Format:
    """Return how a program is written; UserError where a package that it needs is absent."""
    if name == "torch":
        return Format(".pt2", _write_torch, _run_torch)
    try:
        import onnx  # noqa: F401 (the exporter needs it)
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--format onnx needs {error.name}, which is not installed: pip install 'duoreid[export]'."
        ) from error
    return Format(".onnx", _write_onnx, _run_onnx)


def program(request: Request) -> nn.Module:
    """Return a module that takes the request's images and returns L2-normalised features, in test mode on the CPU."""
    import torch

    from duoreid.backends.torch.networks import ReIDNetwork, normalise

    if request.joint:
        return _joint_program(request)
    network = _loaded(ReIDNetwork.of(request.config, 1), request.tensors)

    class Program(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network.embed(normalise(images, torch.float32) if request.raw else images)

    return Program().eval().requires_grad_(False)


def _joint_program(request: Request) -> nn.Module:
    """Return the program whose feature all networks make together, from images in colour and in grey."""
    import torch

    from duoreid.backends.torch.multi_view import both_forms, joint_feature
    from duoreid.backends.torch.networks import VariationalNetwork, pixels

    class Program(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for role in spec_of(request.config.method).embedders:
                tensors = network_of(request.tensors, role)
                self.add_module(role, _loaded(VariationalNetwork.of(request.config, 1), tensors))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            forms = both_forms([images if request.raw else pixels(images)], torch.float32, request.config)
            return joint_feature(list(self.children()), forms)[0]

    return Program().eval().requires_grad_(False)


def _loaded(network: ReIDNetwork, tensors: dict[str, np.ndarray]) -> ReIDNetwork:
    """Return the network with the tensors that its feature passes; the others are removed from it."""
    import torch

    unused = tuple(name for name in ("classifier", "bottleneck") if hasattr(network, name))
    for name in unused:
        delattr(network, name)
    given = {name: torch.tensor(value) for name, value in tensors.items() if not name.startswith(unused)}
    network.load_state_dict(given)
    return network


def _write_onnx(request: Request, path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        # The tracing exporter needs fewer packages than its successor; its remarks on constants and on instance
        # normalisation in test mode say what is meant here.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            program(request),
            (torch.from_numpy(request.example(TRACED)),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": {0: "batch"}, "features": {0: "batch"}},
        )
    _describe(path, request.texts)


def _describe(path: Path, texts: Mapping[str, str]) -> None:
    """Write what is known of the model into a graph's metadata, for those who run it without this library."""
    import onnx

    graph = onnx.load(str(path))
    onnx.helper.set_model_props(graph, dict(texts))
    onnx.save(graph, str(path))


def _run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["features"], {"images": images})[0]


def _write_torch(request: Request, path: Path) -> None:
    import torch

    example = (torch.from_numpy(request.example(TRACED)),)
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    torch.export.save(torch.export.export(program(request), example, dynamic_shapes=shapes), path)


def _run_torch(path: Path, images: np.ndarray) -> np.ndarray:
    import torch

    return torch.export.load(path).module()(torch.from_numpy(images)).numpy()


def main(argv: Sequence[str] | None = None, prog: str = "") -> int:
    """Run the command line; return the exit status. prog: how it was called."""
    return export(BACKEND, PROGRAMS, load, argv, prog)


if __name__ == "__main__":
    import duoreid.backends.torch.export as module

    sys.exit(module.main())
