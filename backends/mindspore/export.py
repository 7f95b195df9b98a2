"""`python -m backends.mindspore.export`: MindIR and .ckpt beside the formats that every backend writes."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoreid.backends.mindspore.entry import BACKEND
from duoreid.core.commands.export import Format, Request, export

if TYPE_CHECKING:
    from mindspore import nn

PROGRAMS = {
    "mindir": "a graph for mindspore.load and MindSpore Lite",
    "ckpt": "the network's tensors by MindSpore's usual names, with a checksum",
}
NORMS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def load(name: str) -> Format:
    """Return how a format is written."""
    return Format(".mindir", _write_mindir, _run_mindir) if name == "mindir" else Format(".ckpt", _write_ckpt)


def program(request: Request) -> nn.Cell:
    """Return a cell that takes the request's images and returns L2-normalised features, in test mode."""
    import mindspore as ms
    from mindspore import Tensor, nn

    from duoreid.backends.mindspore.networks import ReIDNetwork, normalise

    if request.joint:
        return _joint_program(request)

    class Program(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.raw = network, request.raw

        def construct(self, images: Tensor) -> Tensor:
            return self.network.embed(normalise(images, ms.float32) if self.raw else images)

    network = ReIDNetwork.of(request.config, 1, ms.float32)
    _load(network, request.tensors)
    return Program().set_train(False)


def _joint_program(request: Request) -> nn.Cell:
    """Return the program whose feature all networks make together, from images in colour and in grey."""
    import mindspore as ms
    from mindspore import Tensor, nn

    from duoreid.backends.mindspore.multi_view import both_forms, four_observations
    from duoreid.backends.mindspore.networks import VariationalNetwork, pixels

    class Program(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.raw = request.raw
            self.visible = VariationalNetwork.of(request.config, 1, ms.float32)
            self.infrared = VariationalNetwork.of(request.config, 1, ms.float32)
            self.shared = VariationalNetwork.of(request.config, 1, ms.float32)

        def construct(self, images: Tensor) -> Tensor:
            forms = both_forms(images if self.raw else pixels(images), ms.float32, self.visible.grey_form)
            return four_observations((self.visible, self.infrared, self.shared), *forms)

    built = Program()
    _load(built, request.tensors)
    return built.set_train(False)


def _load(cell: nn.Cell, tensors: dict[str, np.ndarray]) -> None:
    """Give a cell its tensors, but for those that the feature does not pass."""
    import mindspore as ms

    for parameter in cell.get_parameters():
        if not re.search(r"\b(classifier|bottleneck)\.", parameter.name):
            parameter.set_data(ms.Tensor(tensors[parameter.name], ms.float32))


def _write_mindir(request: Request, path: Path) -> None:
    import mindspore as ms

    shape = [None, *request.example(1).shape[1:]]
    images = ms.Tensor(shape=shape, dtype=ms.uint8 if request.raw else ms.float32)
    ms.export(program(request), images, file_name=str(path), file_format="MINDIR")


def _run_mindir(path: Path, images: np.ndarray) -> np.ndarray:
    import mindspore as ms

    return ms.nn.GraphCell(ms.load(str(path)))(ms.Tensor(images)).asnumpy()


def usual_names(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors with those of norms, whose weights have one axis, named as MindSpore's norms name them."""
    weights = {name: value for name, value in tensors.items() if name.endswith(".weight")}
    norms = {name.removesuffix("weight") for name, value in weights.items() if value.ndim == 1}
    named = {}
    for name, value in tensors.items():
        owner, dot, kind = name.rpartition(".")
        named[f"{owner}.{NORMS[kind]}" if owner + dot in norms else name] = value
    return named


def _write_ckpt(request: Request, path: Path) -> None:
    import mindspore as ms

    given = [{"name": name, "data": ms.Tensor(value)} for name, value in usual_names(request.tensors).items()]
    ms.save_checkpoint(given, str(path), crc_check=True)


def main(argv: Sequence[str] | None = None, prog: str = "") -> int:
    """Run the command line; return the exit status. prog: how it was called."""
    return export(BACKEND, PROGRAMS, load, argv, prog)


if __name__ == "__main__":
    import duoreid.backends.mindspore.export as module

    sys.exit(module.main())
