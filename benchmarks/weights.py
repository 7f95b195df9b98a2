"""`python -m benchmarks.weights`: features of other libraries' networks, beside ours with the same weights.

Each library that is installed makes its own ResNet with random weights and statistics, saves it as its users do, and
runs it on pixels; the file is then opened as `duoreid evaluate FILE --arch ...` opens it. The features, divided by
their lengths, must agree to 1e-5. A library that cannot be imported is named with its reason.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints.trained import open_trained
from duoreid.core.networks.images import standardise
from duoreid.core.random import rng

LIMIT = 1e-5
HEIGHT, WIDTH, IMAGES = 128, 64, 4

Peer = Callable[[str, np.ndarray, Path], np.ndarray]
"""arch, normalised images (B, 3, H, W), where to write the file -> features (B, D)."""


def torchvision(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return the features of torchvision's network, with stride 2 in its last stage."""
    import torch

    network = getattr(importlib.import_module("torchvision.models.resnet"), arch)()
    made = randomised(network)
    made.fc = torch.nn.Identity()
    return run(made, images, file)


def timm(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return the features of timm's network, with stride 2 in its last stage."""
    network = getattr(importlib.import_module("timm.models.resnet"), arch)(num_classes=0)
    return run(randomised(network), images, file)


def torchreid(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return what torchreid's network returns in test mode."""
    module = importlib.import_module("torchreid.reid.models.resnet")
    return run(randomised(getattr(module, arch)(num_classes=751, pretrained=False)), images, file)


def mindcv(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return the features of MindCV's network, with stride 2 in its last stage."""
    import mindspore as ms

    network = getattr(importlib.import_module("mindcv.models.resnet"), arch)()
    for name, parameter in network.parameters_and_names():
        drawn = numbers(name, parameter.shape, "gamma" in name or "variance" in name)
        parameter.set_data(ms.Tensor(drawn))
    network.set_train(False)
    ms.save_checkpoint(network, str(file))
    maps = network.forward_features(ms.Tensor(images)).asnumpy()
    return maps.mean((2, 3))


PEERS: dict[str, tuple[Peer, str, int | None]] = {
    "torchvision": (torchvision, ".pth", 2),
    "timm": (timm, ".pth", 2),
    "torchreid": (torchreid, ".pth.tar", None),
    "mindcv": (mindcv, ".ckpt", 2),
}
"""By name: what runs it, how its files end, and the last stride where the layout does not tell it."""


def numbers(name: str, shape: tuple[int, ...], positive: bool) -> np.ndarray:
    """Draw a tensor: convolutions by their fan-in, statistics and norms unlike 0 and 1."""
    draw = rng(0, f"benchmark/{name}")
    if len(shape) > 1:
        return (draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    return (draw.uniform(0.5, 1.5, shape) if positive else 0.1 * draw.standard_normal(shape)).astype(np.float32)


def randomised(network: Any) -> Any:
    """Return a torch network in test mode with tensors of `numbers`."""
    import torch

    norms = {name.removesuffix("running_mean") for name in network.state_dict() if name.endswith("running_mean")}
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            positive = name.endswith("running_var") or any(name == f"{norm}weight" for norm in norms)
            value.copy_(torch.from_numpy(numbers(name, tuple(value.shape), positive)))
    return network.eval()


def run(network: Any, images: np.ndarray, file: Path) -> np.ndarray:
    """Save the weights as a training script does, and return the network's output."""
    import torch

    torch.save({"state_dict": network.state_dict(), "epoch": 1}, file)
    with torch.no_grad():
        return network(torch.from_numpy(images)).numpy()


def ours(arch: str, pixels: np.ndarray, file: Path, last_stride: int | None) -> np.ndarray:
    """Return our features of a file, float32 (B, D), by the torch backend."""
    from dataclasses import replace

    from duoreid.backends.torch.entry import BACKEND

    trained = open_trained(file, arch=arch, size=(HEIGHT, WIDTH))
    (model,) = trained.models.values()
    config = model.config
    if last_stride is not None:
        config = replace(config, network=replace(config.network, last_stride=last_stride))
    learner = BACKEND.make_learner(config, BACKEND.open_runtime(BACKEND.runtime()), 0)
    learner.import_state(model.state)
    return learner.embed([pixels])[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare each library that is installed; return 1 where one differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.weights", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--only", choices=PEERS, nargs="+", default=list(PEERS), help="libraries (default: all)")
    parser.add_argument("--arch", choices=("resnet18", "resnet50"), nargs="+", default=["resnet18", "resnet50"])
    options = parser.parse_args(arguments)
    pixels = rng(0, "benchmark/images").integers(0, 256, (IMAGES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    images, worst = standardise(pixels, np.float32), 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            peer, suffix, last_stride = PEERS[name]
            for arch in options.arch:
                file = Path(folder) / f"{name}-{arch}{suffix}"
                try:
                    theirs = peer(arch, images, file)
                except (ImportError, AttributeError, RuntimeError) as error:
                    print(f"{name} {arch}: not run, {type(error).__name__}: {str(error).splitlines()[0][:100]}")
                    continue
                theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
                apart = float(np.abs(ours(arch, pixels, file, last_stride) - theirs).max())
                worst = max(worst, apart)
                print(f"{name} {arch}: largest difference of a feature's component {apart:.1e}")
    print(f"largest of all: {worst:.1e}, limit {LIMIT:g}")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
