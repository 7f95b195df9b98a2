"""MindSpore's residual networks: the model zoo's and MindCV's."""

from __future__ import annotations

from duoreid.core.checkpoints.layouts.parts import OWN_CLASSES, RESNET_VARIANTS, STEM
from duoreid.core.networks.layouts import MINDSPORE_NORMS, OPTIMISER, Layout

LAYOUTS = (
    Layout(
        "MindSpore model zoo ResNet",
        sign=r"end_point\.weight|.*\.down_sample_layer\.1\.gamma",
        first=STEM,
        renames=((r"\.down_sample_layer\.", ".downsample."), (r"\.bn([12])d\.", r".bn\1."), *MINDSPORE_NORMS),
        ignored=((r"end_point\.(weight|bias)", OWN_CLASSES), *OPTIMISER),
        refused=RESNET_VARIANTS,
        settings={"stem_relu": True, "conv_padding": "same"},
        cautions=(
            "its batch norm has epsilon 1e-4, not 1e-5: good to start a training from, not to be tested as it is",
        ),
    ),
    Layout(
        "MindCV ResNet",
        sign=r".*\.down_sample\.1\.gamma",
        first=STEM,
        renames=((r"\.down_sample\.", ".downsample."), *MINDSPORE_NORMS),
        ignored=((r"classifier\.(weight|bias)", OWN_CLASSES), *OPTIMISER),
        refused=RESNET_VARIANTS,
        settings={"stem_relu": True, "stem_pool": "end"},
    ),
)
