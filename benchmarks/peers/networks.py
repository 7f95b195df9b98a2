"""Networks of other libraries: made by their own constructors with random weights, saved as their users do, and run.

Each function takes (arch, normalised images (B, 3, H, W), the file to write) and returns the library's own features
(B, D). AttributeError where the library has no such network.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from duoreid.cli import BACKENDS
from duoreid.core.networks.images import DEVIATION, MEAN
from duoreid.core.random import rng

CLASSES = 751

Run = Callable[[str, np.ndarray, Path], np.ndarray]


class Peer(NamedTuple):
    """One kind of network. package: whose it is. suffix: of its files.

    last_stride: where its files do not tell it. backends: of this library, that read the file.
    """

    package: str
    run: Run
    archs: tuple[str, ...]
    suffix: str
    last_stride: int | None = None
    backends: tuple[str, ...] = ("torch",)


def torchvision(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return the features of torchvision's network, with stride 2 in its last stage."""
    import torch

    network = randomised(getattr(_module("torchvision.models.resnet"), arch)())
    network.fc = torch.nn.Identity()
    return _saved_and_run(network, images, file)


def timm(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return the features of timm's network, with stride 2 in its last stage."""
    return _saved_and_run(randomised(getattr(_module("timm.models.resnet"), arch)(num_classes=0)), images, file)


def torchreid(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return what torchreid's network returns in test mode."""
    module = _module(f"torchreid.reid.models.{'resnet_ibn_a' if arch.endswith('ibn_a') else 'resnet'}")
    network = getattr(module, arch)(num_classes=CLASSES, pretrained=False)
    return _saved_and_run(randomised(network), images, file)


def torchreid_embedding(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return what torchreid's network with an embedding layer behind the pooling returns."""
    network = getattr(_module("torchreid.reid.models.resnet"), f"{arch}_fc512")(num_classes=CLASSES, pretrained=False)
    return _saved_and_run(randomised(network), images, file)


def fastreid(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return what a BoT of fast-reid returns in test mode."""
    return _fastreid(arch, images, file, pooling="GlobalAvgPool")


def fastreid_gem(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return what fast-reid's network with a learned GeM pooling returns: SBS without its non-local blocks."""
    return _fastreid(arch, images, file, pooling="GeneralizedMeanPoolingP")


def fastreid_non_local(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return what fast-reid's SBS returns, with non-local blocks."""
    return _fastreid(arch, images, file, pooling="GeneralizedMeanPoolingP", non_local=True)


def mindcv(arch: str, images: np.ndarray, file: Path) -> np.ndarray:
    """Return the features of MindCV's network, with stride 2 in its last stage."""
    import mindspore as ms

    network = getattr(importlib.import_module("mindcv.models.resnet"), arch)()
    for name, parameter in network.parameters_and_names():
        drawn = numbers(name, parameter.shape, "gamma" in name or "variance" in name)
        parameter.set_data(ms.Tensor(drawn))
    network.set_train(False)
    ms.save_checkpoint(network, str(file))
    return network.forward_features(ms.Tensor(images)).asnumpy().mean((2, 3))


PEERS: dict[str, Peer] = {
    "torchvision": Peer("torchvision", torchvision, ("resnet18", "resnet50"), ".pth", 2),
    "timm": Peer("timm", timm, ("resnet18", "resnet50"), ".pth", 2),
    "torchreid": Peer("torchreid", torchreid, ("resnet18", "resnet50", "resnet50_ibn_a"), ".pth.tar"),
    "torchreid fc512": Peer("torchreid", torchreid_embedding, ("resnet50",), ".pth.tar"),
    "fast-reid BoT": Peer("fastreid", fastreid, ("resnet18", "resnet50", "resnet50_ibn_a"), ".pth"),
    "fast-reid GeM": Peer("fastreid", fastreid_gem, ("resnet50", "resnet50_ibn_a"), ".pth"),
    "fast-reid SBS": Peer("fastreid", fastreid_non_local, ("resnet50",), ".pth"),
    "MindCV": Peer("mindcv", mindcv, ("resnet18", "resnet50"), ".ckpt", 2, BACKENDS),
}
"""By name: what is made and run."""


def numbers(name: str, shape: tuple[int, ...], positive: bool) -> np.ndarray:
    """Draw a tensor: convolutions by their fan-in, statistics and norms unlike 0 and 1."""
    draw = rng(0, f"benchmark/{name}")
    if len(shape) > 1:
        return (draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    return (draw.uniform(0.5, 1.5, shape) if positive else 0.1 * draw.standard_normal(shape)).astype(np.float32)


def randomised(network: Any) -> Any:
    """Return a torch network in test mode with tensors of `numbers`; a pooling's exponent becomes 2 to 4."""
    import torch

    norms = {name.removesuffix("running_mean") for name in network.state_dict() if name.endswith("running_mean")}
    norms |= {name.removesuffix("BN.") + "IN." for name in norms if name.endswith("BN.")}  # which has no statistics
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            positive = name.endswith("running_var") or any(name == f"{norm}weight" for norm in norms)
            drawn = numbers(name, tuple(value.shape), positive)
            value.copy_(torch.from_numpy(3 + 10 * drawn if name.endswith("pool_layer.p") else drawn))
    return network.eval()


def _saved_and_run(network: Any, images: np.ndarray, file: Path) -> np.ndarray:
    """Save the weights as a training script does, and return the network's output."""
    import torch

    torch.save({"state_dict": network.state_dict(), "epoch": 1}, file)
    with torch.no_grad():
        return network(torch.from_numpy(images)).numpy()


def _fastreid(arch: str, images: np.ndarray, file: Path, *, pooling: str, non_local: bool = False) -> np.ndarray:
    """Make, save and run fast-reid's Baseline, which takes pixels from 0 to 255 and normalises them itself."""
    import torch

    config = _module("fastreid.config").get_cfg()
    depth = arch.removeprefix("resnet").removesuffix("_ibn_a")
    backbone, heads = config.MODEL.BACKBONE, config.MODEL.HEADS
    backbone.DEPTH, backbone.FEAT_DIM = f"{depth}x", 512 if depth == "18" else 2048
    backbone.PRETRAIN, backbone.WITH_IBN, backbone.WITH_NL = False, arch.endswith("ibn_a"), non_local
    heads.NUM_CLASSES, heads.WITH_BNNECK, heads.POOL_LAYER = CLASSES, True, pooling
    config.MODEL.DEVICE = "cpu"
    network = randomised(_module("fastreid.modeling.meta_arch").build_model(config))
    torch.save({"model": network.state_dict(), "iteration": 1}, file)
    mean, deviation = (np.float32(value)[:, None, None] for value in (MEAN, DEVIATION))
    with torch.no_grad():
        return network(torch.from_numpy(((images * deviation + mean) * 255).astype(np.float32))).numpy()


def _module(name: str) -> Any:
    """Import a module of a library that may need torchvision.

    torchvision's wheels hold operators compiled for one build of torch. Beside another build (CPU, CUDA) they do not
    load, and the import fails where it describes two of them, although no network here needs one: these two are then
    declared, without an implementation.
    """
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    import torch

    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    for broken in [known for known in sys.modules if known.split(".")[0] in ("torchvision", name.split(".")[0])]:
        del sys.modules[broken]
    return importlib.import_module(name)
