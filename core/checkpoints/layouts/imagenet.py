"""ImageNet's networks: IBN-Net, and torchvision, whose names timm's plain residual networks have too."""

from __future__ import annotations

from duoreid.core.checkpoints.layouts.parts import RESNET_VARIANTS, SPLIT, STEM
from duoreid.core.networks.layouts import IMAGENET, Layout

LAYOUTS = (
    Layout("IBN-Net-a", SPLIT, STEM, (), IMAGENET, RESNET_VARIANTS, {"stem_relu": True}),
    Layout(
        "torchvision or timm ResNet", r"bn1\.running_mean", STEM, (), IMAGENET, RESNET_VARIANTS, {"stem_relu": True}
    ),
)
